"""The column sweeps of GPTQ and SparseGPT against the plain PyTorch loop of their papers, at equal results.

    python bench/sweep_speed.py                          # 4096 x 4096, one thread
    python bench/sweep_speed.py --out 512 --in 512       # a try

The plain loop keeps a row an output, as both papers' published code does: blocks of 128 columns, in each the columns
one by one (divide, round, clamp, or choose by topk or sort; subtract an outer product), then one matrix product for the
columns after the block. Both get the same weight, Gram matrix and grid, and take turns. What is timed is the sweep
alone, with its choice of what goes; grids and factors stand outside. Equal results: the share of equal codes or mask
entries, and the ratio of the two output errors.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from llmc.evaluate.speed.bench import _processor
from llmc.ops.factor import feedback
from llmc.ops.grid import Grid, fit_grid
from llmc.ops.masks import Pattern, drop_lowest, keep_n_of_m
from llmc.ops.sweep import SweepSettings, sweep

BLOCK = 128
TWO_OF_FOUR = Pattern(keep=2, of=4)


def main() -> None:
    """Prints a line a sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=int, default=4096, help="outputs of the matrix")
    parser.add_argument("--in", type=int, default=4096, dest="width", help="its inputs")
    parser.add_argument("--tokens", type=int, default=0, help="tokens behind the Gram matrix; 0: four times the inputs")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    draws = torch.Generator().manual_seed(args.seed)
    weight = torch.randn(args.out, args.width, generator=draws) * 0.02
    gram = _gram(args.width, args.tokens or 4 * args.width, draws)
    factors = feedback(gram, 0.01)
    upper = _inverse_factor(gram, factors.damping)
    grid = fit_grid(weight, bits=4, group_size=128, symmetric=True)
    print(f"{args.out} x {args.width}, {args.threads} thread(s), torch {torch.__version__}, {_processor()}, ", end="")
    print(f"Python {platform.python_version()}; medians of {args.turns} turns (least to most)")
    sides: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
        "GPTQ, 4 bits, groups of 128": (
            lambda: sweep(weight, factors, SweepSettings(grid=grid)).result,
            lambda: _plain_gptq(weight, upper, grid),
        ),
        "SparseGPT, 2:4": (
            lambda: sweep(weight, factors, SweepSettings(select=_two_of_four, every=4)).result,
            lambda: _plain_sparse(weight, upper, pattern=True),
        ),
        "SparseGPT, 50 %": (
            lambda: sweep(weight, factors, SweepSettings(select=_lowest_half, every=BLOCK)).result,
            lambda: _plain_sparse(weight, upper, pattern=False),
        ),
    }
    for name, (ours, plain) in sides.items():
        _compare(name, ours, plain, args.turns, weight, gram, grid if "GPTQ," in name else None)


def _compare(
    name: str,
    ours: Callable[[], Tensor],
    plain: Callable[[], Tensor],
    turns: int,
    weight: Tensor,
    gram: Tensor,
    grid: Grid | None,
) -> None:
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    processor: dict[str, list[float]] = {"ours": [], "plain": []}
    results: dict[str, Tensor] = {}
    for turn in range(turns):
        for side, run in sorted({"ours": ours, "plain": plain}.items(), reverse=turn % 2 == 1):
            start, start_cpu = time.perf_counter(), time.process_time()
            results[side] = run()
            seconds[side].append(time.perf_counter() - start)
            processor[side].append(time.process_time() - start_cpu)
    equal = (
        results["ours"] == results["plain"] if grid is not None else (results["ours"] == 0) == (results["plain"] == 0)
    )
    values = {side: r if grid is None else grid.values(r) for side, r in results.items()}
    errors = {side: float(((weight - v).double() @ gram.double() * (weight - v)).sum()) for side, v in values.items()}
    ratios, less = ([b / a for a, b in zip(t["ours"], t["plain"], strict=True)] for t in (seconds, processor))
    print(f"{name}: ours {_spread(seconds['ours'])} s, plain {_spread(seconds['plain'])} s,", end=" ")
    print(f"{_spread(ratios)} x as fast, {_spread(less)} in processor seconds;", end=" ")
    print(f"equal {100 * float(equal.double().mean()):.4f} %,", end=" ")
    print(f"error {errors['ours'] / errors['plain']:.6f} of plain's")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _gram(width: int, n_tokens: int, draws: torch.Generator) -> Tensor:
    """The Gram matrix of inputs with a few strong directions and unlike scales, like real activations."""
    mix = torch.randn(max(8, width // 16), width, generator=draws)
    scale = torch.exp(torch.randn(width, generator=draws) * 0.5)
    gram = torch.zeros(width, width)
    for start in range(0, n_tokens, 4096):
        n = min(4096, n_tokens - start)
        x = torch.randn(n, len(mix), generator=draws) @ mix / len(mix) ** 0.5 + torch.randn(n, width, generator=draws)
        x *= scale
        gram += x.T @ x
    return gram


def _inverse_factor(gram: Tensor, damping: float) -> Tensor:
    """U with H^-1 = U^T U, upper triangular, of the same damped and scaled matrix as `feedback`'s."""
    h = gram.double() / gram.diagonal().double().mean()
    h.diagonal().add_(damping)
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True).float()


def _plain_gptq(weight: Tensor, upper: Tensor, grid: Grid) -> Tensor:
    w, offsets = weight.clone(), torch.empty_like(weight)
    low, high = -(2 ** (grid.bits - 1)), 2 ** (grid.bits - 1) - 1
    for first in range(0, w.shape[1], BLOCK):
        last = min(first + BLOCK, w.shape[1])
        block, part = w[:, first:last].clone(), upper[first:last, first:last]
        errors = torch.zeros_like(block)
        for i in range(last - first):
            column = block[:, i]
            scale = grid.scale[:, (first + i) // grid.group_size]
            rounded = torch.clamp(torch.round(column / scale), low, high)
            offsets[:, first + i] = rounded
            error = (column - rounded * scale) / part[i, i]
            block[:, i:] -= error.unsqueeze(1).matmul(part[i, i:].unsqueeze(0))
            errors[:, i] = error
        w[:, last:] -= errors.matmul(upper[first:last, last:])
    return offsets


def _plain_sparse(weight: Tensor, upper: Tensor, *, pattern: bool) -> Tensor:
    w, result = weight.clone(), torch.empty_like(weight)
    for first in range(0, w.shape[1], BLOCK):
        last = min(first + BLOCK, w.shape[1])
        block, part = w[:, first:last].clone(), upper[first:last, first:last]
        errors, drop = torch.zeros_like(block), torch.zeros_like(block, dtype=torch.bool)
        if not pattern:
            scores = block**2 / part.diagonal() ** 2
            drop = scores <= scores.flatten().sort().values[round(scores.numel() / 2) - 1]
        for i in range(last - first):
            column = block[:, i]
            if pattern and i % 4 == 0:
                scores = block[:, i : i + 4] ** 2 / part.diagonal()[i : i + 4] ** 2
                drop.scatter_(1, i + scores.topk(2, dim=1, largest=False).indices, True)
            kept = column * ~drop[:, i]
            result[:, first + i] = kept
            error = (column - kept) / part[i, i]
            block[:, i:] -= error.unsqueeze(1).matmul(part[i, i:].unsqueeze(0))
            errors[:, i] = error
        w[:, last:] -= errors.matmul(upper[first:last, last:])
    return result


def _two_of_four(scores: Tensor) -> Tensor:
    """Of every four columns the lower two go, row by row."""
    return keep_n_of_m(scores.T, TWO_OF_FOUR).T


def _lowest_half(scores: Tensor) -> Tensor:
    """Of a whole block the lower half goes, as the published code chooses."""
    return drop_lowest(scores.reshape(1, -1), 0.5).view(scores.shape)


if __name__ == "__main__":
    main()
