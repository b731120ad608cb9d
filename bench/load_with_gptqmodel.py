"""Compares what transformers + optimum + gptqmodel compute from our GPTQ and AWQ files with the weights we meant.

Three checks a file: the weights that gptqmodel's own decoder takes from it are bit for bit ours; the logits of the
loaded model lie as near to float32 logits of those weights as the dense model's do in the same dtype; and they lie
far nearer than the model before quantisation. Run by load_with_gptqmodel.sh, in gptqmodel's environment.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.metadata
import json
import logging
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AwqConfig, GPTQConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from llmc.compress.format import Format, dense
from llmc.compress.formats import awq, gptq, gptq_v2
from tests.compress.formats.checkpoints import block_linears, logits, make_llama, round_to_nearest, write_checkpoint

SLACK = 2.0
"""How many times the dense model's own rounding error the loaded model's may be."""


class Row(NamedTuple):
    """One file's outcome; errors are the largest difference of a logit from float32 logits of the same weights."""

    label: str
    weights_equal: bool
    kernel: str
    error: float
    dense_error: float
    moved: float | None
    """How far quantisation itself moved the logits; None for a checkpoint whose original isn't here."""

    @property
    def passed(self) -> bool:
        return self.weights_equal and self.error <= SLACK * self.dense_error + 1e-6


def gptqmodel_weights(folder: Path, config: dict[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    """The dense weights by gptqmodel's own decoders. Its file converter ignores AWQ's order, so AWQ goes by layer."""
    state = read_state(folder)
    layers = [name.removesuffix(".qweight") for name in state if name.endswith(".qweight")]
    if config["quant_method"] == "awq":
        from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

        def decode(layer: str) -> Tensor:
            qweight, qzeros, scales = (state[f"{layer}.{part}"] for part in ("qweight", "qzeros", "scales"))
            size = config["group_size"] if config["group_size"] != -1 else qweight.shape[0]
            return dequantize_gemm(qweight, qzeros, scales.float(), 4, size).T.to(dtype)

        return {layer: decode(layer) for layer in layers}
    from gptqmodel.utils.model_dequant import dequantize_model

    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(sys.stderr):
        dequantize_model(folder, Path(out) / "dense", target_dtype=dtype)
        decoded = read_state(Path(out) / "dense")
        return {layer: decoded[f"{layer}.weight"].clone() for layer in layers}


def read_state(folder: Path) -> dict[str, Tensor]:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def compare(label: str, folder: Path, reference: PreTrainedModel, original: PreTrainedModel | None) -> Row:
    """`reference` is the dense model with the weights that the file should mean."""
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    found = gptqmodel_weights(folder, config, reference.dtype)
    equal = all(torch.equal(weight, reference.get_submodule(layer).weight) for layer, weight in found.items())
    exact = logits(copy.deepcopy(reference).float())
    options: dict[str, Any] = {}
    if config["bits"] == 4 and config["group_size"] == -1:  # as the format's warning says
        plain = {"awq": AwqConfig(bits=4, backend="torch_awq"), "gptq": GPTQConfig(bits=4, backend="torch")}
        options["quantization_config"] = plain[config["quant_method"]]
    try:
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=reference.dtype, device_map="cpu", **options).eval()
        kernel = type(loaded.get_submodule(next(iter(found)))).__name__
        error = distance(logits(loaded), exact)
    except Exception as failure:  # one kernel that raises must not hide the other files' results
        kernel, error = f"{type(failure).__name__}: {str(failure)[:80]}", float("inf")
    return Row(
        label=label,
        weights_equal=equal and bool(found),
        kernel=kernel,
        error=error,
        dense_error=distance(logits(reference), exact),
        moved=None if original is None else distance(logits(copy.deepcopy(original).float()), exact),
    )


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def tiny_cases() -> list[tuple[Format, int, int, bool]]:
    """(format, bits, group size, symmetric): everything that the formats don't refuse."""
    found: list[tuple[Format, int, int, bool]] = []
    for bits in (4, 8, 3, 2):
        for group_size in (128, 32, -1):
            found += [(gptq.FORMAT, bits, group_size, True), (gptq_v2.FORMAT, bits, group_size, True)]
            found.append((gptq_v2.FORMAT, bits, group_size, False))
    found += [(awq.FORMAT, 4, group_size, symmetric) for group_size in (128, 32, -1) for symmetric in (False, True)]
    return found


def check_tiny(fmt: Format, bits: int, group_size: int, *, symmetric: bool, dtype: torch.dtype) -> Row:
    """A random two-layer Llama with grouped-query attention, rounded to nearest and written by the format."""
    model = make_llama(dtype, hidden=256)
    layers = {
        name: round_to_nearest(module.weight.data, bits, group_size, symmetric)
        for name, module in block_linears(model).items()
    }
    grid = f"{bits} bits, {'a row' if group_size == -1 else f'g{group_size}'}, {'sym' if symmetric else 'asym'}"
    with tempfile.TemporaryDirectory() as folder:
        reference = write_checkpoint(Path(folder), model, fmt, layers)
        return compare(f"{fmt.name}, {grid}, {str(dtype).removeprefix('torch.')}", Path(folder), reference, model)


def check_checkpoint(folder: Path) -> Row:
    """A checkpoint that llmc wrote, against the dense model that our own reader takes from it."""
    config = AutoConfig.from_pretrained(folder)
    quantization = json.loads((folder / "config.json").read_text())["quantization_config"]
    name = quantization.get("checkpoint_format", quantization["quant_method"])
    fmt: Format = {f.name: f for f in (gptq.FORMAT, gptq_v2.FORMAT, awq.FORMAT)}[name]
    state = read_state(folder)
    packed = [key.removesuffix(".qweight") for key in state if key.endswith(".qweight")]
    plain = {k: v for k, v in state.items() if k.rpartition(".")[0] not in packed or k.endswith(".bias")}
    dtype = state[f"{packed[0]}.scales"].dtype
    plain |= {f"{layer}.weight": dense(fmt.read(layer, state, quantization), dtype) for layer in packed}
    del config.quantization_config
    reference = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    missing, unexpected = reference.load_state_dict(plain, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"{folder} doesn't fit its model: {missing + unexpected}")
    reference.tie_weights()
    return compare(f"{folder.name}: {name}", folder, reference, None)


def table(rows: list[Row]) -> str:
    head = "| file | weights bit for bit | kernel | error | dense error | quantisation moved | |\n" + "| --- " * 7 + "|"
    lines = [
        f"| {r.label} | {'yes' if r.weights_equal else 'NO'} | {r.kernel} | {r.error:.4f} | {r.dense_error:.4f} "
        f"| {'–' if r.moved is None else f'{r.moved:.3f}'} | {'ok' if r.passed else 'FAILED'} |"
        for r in rows
    ]
    return "\n".join([head, *lines])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, action="append", help="a checkpoint that llmc wrote; repeatable")
    parser.add_argument("--quick", action="store_true", help="only 4 bits and groups of 128")
    parser.add_argument("--format", choices=("gptq", "gptq_v2", "awq"), help="only this format")
    parser.add_argument("--bits", type=int, help="only these bits")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    disable_progress_bar()
    if arguments.checkpoint:
        rows = [check_checkpoint(folder) for folder in arguments.checkpoint]
    else:
        rows = []
        for fmt, bits, group_size, symmetric in tiny_cases():
            if arguments.quick and (bits, group_size) != (4, 128):
                continue
            if arguments.format not in (None, fmt.name) or arguments.bits not in (None, bits):
                continue
            rows.append(check_tiny(fmt, bits, group_size, symmetric=symmetric, dtype=torch.bfloat16))
            print(f"{rows[-1].label}: {'ok' if rows[-1].passed else 'FAILED'}", file=sys.stderr, flush=True)
    packages = ("torch", "transformers", "optimum", "gptqmodel")
    print("\n" + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages), end="")
    print(f", Python {platform.python_version()}, {torch.backends.cpu.get_cpu_capability()}\n")
    print(table(rows))
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
