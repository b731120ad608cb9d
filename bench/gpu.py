"""Ten minutes on a GPU: are the kernels right, and how fast are they? `python -m bench.gpu --minutes 10 --out DIR`.

Gates come first, and nothing whose gate failed is timed. Every block has a deadline and is cut off when it is late;
every line is written as it comes, so what was measured before an end is kept. Random weights, nothing is downloaded.
--dry runs the same code on the CPU in triton's interpreter with tiny shapes: its times mean nothing and say so.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

if "--dry" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import torch

from bench.gpu_baselines import baselines, symmetric
from bench.gpu_fewer import low_rank, sparse, two_of_four
from bench.gpu_gates import GATES, normal, quantised
from bench.gpu_session import Session
from bench.gpu_timing import Spread, cold, rotated
from bench.gpu_tune import tune
from llmc.kernels import lut, select, wq_launch
from llmc.kernels.gpu_setting import VARIABLE
from llmc.kernels.sweep import fused_sweep
from llmc.ops import masks
from llmc.ops.factor import Feedback
from llmc.ops.grid import fit_grid
from llmc.ops.masks import Pattern
from llmc.ops.sweep import SweepSettings
from llmc.ops.sweep import sweep as plain_sweep

NEEDS = {  # block -> gates without which it is not timed
    "decode": ("G1 narrow", "G1 one-hot", "G7 repeatable"), "sweep": ("G2 sweep exact", "G2 sweep real"),
    "select": ("G3 selectors",), "crossover": ("G1 narrow", "G1 wide"), "sparse": ("G4 gap sparse", "G8 gap layers"),
    "2:4": ("G8 2:4 layers", "G8 gap layers"), "low rank": ("G1 narrow", "G1 wide", "G8 layers"),
    "lut": ("G6 tables and planes",), "tune": ("G1 narrow", "G1 wide", "G7 repeatable"),
}  # fmt: skip
SHAPES = [(22016, 4096), (8192, 8192), (4096, 11008), (12288, 4096), (28672, 8192), (4096, 4096)]
ROTATED_BYTES = 200 << 20


def machine(session: Session) -> None:
    """The device, and its ceilings: all later shares are of these."""
    import triton

    about: dict[str, Any] = {"torch": torch.__version__, "triton": triton.__version__, "device": session.device}
    size = 1 << (12 if session.dry else 29)
    source = torch.empty(size, dtype=torch.float16, device=session.device)
    target = torch.empty_like(source)
    copied = cold(lambda: target.copy_(source), session.device)
    about["copy_gb_per_s"] = round(4 * size / copied.median / 1e3, 1)
    read = cold(lambda: source.view(torch.int32).max(), session.device)
    about["read_gb_per_s"] = round(2 * size / read.median / 1e3, 1)
    side = 64 if session.dry else 8192
    for dtype in (torch.bfloat16, torch.float32):
        a = torch.ones(side, side, dtype=dtype, device=session.device)
        took = cold(lambda a=a: a @ a, session.device, repeats=5)
        about[f"{dtype}_tflops".removeprefix("torch.")] = round(2 * side**3 / took.median / 1e6, 1)
    if not session.dry:
        found = torch.cuda.get_device_properties(0)
        about |= {"gpu": found.name, "sms": found.multi_processor_count, "l2_bytes": found.L2_cache_size}
        about |= {"cuda": torch.version.cuda, "memory_bytes": found.total_memory}
        session.bytes_per_s = max(about["copy_gb_per_s"], about["read_gb_per_s"]) * 1e9
    session.line("machine", **about)


def gates(session: Session) -> None:
    """All gates. If tensor cores flush subnormals, everything goes on with the magic number."""
    for name, gate in GATES.items():
        try:
            found = gate(session.device, session.dry, session.magic)
            passed = bool(found.error <= found.bound)  # a NaN is no pass
            error = found.error if math.isfinite(found.error) else None
            session.line("gate", name=name, passed=passed, error=error, bound=found.bound, magic=session.magic)
        except Exception as problem:  # one broken kernel must not cost the window
            passed = False
            session.line("gate", name=name, passed=False, problem=repr(problem)[:300])
            traceback.print_exc()
        if name == "G0 subnormals":
            session.magic = not passed
            os.environ[VARIABLE] = "magic" if session.magic else "on"  # for what goes through operators
        elif not passed:
            session.failed.append(name)


def decode(session: Session) -> None:
    """Few rows of x against cuBLAS, tinygemm and Marlin: cold runs, and a graph that rotates over the cache."""
    goes_on = session.until(150)
    for n, k in session.pick(SHAPES, [(128, 512)]):
        inputs = {m: normal(m, k, device=session.device).half() for m in session.pick([1, 8, 16, 4, 2], [1])}
        if not goes_on():
            return
        base = _others(session, n, k, inputs)
        for bits in (4, 2, 3, 8):
            weight = quantised(n, k, bits, session.device)
            copies = 1 if session.dry else max(1, ROTATED_BYTES // weight.size_bytes)
            others = [weight, *(quantised(n, k, bits, session.device, seed) for seed in range(1, min(copies, 24)))]
            for m, x in inputs.items():
                if not goes_on():
                    return
                took = cold(lambda x=x, w=weight: wq_launch.matmul(x, w, magic=session.magic), session.device)
                n_bytes = weight.size_bytes + 2 * m * (n + k)
                what = {"kernel": f"W{bits}", "n": n, "k": k, "m": m}
                session.timed("decode", took, n_bytes=n_bytes, against=base[m], how="cold", **what)
                works = [lambda x=x, w=w: wq_launch.matmul(x, w, magic=session.magic) for w in others]
                session.timed("decode", rotated(works, session.device), n_bytes=n_bytes, how="graph, rotated", **what)


def _others(session: Session, n: int, k: int, inputs: dict[int, torch.Tensor]) -> dict[int, Spread]:
    """Times the products of others, in bfloat16 and cold; cuBLAS's, by rows of x, are what ours are set against."""
    weight = symmetric(n, k, session.device)
    dense = weight.dequantised().to(torch.bfloat16)
    found: dict[str, Any] = {"bf16": lambda x: torch.nn.functional.linear(x, dense), **baselines(weight)}
    base: dict[int, Spread] = {}
    for name, product in found.items():
        if isinstance(product, str):
            session.line("decode", kernel=name, missing=product, n=n, k=k)
            continue
        for m, half in inputs.items():
            x = half.bfloat16()
            took = cold(lambda x=x, product=product: product(x), session.device)
            base.setdefault(m, took)  # bf16 comes first
            n_bytes = 2 * n * k if name == "bf16" else n * k // 2 + 4 * n * (k // 128)
            session.timed("decode", took, n_bytes=n_bytes, against=base[m], how="cold", kernel=name, n=n, k=k, m=m)
    return base


def sweep(session: Session) -> None:
    """Whole sweeps, a launch of one block, and the plain loop on 256 columns for comparison."""
    goes_on = session.until(60)
    for n, k in session.pick([(4096, 11008), (11008, 4096), (12288, 4096)], [(32, 128)]):
        if not goes_on():
            return
        weight = normal(n, k, device=session.device)
        gain = (torch.randn(k, k, device=session.device) * 0.01).triu(1) + torch.eye(k, device=session.device)
        factors = Feedback(gain=gain, cost=torch.ones(k, device=session.device), order=None, damping=0.01)
        grid = fit_grid(weight, bits=4, group_size=128, symmetric=True)
        what = {"n": n, "k": k}
        settings = SweepSettings(grid=grid)
        took = cold(lambda w=weight, f=factors, s=settings: fused_sweep(w, f, s), session.device, repeats=3)
        session.timed("sweep", took, kernel="fused", **what)
        part = min(256, k)
        short = Feedback(gain=gain[:part, :part].contiguous(), cost=factors.cost[:part], order=None, damping=0.01)
        few = SweepSettings(grid=fit_grid(weight[:, :part].contiguous(), bits=4, group_size=128, symmetric=True))
        plain = cold(lambda w=weight[:, :part], f=short, s=few: plain_sweep(w, f, s), session.device, repeats=3)
        session.timed("sweep", plain, kernel=f"plain loop, {part} columns", columns_of_whole=round(part / k, 4), **what)

        def pick(score: torch.Tensor) -> torch.Tensor:
            return masks.keep_n_of_m(score.T, Pattern(2, 4)).T

        pruning = SweepSettings(select=pick, every=4, pattern=Pattern(2, 4))
        pruned = cold(lambda w=weight, f=factors, s=pruning: fused_sweep(w, f, s), session.device, repeats=3)
        session.timed("sweep", pruned, kernel="fused 2:4", **what)


def selection(session: Session) -> None:
    """Masks of a 4096 x 11008 matrix, against what torch offers."""
    goes_on = session.until(45)
    shape = (4, 96) if session.dry else (4096, 11008)
    score = normal(*shape, device=session.device).abs()
    n_bytes = score.numel() * 5
    works: dict[str, Callable[[], object]] = {
        "row, kernel": lambda: select.drop_lowest(score, 0.5),
        "row, torch.kthvalue": lambda: score.kthvalue(shape[1] // 2, dim=-1),
        "row, torch.sort": lambda: score.sort(dim=-1, stable=True),
        "2:4, kernel": lambda: select.keep_n_of_m(score, Pattern(2, 4)),
        "2:4, torch": lambda: masks.keep_n_of_m(score, Pattern(2, 4)),
        "layer, kernel": lambda: select.drop_lowest_of_all(score, 0.5),
        "layer, torch.kthvalue": lambda: score.view(-1).kthvalue(score.numel() // 2),
    }
    for name, work in works.items():
        if goes_on():
            session.timed("select", cold(work, session.device, repeats=5), n_bytes=n_bytes, kernel=name)


def crossover(session: Session) -> None:
    """From how many rows of x on it is faster to write the matrix out: fused against dequantise and cuBLAS."""
    goes_on = session.until(45)
    n, k = (128, 512) if session.dry else (4096, 11008)
    weight = quantised(n, k, 4, session.device)
    dense = torch.randn(n, k, device=session.device, dtype=torch.bfloat16)
    for m in session.pick([32, 64, 128, 256, 512, 1024, 2048], [33]):
        if not goes_on():
            return
        x = normal(m, k, device=session.device).half()
        rounded = x.bfloat16()
        base = cold(lambda x=rounded: torch.nn.functional.linear(x, dense), session.device)
        for name, limit in (("fused", 1 << 30), ("written out", 0)):
            took = cold(lambda x=x, limit=limit: wq_launch.matmul(x, weight, wide_rows=limit), session.device)
            session.timed("crossover", took, against=base, kernel=name, n=n, k=k, m=m)


def non_uniform(session: Session) -> None:
    """Tables and binary planes."""
    goes_on = session.until(30)
    n, k = (128, 512) if session.dry else (8192, 8192)
    codes = torch.randint(0, 16, (n, k), dtype=torch.uint8, device=session.device)
    weights = {
        "4-bit tables": lut.tables(codes, normal(n, 1, 16, device=session.device)),
        "3 planes": lut.planes_of(
            normal(3, n, k, device=session.device) > 0, normal(3, n, k // 128, device=session.device),
            normal(n, k // 128, device=session.device), 128,
        ),
    }  # fmt: skip
    for name, weight in weights.items():
        for m in session.pick([1, 8, 16], [1]):
            if goes_on():
                x = normal(m, k, device=session.device).half()
                took = cold(lambda x=x, w=weight: lut.matmul(x, w, split=1 if session.dry else 8), session.device)
                n_bytes = weight.words.numel() * 4
                session.timed("lut", took, n_bytes=n_bytes, kernel=name, n=n, k=k, m=m)


def tuning(session: Session) -> None:
    """The fastest tiles, for the file that LLMC_GPU_TILES reads."""
    tune(session, session.pick(SHAPES, [(128, 512)]))


BLOCKS = {
    "decode": decode, "sweep": sweep, "select": selection, "crossover": crossover, "sparse": sparse,
    "2:4": two_of_four, "low rank": low_rank, "lut": non_uniform, "tune": tuning,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dry", action="store_true", help="on the CPU, in the interpreter; times mean nothing")
    parser.add_argument("--only", nargs="*", choices=list(BLOCKS), help="these blocks, after the gates")
    options = parser.parse_args()
    if not options.dry and not torch.cuda.is_available():
        print("no GPU here; --dry runs the same code in triton's interpreter", file=sys.stderr)
        return 2
    session = Session(options.out, options.minutes, options.dry)
    machine(session)
    gates(session)
    for name, block in BLOCKS.items():
        missing = [gate for gate in NEEDS[name] if gate in session.failed]
        if options.only and name not in options.only:
            continue
        if missing:
            session.line("skipped", what=name, gates_failed=missing)
            continue
        try:
            block(session)
        except Exception as problem:  # the next block may still work
            session.line("broken", what=name, problem=repr(problem)[:300])
            session.failed.append(f"block {name}")
            traceback.print_exc()
    session.line("end", failed=session.failed, magic=session.magic, seconds_left=round(session.end - time.monotonic()))
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
