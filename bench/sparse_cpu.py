"""What sparse weights cost on this CPU: products of CSR against dense ones, and unpacking of a bitmask.

    python bench/sparse_cpu.py --threads 1                             # minutes
    python bench/sparse_cpu.py --shapes 256x256 --rows 1 --turns 1     # a try

Every product goes through different matrices in turn, `--megabytes` of them, so that none comes from a cache. A line
has the median time of one product in microseconds and the least and the most of `--turns` rounds. Of a linear layer:
dense in bfloat16, dense in float32, by torch's CSR in float32 (int32 columns; 8 bytes a kept weight), and unpacked from
a bitmask in each call (`kernels=exact`) in bfloat16 and in float32. Dense float32 is what the models compute with
(`llmc.ops.product`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from llmc.kernels.sparse_linear import SparseLinear
from llmc.ops.bitmask import Bitmask
from llmc.ops.product import linear

Product = Callable[[], object]


def main() -> None:
    """Prints a line a shape, density and number of rows."""
    args = _arguments()
    torch.set_grad_enabled(False)
    warnings.filterwarnings("ignore", "Sparse CSR")
    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, µs a product")
    for shape in args.shapes:
        rows, columns = (int(size) for size in shape.split("x"))
        for density in args.densities:
            _one_matrix(rows, columns, density, args)


def _one_matrix(rows: int, columns: int, density: float, args: argparse.Namespace) -> None:
    n = max(2, args.megabytes * 2**20 // int(8 * density * rows * columns + 1))
    weights = [_pruned(rows, columns, density, seed) for seed in range(n)]
    csr = [_csr(weight.float()) for weight in weights]
    packed = [SparseLinear(Bitmask.of(weight)) for weight in weights[: max(2, n // 4)]]
    n_dense = max(2, args.megabytes * 2**20 // (2 * rows * columns))
    dense = [weights[i % n].clone() for i in range(n_dense)]
    wide = [weight.float() for weight in dense[: max(2, n_dense // 2)]]
    for m in args.rows:
        x = torch.randn(m, columns)
        half = x.bfloat16()
        found = {
            "bfloat16": _times([partial(linear, half, w) for w in dense], args.turns),
            "float32": _times([partial(linear, x, w) for w in wide], args.turns),
            "csr": _times([partial(_csr_product, w, x) for w in csr], args.turns),
            "exact": _times([partial(layer, half) for layer in packed], args.turns),
            "exact, float32": _times([partial(layer, x) for layer in packed], args.turns),
        }
        cells = (f"{name} {statistics.median(t):,.0f} ({min(t):,.0f} to {max(t):,.0f})" for name, t in found.items())
        print(f"{rows}x{columns}, density {density}, {m} rows:", "; ".join(cells), flush=True)
    unpacking = _times([lambda w=w: w.dequantised(torch.bfloat16) for w in packed], args.turns)
    print(f"    unpacking: {statistics.median(unpacking) * 1e3 / rows / columns:.2f} ns a weight", end="; ")
    whole = _times([lambda w=w: w.to_dense() for w in csr[:2]], args.turns)
    print(f"CSR to dense: {statistics.median(whole) * 1e3 / rows / columns:.2f} ns a weight", flush=True)


def _pruned(rows: int, columns: int, density: float, seed: int) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=draws).bfloat16()
    return weight.masked_fill(torch.rand(rows, columns, generator=draws) >= density, 0)


def _csr(weight: Tensor) -> Tensor:
    made = weight.to_sparse_csr()
    return torch.sparse_csr_tensor(
        made.crow_indices().int(), made.col_indices().int(), made.values(), size=weight.shape
    )


def _csr_product(weight: Tensor, x: Tensor) -> Tensor:
    return torch.mv(weight, x[0]) if len(x) == 1 else torch.mm(weight, x.T)


def _times(products: list[Product], turns: int) -> list[float]:
    """Microseconds of one product, a number a turn, after one turn that isn't counted."""
    found = []
    for turn in range(turns + 1):
        start = time.perf_counter()
        for product in products:
            product()
        if turn:
            found.append((time.perf_counter() - start) / len(products) * 1e6)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["2048x2048", "2048x7168"], help="outputs x inputs")
    parser.add_argument("--densities", nargs="+", type=float, default=[0.5, 0.3, 0.2, 0.1])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 2, 8, 32])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=100, help="of matrices that a round goes through")
    return parser.parse_args()


if __name__ == "__main__":
    main()
