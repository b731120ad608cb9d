"""A Llama checkpoint with random weights, written shard by shard: one block in memory, however large the whole."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

POOL = 20_000_003
"""Random numbers that all weights are cut from: 13 billion fresh ones would take minutes and prove no more."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a Llama."""

    layers: int
    width: int
    intermediate: int
    heads: int
    vocabulary: int = 32000
    positions: int = 2048

    def parameters(self) -> int:
        """Weights in all, norms left out."""
        block = 4 * self.width**2 + 3 * self.width * self.intermediate
        return self.layers * block + 2 * self.vocabulary * self.width


def write_llama(directory: Path, shape: Shape, dtype: torch.dtype, *, blocks_per_shard: int = 2, seed: int = 0) -> Path:
    """Writes the checkpoint with its tokenizer and returns its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)

    pool = torch.randn(min(POOL, shape.parameters()) + 1, generator=generator).mul_(0.02).to(dtype)

    def normal(rows: int, columns: int) -> Tensor:
        """Random weights: a stretch of the pool from a random place on, round and round."""
        n_weights = rows * columns
        start = int(torch.randint(len(pool), (1,), generator=generator))
        turns = -(-(n_weights + start) // len(pool))
        return pool.repeat(turns)[start : start + n_weights].clone().view(rows, columns)

    n_shards = math.ceil(shape.layers / blocks_per_shard) + 1
    weight_map: dict[str, str] = {}

    def write(number: int, tensors: dict[str, Tensor]) -> None:
        name = f"model-{number:05d}-of-{n_shards:05d}.safetensors"
        save_file(tensors, directory / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, name))

    for number in range(1, n_shards):
        first = (number - 1) * blocks_per_shard
        tensors: dict[str, Tensor] = {}
        for index in range(first, min(first + blocks_per_shard, shape.layers)):
            where = f"model.layers.{index}"
            for name in ("q", "k", "v", "o"):
                tensors[f"{where}.self_attn.{name}_proj.weight"] = normal(shape.width, shape.width)
            tensors[f"{where}.mlp.gate_proj.weight"] = normal(shape.intermediate, shape.width)
            tensors[f"{where}.mlp.up_proj.weight"] = normal(shape.intermediate, shape.width)
            tensors[f"{where}.mlp.down_proj.weight"] = normal(shape.width, shape.intermediate)
            for norm in ("input_layernorm", "post_attention_layernorm"):
                tensors[f"{where}.{norm}.weight"] = torch.ones(shape.width, dtype=dtype)
        write(number, tensors)
    write(
        n_shards,
        {
            "model.embed_tokens.weight": normal(shape.vocabulary, shape.width),
            "model.norm.weight": torch.ones(shape.width, dtype=dtype),
            "lm_head.weight": normal(shape.vocabulary, shape.width),
        },
    )
    index_file = {"metadata": {"total_size": shape.parameters() * dtype.itemsize}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index_file))
    (directory / "config.json").write_text(json.dumps(_config(shape, dtype), indent=2))
    _write_tokenizer(directory, shape.vocabulary)
    return directory


def _config(shape: Shape, dtype: torch.dtype) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.width,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": shape.positions,
        "vocab_size": shape.vocabulary,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": str(dtype).removeprefix("torch."),
    }


def _write_tokenizer(directory: Path, vocabulary: int) -> None:
    """A tokenizer of made-up words: llm-compressor asks for one even where the data are token ids."""
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "unk_token": "<unk>",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "pad_token": "</s>",
            }
        )
    )


def zipf_tokens(sequences: int, length: int, vocabulary: int, seed: int = 0) -> Tensor:
    """Token ids (sequences, length) whose frequencies fall off as 1/rank, as those of a text do."""
    weights = 1.0 / torch.arange(1, vocabulary - 2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return 3 + torch.multinomial(weights, sequences * length, replacement=True, generator=generator).view(
        sequences, length
    )
