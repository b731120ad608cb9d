"""Times of products with fewer weights than the dense matrix: 2:4 through torch, low-rank pairs, gap-coded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import linear

from bench.gpu_gates import normal, quantised
from bench.gpu_session import Session
from bench.gpu_timing import cold
from llmc.kernels import gap_sparse, low_rank_pair, semi_structured
from llmc.kernels.gpu_sparse import gap_linear, two_of_four_linear
from llmc.kernels.low_rank_pair import LowRankPair
from llmc.ops import masks
from llmc.ops.masks import Pattern

FEW_ROWS = 4
"""Rows of x up to which both ways of a gap-coded layer are timed: it takes the gaps for two, which is a guess."""


def sparse(session: Session) -> None:
    """Gap-coded products against dense ones, by sparsity: by the gaps for few rows of x, and the matrix written out."""
    goes_on = session.until(45)
    n, k = (8, 2048) if session.dry else (4096, 4096)
    for sparsity in session.pick([0.7, 0.5, 0.6, 0.8], [0.7]):
        dense = torch.randn(n, k).bfloat16()
        layer = gap_linear(dense * (torch.rand(n, k) > sparsity), int((1 - sparsity) * n * k), None, dense.dtype)
        assert not isinstance(layer, str), layer
        coded, wide = layer.to(session.device).matrix, dense.to(session.device)
        for m in session.pick([1, 2, 4, 64, 1024], [1, 4]):
            if not goes_on():
                return
            x = normal(m, k, device=session.device).bfloat16()
            base = cold(lambda x=x, w=wide: linear(x, w), session.device)
            ways: dict[str, Callable[[], object]] = {
                "written out": lambda x=x, v=layer: linear(x, v.dequantised(x.dtype))
            }
            if m <= FEW_ROWS:
                ways["by gaps"] = lambda x=x, c=coded: gap_sparse.matvec(x, c)
            what = {"n": n, "k": k, "m": m, "sparsity": sparsity}
            for name, work in ways.items():
                took = cold(work, session.device)
                session.timed("sparse", took, n_bytes=coded.size_bytes, against=base, kernel=name, **what)


def two_of_four(session: Session) -> None:
    """torch's 2:4 type against the dense product and against gaps, and whether the timed check would use it.

    On a CPU torch has no such product: a dry run multiplies by the matrix written out and says so.
    """
    goes_on = session.until(30)
    n, k = (64, 512) if session.dry else (4096, 4096)
    weight = normal(n, k, device="cpu").to(torch.bfloat16)
    weight = weight.where(masks.keep_n_of_m(weight.abs(), Pattern(2, 4)), 0.0)
    made = two_of_four_linear(weight, None, weight.dtype, torch.device(session.device))
    gaps = gap_linear(weight, n * k // 2, None, weight.dtype)
    if isinstance(made, str) or isinstance(gaps, str):
        session.line("2:4", problem=made if isinstance(made, str) else gaps, n=n, k=k)
        session.failed.append("2:4 through torch")
        return
    weight, gaps = weight.to(session.device), gaps.to(session.device)
    backend = "CUTLASS" if made.meta is not None else "cuSPARSELt"
    what = {"n": n, "k": k, **({"stand_in": "dense"} if session.dry else {"backend": backend})}
    n_bytes = {"2:4": 2 * n * k * 0.5625, "gaps": gaps.matrix.size_bytes}
    for m in session.pick([1024, 4096, 64, 8, 1], [1, 1024]):
        if not goes_on():
            return
        x = normal(m, k, device=session.device).to(torch.bfloat16)
        base = cold(lambda x=x: linear(x, weight), session.device)
        used = semi_structured.faster(gaps, made, x)
        for name, layer in (("2:4", made), ("gaps", gaps)):
            took = cold(lambda x=x, layer=layer: layer(x), session.device)
            session.timed(
                "2:4", took, n_bytes=n_bytes[name], against=base, kernel=name, m=m, would_be_used=used, **what
            )


def low_rank(session: Session) -> None:
    """Pairs of bfloat16 factors by cuBLAS, and of 4-bit ones by the quantised product, against the dense matrix."""
    goes_on = session.until(30)
    n, k = (128, 512) if session.dry else (4096, 4096)
    wide = normal(n, k, device=session.device).to(torch.bfloat16)
    for rank in session.pick([512, 128, 1024], [128]):
        left, right = (normal(*shape, device=session.device).to(torch.bfloat16) for shape in ((n, rank), (rank, k)))
        in_4_bits = quantised(n, rank, 4, session.device), quantised(rank, k, 4, session.device)
        pairs = {
            "bf16 pair": (LowRankPair(left=left, right=right), 2 * rank * (n + k)),
            "W4 pair": (LowRankPair(left=in_4_bits[0], right=in_4_bits[1]), sum(p.size_bytes for p in in_4_bits)),
        }
        for m in session.pick([1, 16, 256], [1]):
            if not goes_on():
                return
            x = normal(m, k, device=session.device).to(torch.bfloat16)
            base = cold(lambda x=x: linear(x, wide), session.device)
            for name, (pair, n_bytes) in pairs.items():
                work: Callable[[], object] = lambda x=x, pair=pair: low_rank_pair.matmul(x, pair)  # noqa: E731
                took = cold(work, session.device)
                session.timed("low rank", took, n_bytes=n_bytes, against=base, kernel=name, n=n, k=k, m=m, rank=rank)
