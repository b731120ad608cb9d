"""Tiny random models of every family that llmc handles, made on the spot, for tests and trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

_DECODER = {
    "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_EXPERTS = {"num_experts_per_tok": 2, "num_experts": 4, "num_local_experts": 4, "moe_intermediate_size": 32}
_GPT2 = {
    "vocab_size": 128,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _DECODER),
    "llama-tied": ("llama", _DECODER | {"tie_word_embeddings": True}),
    "mistral": ("mistral", _DECODER | {"sliding_window": 16}),
    "qwen2": ("qwen2", _DECODER),
    "qwen3": ("qwen3", _DECODER | {"head_dim": 16}),
    "gemma2": ("gemma2", _DECODER | {"head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16}),
    "gemma3": ("gemma3_text", _DECODER | {"head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16}),
    "phi": ("phi", _DECODER | {"num_key_value_heads": 4}),
    "phi3": ("phi3", _DECODER),
    "opt": ("opt", _DECODER | {"ffn_dim": 96, "word_embed_proj_dim": 64}),
    "gpt2": ("gpt2", _GPT2),
    "gpt-neo": (
        "gpt_neo",
        {"vocab_size": 128, "hidden_size": 64, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 128,
         "attention_types": [[["global", "local"], 1]], "window_size": 16, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "gpt-neox": ("gpt_neox", _DECODER),
    "falcon": (
        "falcon",
        {"vocab_size": 128, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "multi_query": True,
         "parallel_attn": True, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "bloom": (
        "bloom", {"vocab_size": 128, "hidden_size": 64, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
    ),
    "mixtral": ("mixtral", _DECODER | _EXPERTS),
    "qwen3-moe": ("qwen3_moe", _DECODER | _EXPERTS | {"head_dim": 16, "decoder_sparse_step": 1, "mlp_only_layers": []}),
}  # fmt: skip
"""Transformers' model type and a small configuration for each family."""


def tiny_model(family: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> PreTrainedModel:
    """A random model of `family` with weights wide enough that its logits differ from token to token."""
    model_type, settings = FAMILIES[family]
    config = AutoConfig.for_model(model_type, **(settings | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0, 0.15)
            else:  # biases and norms away from their neutral start, so that losing one shows
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.to(dtype).eval()


def save_tiny(family: str, directory: str | Path, *, shard_size: str = "5GB", **settings: Any) -> PreTrainedModel:
    """Writes a tiny model as a checkpoint and returns it."""
    model = tiny_model(family, **settings)
    model.save_pretrained(directory, max_shard_size=shard_size)
    return model
