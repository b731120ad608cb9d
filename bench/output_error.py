"""How far a compressed checkpoint's matrices move their outputs, on the inputs that the dense model gives them.

One measure for any compressor: ||(W - V) X||^2 / ||W X||^2 with X from the dense model, in float64 sums, whatever
wrote the checkpoint and however it took its own statistics.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from llmc.models.load import load_model


@torch.no_grad()
def dense_grams(model_directory: Path, tokens: Tensor, batch: int = 4) -> dict[str, Tensor]:
    """Sum over tokens of x x^T in float64 for each linear layer of the dense model's blocks, by weight name."""
    model = load_model(model_directory, dtype=torch.float32)
    grams: dict[str, Tensor] = {}
    seen: dict[int, str] = {}
    shared: dict[str, str] = {}
    inputs: list[Tensor] = []

    def hook(name: str):
        def look(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0]
            first = seen.setdefault(id(x), name)
            inputs.append(x)  # keeps the ids of one pass apart
            shared[name] = first
            if first == name:
                flat = x.reshape(-1, x.shape[-1])
                grams[name] = grams.get(name, 0) + (flat.T @ flat).double()

        return look

    for name, module in model.base_model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(hook(f"{model.base_model_prefix}.{name}"))
    for part in tokens.split(batch):
        model.base_model(input_ids=part, use_cache=False)
        seen.clear()
        inputs.clear()
    return {name: grams[first] for name, first in shared.items()}


def relative_errors(dense: Path, compressed: Path, grams: dict[str, Tensor]) -> dict[str, float]:
    """The relative output error of every matrix."""
    before, after = Weights(dense), Weights(compressed)
    errors = {}
    for name, gram in grams.items():
        weight = before.get(name).double()
        change = weight - after.get(name).double()
        errors[name] = float(((change @ gram) * change).sum() / ((weight @ gram) * weight).sum())
        if not math.isfinite(errors[name]):
            raise ValueError(f"{compressed}: {name} has an error that is not finite")
    return errors


class Weights:
    """The matrices of a checkpoint by layer name, dense or packed by compressed-tensors (symmetric, 4 bits)."""

    def __init__(self, directory: Path) -> None:
        index = directory / "model.safetensors.index.json"
        names = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {"model.safetensors"}
        self._files = [safe_open(directory / name, framework="pt") for name in sorted(names)]
        self._where = {key: file for file in self._files for key in file.keys()}  # noqa: SIM118

    def get(self, layer: str) -> Tensor:
        """The weight (out, in) in float32."""
        if (plain := f"{layer}.weight") in self._where:
            return self._read(plain).float()
        packed, scale = self._read(f"{layer}.weight_packed"), self._read(f"{layer}.weight_scale").float()
        if f"{layer}.weight_zero_point" in self._where or f"{layer}.weight_g_idx" in self._where:
            raise ValueError(f"{layer} is asymmetric or has its groups permuted, which this reader doesn't know")
        rows, width = self._read(f"{layer}.weight_shape").tolist()
        shifts = torch.arange(0, 32, 4, dtype=torch.int32)
        codes = ((packed.unsqueeze(-1) >> shifts) & 15).view(rows, -1)[:, :width].float() - 8
        return (codes.view(rows, scale.shape[1], -1) * scale.unsqueeze(-1)).view(rows, width)

    def _read(self, name: str) -> Tensor:
        tensor: Tensor = self._where[name].get_tensor(name)
        return tensor
