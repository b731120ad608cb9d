"""What must be right on a device before anything is timed there: each gate compares a kernel with its definition.

A gate returns the worst error it saw and the bound; `tiny` asks for shapes that triton's interpreter manages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from llmc.kernels import low_rank_pair, lut, reference, select, wq_launch
from llmc.kernels.gap_sparse import decode, encode, matvec, written_out
from llmc.kernels.gpu_linear import gpu_packed_linear
from llmc.kernels.gpu_sparse import gap_linear, two_of_four_linear
from llmc.kernels.low_rank_pair import LowRankPair
from llmc.kernels.pack import Planar, planar
from llmc.kernels.sweep import fused_sweep
from llmc.ops import masks
from llmc.ops.codes import Codes
from llmc.ops.factor import Feedback, feedback
from llmc.ops.grid import fit_grid
from llmc.ops.masks import Pattern
from llmc.ops.sweep import SweepSettings
from llmc.ops.sweep import sweep as plain_sweep

BIAS_ROUNDING = 4e-3
"""Of a product in bfloat16 that is rounded before its bias is added."""


class Found(NamedTuple):
    """The worst of a gate. It passed if `error` is at most `bound`."""

    error: float
    bound: float


def quantised(n_out: int, n_in: int, bits: int, device: str, seed: int = 0) -> Planar:
    """Random codes with scales and whole zero points in groups of 128."""
    draw = torch.Generator(device).manual_seed(seed)
    codes = torch.randint(0, 2**bits, (n_out, n_in), generator=draw, dtype=torch.uint8, device=device)
    scale = torch.rand(n_out, n_in // 128, generator=draw, device=device) * 0.01 + 0.001
    zero = torch.randint(0, 2**bits, scale.shape, generator=draw, device=device)
    return planar(codes, scale.half(), zero, bits=bits, group_size=128)


def normal(*shape: int, device: str, seed: int = 1) -> Tensor:
    """Normal numbers, the same on every run."""
    return torch.randn(*shape, generator=torch.Generator(device).manual_seed(seed), device=device)


def excess(y: Tensor, exact: Tensor) -> float:
    """By how much y is farther from `exact` than its rounding to y's dtype is, relative to the norm; never a NaN."""
    norm = exact.norm()
    rounding = (exact.to(y.dtype).double() - exact).norm() / norm
    found = float((y.double() - exact).norm() / norm - 1.1 * rounding)
    return found if math.isfinite(found) else math.inf  # `max` would pass over a NaN


def _products(x: Tensor, weight: Planar, *, magic: bool) -> float:
    y = wq_launch.matmul(x, weight, magic=magic)
    return excess(y, reference.as_half(x).double() @ reference.dequantised(weight).T)


def subnormals(device: str, tiny: bool, magic: bool) -> Found:
    """G0: do tensor cores take float16 subnormals as they are? If not, every product is 0: switch to magic."""
    weight = quantised(128, 256, 4, device)
    return Found(_products(normal(8, 256, device=device).half(), weight, magic=False), 5e-5)


def narrow(device: str, tiny: bool, magic: bool) -> Found:
    """G1a: products for few rows, all widths and awkward shapes."""
    shapes = [(128, 256), (160, 512)] + ([] if tiny else [(4096, 1024), (4096, 11008)])
    rows = (1, 9) if tiny else (1, 3, 8, 9, 16)
    found = [
        _products(normal(m, k, device=device).half(), quantised(n, k, b, device), magic=magic)
        for b in (2, 3, 4, 8) for n, k in shapes for m in rows
    ]  # fmt: skip
    return Found(max(found), 5e-5)


def one_hot(device: str, tiny: bool, magic: bool) -> Found:
    """G1b: every single column in its place, up to rounding."""
    worst = 0.0
    for bits in (2, 3, 4, 8):
        weight = quantised(128, 256, bits, device)
        exact = reference.dequantised(weight).T
        eye = torch.eye(256, dtype=torch.float16, device=device)
        y = torch.cat([wq_launch.matmul(part, weight, magic=magic) for part in eye.split(16)])
        worst = max(worst, float(((y.double() - exact).abs() - exact.abs() * 2**-11).max()))
    return Found(worst, 1e-5)


def wide(device: str, tiny: bool, magic: bool) -> Found:
    """G1c: products for many rows, which round each weight to float16, and the matrix written out."""
    rows = (33,) if tiny else (17, 33, 64, 129, 300)
    worst = 0.0
    for bits in (2, 3, 4, 8):
        weight = quantised(160, 512, bits, device)
        for m in rows:
            worst = max(worst, _products(normal(m, 512, device=device).half(), weight, magic=magic))
        exact = reference.dequantised(weight).to(torch.float16)
        if not torch.equal(wq_launch.dequantise(weight, torch.float16), exact):
            return Found(1.0, 0.0)
    return Found(worst, 4e-4)


def _exact_problem(rows: int, width: int, device: str) -> tuple[Tensor, Feedback]:
    """A sweep whose sums are exact in any order: the codes must be equal, ties included."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randint(-32, 33, (rows, width), generator=draw) / 16.0
    gain = torch.randint(-2, 3, (width, width), generator=draw).float().div(4).triu(1) + torch.eye(width)
    factors = Feedback(gain=gain.to(device), cost=torch.ones(width, device=device), order=None, damping=0.01)
    return weight.to(device), factors


def sweep_exact(device: str, tiny: bool, magic: bool) -> Found:
    """G2a: codes of the fused sweep against the plain one where all sums are exact. Error: share that differs."""
    rows, width = (33, 128) if tiny else (515, 1024)
    weight, factors = _exact_problem(rows, width, device)
    grid = fit_grid(weight, bits=4, group_size=64, symmetric=False)
    grid = type(grid)(scale=torch.full_like(grid.scale, 0.25), zero=grid.zero, bits=4, group_size=64, symmetric=False)
    settings = SweepSettings(grid=grid)
    differ = fused_sweep(weight, factors, settings).result != plain_sweep(weight, factors, settings).result
    return Found(float(differ.float().mean()), 0.0)


def sweep_real(device: str, tiny: bool, magic: bool) -> Found:
    """G2b: real weights, GPTQ at 3 and 4 bits, thresholds and 2:4. Error: share of results that differ by over 1 %."""
    rows, width = (32, 128) if tiny else (512, 1024)
    inputs = normal(4 * width, width, device=device)
    factors = feedback(inputs.T @ inputs, 0.01, descending=False)
    weight, worst = normal(rows, width, device=device, seed=2), 0.0
    for bits, size in ((4, 128), (3, -1)):
        grid = fit_grid(weight, bits=bits, group_size=size, symmetric=True)
        settings = SweepSettings(grid=grid)
        differ = fused_sweep(weight, factors, settings).result != plain_sweep(weight, factors, settings).result
        worst = max(worst, float(differ.float().mean()))

    def half(score: Tensor) -> Tensor:
        return masks.drop_lowest(score.reshape(1, -1), 0.5).view(score.shape)

    def two_of_four(score: Tensor) -> Tensor:
        return masks.keep_n_of_m(score.T, Pattern(2, 4)).T

    for choose, every, pattern in ((half, 128, None), (two_of_four, 4, Pattern(2, 4))):
        settings = SweepSettings(select=choose, every=every, pattern=pattern)
        plain, fused = plain_sweep(weight, factors, settings), fused_sweep(weight, factors, settings)
        assert plain.keep is not None and fused.keep is not None
        worst = max(worst, float((plain.keep != fused.keep).float().mean()))
    return Found(worst, 1e-3)


def selectors(device: str, tiny: bool, magic: bool) -> Found:
    """G3: choices against a stable sort, with many ties. Error: how many differ."""
    rows, width, wrong = *((3, 96) if tiny else (64, 11008)), 0
    for score in (normal(rows, width, device=device), (normal(rows, width, device=device) * 2).round()):
        for n_sparse in (0.3, 0.5):
            keep = torch.ones_like(score, dtype=torch.bool)
            order = (score + 0.0).argsort(dim=-1, stable=True)[:, : masks.n_drop(width, n_sparse)]
            wrong += int((select.drop_lowest(score, n_sparse) != keep.scatter_(-1, order, False)).sum())
        flat = torch.ones(score.numel(), dtype=torch.bool, device=device)
        order = (score.view(-1) + 0.0).argsort(stable=True)[: masks.n_drop(score.numel(), 0.5)]
        wrong += int((select.drop_lowest_of_all(score, 0.5).view(-1) != flat.scatter_(0, order, False)).sum())
        wrong += int((select.keep_n_of_m(score, Pattern(2, 4)) != masks.keep_n_of_m(score, Pattern(2, 4))).sum())
    return Found(float(wrong), 0.0)


def gap_sparse(device: str, tiny: bool, magic: bool) -> Found:
    """G4: the gap-coded product, and the matrix written out: at no zeros to the widest gaps, with an empty row."""
    rows, width = (7, 600) if tiny else (512, 4096)
    x, worst = normal(2, width, device=device).half(), 0.0
    for threshold in (-9.0, 0.5, 2.0, 9.0):
        weight = normal(rows, width, device=device).half()
        weight = weight.where(normal(rows, width, device=device, seed=5) > threshold, 0.0)
        weight[rows // 2], weight[0, -1] = 0.0, 1.0
        coded = encode(weight)
        on_device = coded.to(device)
        for dtype in (torch.float16, torch.float32):
            if not torch.equal(written_out(on_device, dtype), decode(coded, dtype).to(device)):
                return Found(1.0, 0.0)
        worst = max(worst, excess(matvec(x, on_device), x.double() @ weight.double().T))
    return Found(worst, 5e-5)


def tables_and_planes(device: str, tiny: bool, magic: bool) -> Found:
    """G6: tables of 16 values and binary planes."""
    codes = torch.randint(0, 16, (160, 512), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    by_table = lut.tables(codes.to(device), normal(160, 1, 16, device=device))
    bits = normal(3, 160, 1024, device=device) > 0
    by_planes = lut.planes_of(bits, normal(3, 160, 8, device=device).abs(), normal(160, 8, device=device), 128)
    worst = 0.0
    for weight in (by_table, by_planes):
        for m in (1, 9):
            x = normal(m, weight.n_in, device=device).half()
            worst = max(worst, excess(lut.matmul(x, weight, split=2), x.double() @ lut.dequantised(weight).T))
    return Found(worst, 4e-4)


def repeatable(device: str, tiny: bool, magic: bool) -> Found:
    """G7: bit for bit the same twice, on another stream, and replayed from a graph. Error: how many differ."""
    weight = quantised(*((128, 1024) if tiny else (4096, 4096)), 4, device)
    x = normal(5, weight.n_in, device=device).half()
    first = wq_launch.matmul(x, weight, magic=magic)
    wrong = int((first != wq_launch.matmul(x, weight, magic=magic)).sum())
    if device != "cpu":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            again = wq_launch.matmul(x, weight, magic=magic)
        torch.cuda.current_stream().wait_stream(side)
        wrong += int((first != again).sum())
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = wq_launch.matmul(x, weight, magic=magic)
        for _ in range(3):
            graph.replay()
        wrong += int((first != captured).sum())
    return Found(float(wrong), 0.0)


def layers(device: str, tiny: bool, magic: bool) -> Found:
    """G8: packed layers as a model has them, act-order and bias included, compiled too; and low-rank pairs of codes."""
    draw, worst = torch.Generator().manual_seed(0), 0.0
    for bits in (2, 3, 4, 8):
        codes = Codes(
            codes=torch.randint(0, 2**bits, (160, 512), generator=draw, dtype=torch.uint8),
            scale=torch.rand(160, 4, generator=draw) * 0.01 + 0.001,
            zero=torch.randint(0, 2**bits, (160, 4), generator=draw, dtype=torch.uint8),
            bits=bits,
            group=torch.randperm(512, generator=draw) % 4,
        )
        layer = gpu_packed_linear(codes, torch.nn.Parameter(torch.randn(160, generator=draw).half()))
        assert not isinstance(layer, str), layer
        layer = layer.to(device).requires_grad_(False)
        exact_weight = codes.dequantised(torch.float64).to(device)
        for m in (1, 33):
            x = normal(m, 512, device=device).half()
            exact = x.double() @ exact_weight.T + layer.bias.double()
            worst = max(worst, excess(layer(x), exact))
            worst = max(worst, excess(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), exact))
    left, right = quantised(160, 128, 8, device), quantised(128, 512, 8, device)
    x = normal(3, 512, device=device)
    exact = x.double() @ (reference.dequantised(left) @ reference.dequantised(right)).T
    return Found(max(worst, excess(low_rank_pair.matmul(x, LowRankPair(left=left, right=right)), exact)), 1e-3)


def _sparse_layer(layer: torch.nn.Module | str, weight: Tensor, rows: tuple[int, ...], device: str) -> float:
    """The worst of a layer with a bias, in the weight's dtype; compiled too, for the first two numbers of rows."""
    assert not isinstance(layer, str), layer
    torch.compiler.reset()  # else it counts each layer as one more version of the first
    layer, worst = layer.to(device).requires_grad_(False), 0.0
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=False)
    wide, bias = weight.to(device).double(), layer.get_parameter("bias").double()
    for m in rows:
        x = normal(m, weight.shape[1], device=device).to(weight.dtype)
        for product in (layer, compiled) if m in rows[:2] else (layer,):
            worst = max(worst, excess(product(x), x.double() @ wide.T + bias))
    empty = layer(x[:0])
    return worst if empty.shape == (0, len(weight)) else float("inf")


def gap_layers(device: str, tiny: bool, magic: bool) -> Found:
    """G8: pruned layers as a model has them, by values and gaps. Few rows of x and many take different ways."""
    shapes, worst = [(40, 2048)] if tiny else [(4096, 4096), (4096, 11008), (40, 2048)], 0.0
    bias = torch.nn.Parameter(torch.ones(4096).bfloat16())
    for n, k in shapes:
        for sparsity in (0.5, 0.7, 0.9):
            weight = normal(n, k, device="cpu").bfloat16()
            weight = weight.masked_fill(torch.rand(n, k, generator=torch.Generator().manual_seed(3)) < sparsity, 0.0)
            kept = int(weight.count_nonzero())
            layer = gap_linear(weight, kept, torch.nn.Parameter(bias[:n].clone()), weight.dtype)
            worst = max(worst, _sparse_layer(layer, weight, (1, 3, 2, 9), device))
    return Found(worst, BIAS_ROUNDING)


def two_of_four_layers(device: str, tiny: bool, magic: bool) -> Found:
    """G8: 2:4 layers as a model has them, in torch's type, which fills rows of x up to eight."""
    worst = 0.0
    for n, k in [(64, 128)] if tiny else [(4096, 4096), (4096, 11008), (64, 128)]:
        for dtype in (torch.float16, torch.bfloat16):
            weight = normal(n, k, device="cpu")
            weight = weight.where(masks.keep_n_of_m(weight.abs(), Pattern(2, 4)), 0.0).to(dtype)
            bias = torch.nn.Parameter(torch.ones(n).to(dtype))
            layer = two_of_four_linear(weight, bias, dtype, torch.device(device))
            worst = max(worst, _sparse_layer(layer, weight, (1, 9, 7, 8, 1024), device))
            assert not isinstance(layer, str)
            if not torch.equal(layer.dequantised(dtype), weight.to(device)):
                return Found(1.0, 0.0)
    return Found(worst, BIAS_ROUNDING)


GATES: dict[str, Callable[[str, bool, bool], Found]] = {
    "G0 subnormals": subnormals, "G1 narrow": narrow, "G1 one-hot": one_hot, "G1 wide": wide,
    "G2 sweep exact": sweep_exact, "G2 sweep real": sweep_real, "G3 selectors": selectors, "G4 gap sparse": gap_sparse,
    "G6 tables and planes": tables_and_planes, "G7 repeatable": repeatable, "G8 layers": layers,
    "G8 gap layers": gap_layers, "G8 2:4 layers": two_of_four_layers,
}  # fmt: skip
