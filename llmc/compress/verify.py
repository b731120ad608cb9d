"""The check at the end of a job: what the written files hold is what the blocks in memory were.

Every block is rebuilt from the files, as a loader would: each of its tensors must be the one that stood in memory, and
its outputs on one calibration sequence must be those that the walk passed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from llmc.checksums import FileFacts
from llmc.compress.walk.capture import hidden_of, moved
from llmc.compress.walk.writer import WORK, disk_errors, save_tensors
from llmc.errors import UserError
from llmc.models.first_states import states_among
from llmc.models.layout import find_blocks
from llmc.models.skeleton import Skeleton
from llmc.models.unpacked import Unpacked

POSITIONS = 128
"""Positions of each sequence of the first batch whose outputs are compared: a few MB a block."""
TOLERANCE = {torch.float32: 1e-3}
"""How far a token's output may be from the one in memory, as a share of what the block adds to it: sums in another
order change the last digits. Half-precision formats and products of rounded factors: `COARSE`."""
COARSE = 0.1

Prints = Mapping[str, Sequence[int]]
"""Two whole numbers for each tensor of a block, by its name in the model; see `fingerprint`. Also for quantised tables
outside the blocks, by their names in the files; none for a tensor that is left out."""


def fingerprint(tensor: Tensor, dtype: torch.dtype) -> list[int]:
    """Two sums over the bits of the tensor as `dtype`, the second weighted by position, modulo 2**64.

    Any change of one value changes the first, any exchange of two unlike values the second.
    """
    bits = tensor.detach().to(dtype).to(torch.float32).contiguous().view(torch.int32).reshape(-1)
    first = second = 0
    for start in range(0, len(bits), 1 << 24):
        piece = bits[start : start + (1 << 24)].to(torch.int64)
        place = torch.arange(start + 1, start + 1 + len(piece), device=piece.device)
        first += int(piece.sum())
        second += int((piece * place).sum())
    return [first & (2**64 - 1), second & (2**64 - 1)]


def save_output(directory: Path, index: int, hidden: Tensor) -> dict[str, FileFacts]:
    """Keeps what block `index` made of the first calibration batch; `hidden` is (…, sequences, length, width).

    Gives back what was written, by its name in the working folder.
    """
    path = _output_file(directory, index)
    with disk_errors(directory):
        return {path.name: save_tensors(path, {"hidden": hidden[..., :POSITIONS, :].contiguous()})}


def _output_file(directory: Path, index: int) -> Path:
    return directory / WORK / f"output-{index:05d}.safetensors"


def check_blocks(
    source: Skeleton,
    out: Path,
    quantization: Mapping[str, Any] | None,
    shapes: Mapping[str, tuple[int, int]],
    prints: Prints,
    tokens: Tensor | None,
    *,
    dtype: torch.dtype,
    device: str,
) -> None:
    """Raises `UserError` for the first block that the files in `out` hold otherwise than it was in memory.

    `shapes` are those of the compressed layers, `tokens` (sequences, length) the first calibration batch (None where
    nothing was calibrated: then tensors are compared and no outputs), `dtype` what blocks are computed in.
    """
    made = Skeleton(source.checkpoint.directory, dtype, checkpoint=Unpacked(out, quantization, shapes))
    check = _Check(
        made, out, prints, dtype, device, coarse=quantization is not None and "quant_method" not in quantization
    )
    check.rest(source)
    if tokens is None:
        check.tensors_alone()
    else:
        check.outputs_too(tokens)


class _Check:
    def __init__(
        self, made: Skeleton, out: Path, prints: Prints, dtype: torch.dtype, device: str, *, coarse: bool
    ) -> None:
        self._made, self._out, self._prints, self._dtype = made, out, prints, dtype
        self._device, self._coarse = torch.device(device), coarse
        self._prefix, self._blocks = find_blocks(made.model)
        self._tolerance = COARSE if coarse else TOLERANCE.get(dtype, COARSE)

    def rest(self, source: Skeleton) -> None:
        """What is outside the blocks was copied: each tensor is the source's, but for the dtype.

        A quantised table is the one that stood in memory; what repeats it in the source is left out.
        """
        inside = {s for i in range(len(self._blocks)) for s in source.sources_under(f"{self._prefix}.{i}.")}
        written = self._made.checkpoint
        for name in source.checkpoint.tensors:
            if name in inside:
                continue
            kept = self._prints.get(name)
            if kept == [] and name not in written.tensors:
                continue
            if name not in written.tensors:
                raise self._failed(f"{name} is not in the files")
            after = written.read([name])[name]
            if kept is not None:
                if list(kept) != fingerprint(after, self._dtype):
                    raise self._failed(f"{name} is not the tensor that stood in memory")
                continue
            before = source.checkpoint.read([name])[name]
            if not torch.equal(before.to(after.dtype).nan_to_num(), after.nan_to_num()):
                raise self._failed(f"{name} is not the tensor that was copied")

    def tensors_alone(self) -> None:
        for index, block in enumerate(self._blocks):
            self._fill(index, block)
            block.to("meta")

    def outputs_too(self, tokens: Tensor) -> None:
        model = self._made.model
        head = model.get_output_embeddings()
        tied = {n.rpartition(".")[0] + "." for n in (getattr(model, "all_tied_weights_keys", {}) or {}).values()}
        heads = [f"{name}." for name, module in model.named_modules() if head is not None and module is head]
        self._made.fill("", leave=[f"{self._prefix}.", *(name for name in heads if name not in tied)])
        self._made.fill_buffers_outside(self._prefix + ".")
        handles = []
        for index, block in enumerate(self._blocks):
            handles += [
                block.register_forward_pre_hook(
                    lambda block, args, kwargs, index=index: self._before(index, block, args, kwargs), with_kwargs=True
                ),
                block.register_forward_hook(
                    lambda block, args, kwargs, out, index=index: self._after(index, block, args, kwargs, out),
                    with_kwargs=True,
                ),
            ]
        try:
            with torch.no_grad():
                model.base_model(input_ids=tokens, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, index: int, block: nn.Module, args: Any, kwargs: Any) -> Any:
        self._fill(index, block)
        block.to(self._device)
        return moved((args, kwargs), self._device, copied=False)

    def _after(self, index: int, block: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
        into, hidden = states_among(args, kwargs), hidden_of(out)
        kept = load_file(_output_file(self._out, index))["hidden"].float()
        n = kept.shape[-2]
        change = (kept - into[..., :n, :].float().cpu()).norm(dim=-1).clamp(min=1e-12)
        apart = (hidden[..., :n, :].float().cpu() - kept).norm(dim=-1) / change
        # The median: a router that flips on a near tie moves one token, a wrong tensor moves them all.
        if not float(apart.median()) <= self._tolerance:
            raise self._failed(
                f"block {index} rebuilt from the files is {float(apart.median()):.2g} of its own effect away from the "
                "block in memory"
            )
        block.to("meta")
        return moved(out, torch.device("cpu"), copied=False)

    def _fill(self, index: int, block: nn.Module) -> None:
        where = f"{self._prefix}.{index}"
        self._made.fill(where + ".")
        if self._coarse:
            return  # a product of rounded factors is not the rounded product; its outputs are compared
        for name, parameter in block.named_parameters():
            kept = self._prints.get(f"{where}.{name}")
            if kept is not None and list(kept) != fingerprint(parameter, self._dtype):
                raise self._failed(f"{where}.{name} is not the tensor that stood in memory")

    def _failed(self, what: str) -> UserError:
        return UserError(
            f"{self._out} is not complete: {what}",
            hint="this is a mistake of llmc's: nothing is removed, please report it with the command",
        )
