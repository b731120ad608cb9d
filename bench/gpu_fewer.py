"""Times of products with fewer weights than the dense matrix: 2:4 through torch, low-rank pairs, gap-coded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from bench.gpu_gates import normal, quantised
from bench.gpu_session import Session
from bench.gpu_timing import cold
from llmc.kernels import gap_sparse, low_rank_pair, semi_structured
from llmc.kernels.low_rank_pair import LowRankPair
from llmc.ops import masks
from llmc.ops.masks import Pattern


def sparse(session: Session) -> None:
    """Gap-coded products against dense ones, by sparsity."""
    goes_on = session.until(45)
    n, k = (8, 600) if session.dry else (4096, 4096)
    for sparsity in session.pick([0.7, 0.5, 0.6, 0.8], [0.7]):
        dense = torch.randn(n, k).half()
        coded = gap_sparse.encode(dense * (torch.rand(n, k) > sparsity)).to(session.device)
        wide = dense.to(session.device, torch.bfloat16)
        for m in session.pick([1, 2, 4], [1]):
            if not goes_on():
                return
            x = normal(m, k, device=session.device).half()
            rounded = x.bfloat16()
            base = cold(lambda x=rounded, w=wide: linear(x, w), session.device)
            took = cold(lambda x=x, c=coded: gap_sparse.matvec(x, c), session.device)
            session.timed("sparse", took, n_bytes=coded.size_bytes, against=base, n=n, k=k, m=m, sparsity=sparsity)


def two_of_four(session: Session) -> None:
    """torch's 2:4 type against the dense product, and whether the timed check would use it.

    On a CPU torch has no such type: a dry run multiplies by the pruned matrix and says so.
    """
    goes_on = session.until(30)
    n, k = (64, 128) if session.dry else (4096, 4096)
    weight = normal(n, k, device=session.device).to(torch.bfloat16)
    weight = weight * masks.keep_n_of_m(weight.abs(), Pattern(2, 4))
    semi_structured.check_shape(weight)
    held = weight if session.dry else semi_structured.compressed(weight)
    what = {"n": n, "k": k, **({"stand_in": "dense"} if session.dry else {"type": type(held).__name__})}
    for m in session.pick([1024, 4096, 64, 8, 1], [1, 1024]):
        if not goes_on():
            return
        x = normal(m, k, device=session.device).to(torch.bfloat16)

        def dense(x: Tensor) -> Tensor:
            return linear(x, weight)

        def by_type(x: Tensor) -> Tensor:
            return linear(x, held)

        off = float((by_type(x).float() - dense(x).float()).norm() / dense(x).float().norm())
        if off > 1e-2:
            session.line("2:4", problem=f"off by {off:.3g}", m=m, **what)
            session.failed.append("2:4 through torch")
            return
        base, took = cold(lambda x=x: dense(x), session.device), cold(lambda x=x: by_type(x), session.device)
        used = semi_structured.faster(dense, by_type, x)
        session.timed("2:4", took, n_bytes=2 * n * k * 0.5625, against=base, m=m, would_be_used=used, **what)


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
