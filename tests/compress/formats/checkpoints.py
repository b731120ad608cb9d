"""Tiny models, rounding to nearest, and a plain writer: what a format's test needs to make a checkpoint of its own."""

import copy
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from llmc.compress.format import Stored
from llmc.compress.method import Compressed, Quantised

IDS = torch.arange(24).reshape(2, 12) * 5 % 128


def round_to_nearest(weight, bits=4, group_size=128, symmetric=True):
    """The definition, group by group; the scale is rounded to the weight's dtype before the codes are found."""
    rows, columns = weight.shape
    size = columns if group_size == -1 else group_size
    w = weight.float().reshape(rows, columns // size, size)
    top = 2**bits - 1
    low, high = w.amin(-1).clamp(max=0), w.amax(-1).clamp(min=0)
    span = 2 * torch.maximum(high, -low) if symmetric else high - low
    scale = torch.where(span == 0, 1.0, span / top).to(weight.dtype).float()
    zero = torch.full_like(scale, 2 ** (bits - 1)) if symmetric else (-low / scale).round().clamp(0, top)
    codes = ((w / scale[..., None]).round() + zero[..., None]).clamp(0, top)
    value = ((codes - zero[..., None]) * scale[..., None]).reshape(rows, columns).to(weight.dtype)
    grid = Quantised(
        codes=codes.reshape(rows, columns).to(torch.uint8),
        scale=scale,
        zero=zero.to(torch.uint8),
        bits=bits,
        group_size=group_size,
        symmetric=symmetric,
    )
    return Compressed(weight=value, bits_per_weight=float(bits), quantised=grid)


def make_llama(dtype=torch.float32, *, hidden=128, tied=False, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        initializer_range=0.1,
    )
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()  # .to(dtype) would round the rotary tables too


def block_linears(model):
    """The linear layers inside the decoder's blocks, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in f".{name}"
    }


def write_checkpoint(folder: Path, model, fmt, compressed, *, ignored=("lm_head",), n_shards=1, kinds=None):
    """Saves `model` with the layers in `compressed` in `fmt`, and returns the dense model that it must compute like.

    `kinds` says of layers by name what they are, where that is no linear layer of a block.
    """
    model.save_pretrained(folder)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    state = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    stored = {name: Stored.of(layer, (kinds or {}).get(name, "linear")) for name, layer in compressed.items()}
    for name, layer in compressed.items():
        fmt.refuse(name, stored[name])
        del state[f"{name}.weight"]
        state.update(fmt.tensors(name, layer))
    config = json.loads((folder / "config.json").read_text())
    quantization = fmt.config(stored, ignored=list(ignored))
    if quantization is not None:
        config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config, allow_nan=False))
    save_shards(folder, state, n_shards)
    dense = copy.deepcopy(model)
    for name, layer in compressed.items():
        dense.get_submodule(name).weight.data = layer.weight.clone()
    return dense


def save_shards(folder: Path, state, n_shards):
    names = sorted(state)
    if n_shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    where = {name: f"model-{k % n_shards + 1:05d}-of-{n_shards:05d}.safetensors" for k, name in enumerate(names)}
    for file in set(where.values()):
        save_file({n: state[n] for n in names if where[n] == file}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": sum(t.nbytes for t in state.values())}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits.float()
