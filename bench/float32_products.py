"""Float32 products of linear layers by torch's own library and by oneDNN, in turns: where the second is the faster.

    PYTHONPATH=. python bench/float32_products.py --threads 1

`llmc.ops.product` chooses by the machine and by the number of multiplications; this shows whether it chooses rightly.
Times are medians of the turns in microseconds, each turn going through 100 MB of matrices (or 2,000 products).
"""

from __future__ import annotations

import argparse
import statistics
import time
from unittest import mock

import torch

from llmc.evaluate.speed.bench import _processor
from llmc.ops import product

SHAPES = ((128, 128), (512, 128), (256, 256), (2048, 2048), (7168, 2048), (2048, 7168), (32000, 2048))
"""Outputs and inputs."""


def main() -> None:
    """Prints a line a shape and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 16, 64, 256, 1024])
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    said = f"torch {torch.__version__}, {_processor()}, {args.threads} thread(s); oneDNN is chosen here: "
    print(said + str(product.by_onednn()))
    print("| out x in | rows | torch, µs | oneDNN, µs | ratio (least to most) | GFLOP/s | chosen |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for n_out, n_in in SHAPES:
        weights = [torch.randn(n_out, n_in) for _ in range(max(1, min(8, 10**8 // (4 * n_out * n_in))))]
        for rows in args.rows:
            _line(torch.randn(rows, n_in), weights, args.turns)


def _line(x: torch.Tensor, weights: list[torch.Tensor], turns: int) -> None:
    n_out, n_in = weights[0].shape
    work = len(x) * n_out * n_in
    repeats = max(1, min(2000, 150_000_000 // work) // len(weights)) * len(weights)
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(turns + 1):
        for onednn in (turn % 2 == 0, turn % 2 == 1):
            with (
                mock.patch.object(product, "_mkl_holds_back", lambda onednn=onednn: onednn),
                mock.patch.object(product, "LEAST", 0),
            ):
                start = time.perf_counter()
                for i in range(repeats):
                    product.linear(x, weights[i % len(weights)])
                taken = (time.perf_counter() - start) / repeats
            if turn:  # the first warms up
                times[onednn].append(1e6 * taken)
    ratios = [own / other for own, other in zip(times[False], times[True], strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    own, other = (statistics.median(times[onednn]) for onednn in (False, True))
    chosen = "oneDNN" if work >= product.LEAST else "torch"
    speed = f"{2 * work / own / 1e3:.0f} / {2 * work / other / 1e3:.0f}"
    print(f"| {n_out} x {n_in} | {len(x)} | {own:,.1f} | {other:,.1f} | {spread} | {speed} | {chosen} |", flush=True)


if __name__ == "__main__":
    main()
