"""Which tiles are fastest for which product: times the candidates and writes the file that LLMC_GPU_TILES reads."""

from __future__ import annotations

import torch

from bench.gpu_gates import normal, quantised
from bench.gpu_session import Session
from bench.gpu_timing import cold
from llmc.kernels import wq_launch
from llmc.kernels.tiles import Tiles, candidates, tiles_for
from llmc.kernels.tuned_tiles import Place, device_name, triton_version, write

FILE = "gpu_tiles.json"
SAME = 1e-3
"""The most that two tiles' products may differ, relatively: their sums go in another order."""


def tune(session: Session, shapes: list[tuple[int, int]]) -> None:
    """With the time that is left: the fastest tiles of each shape; the file is rewritten after each."""
    goes_on = session.until(1e9)
    found: dict[Place, Tiles] = {}
    for m, bits in session.pick([(m, b) for m in (1, 16, 64, 32) for b in (4, 3, 2, 8)], [(1, 4), (17, 3)]):
        for n, k in shapes:
            if not goes_on():
                return
            chosen = _fastest(session, n, k, bits, m)
            place = Place(
                device=device_name(torch.device(session.device)),
                triton=triton_version(),
                n_out=n,
                n_in=k,
                bits=bits,
                columns=chosen.columns,
            )
            found[place] = chosen
            write(session.out / FILE, found)
            session.line("tuned", n=n, k=k, m=m, bits=bits, tiles=vars(chosen), file=FILE)


def _fastest(session: Session, n: int, k: int, bits: int, m: int) -> Tiles:
    weight, x = quantised(n, k, bits, session.device), normal(m, k, device=session.device).half()
    n_steps = wq_launch.n_steps(weight)
    n_sms = 132 if session.dry else torch.cuda.get_device_properties(0).multi_processor_count
    rule = tiles_for(len(weight.words), n_steps, m, n_sms)
    expected = wq_launch.matmul(x, weight, tiles=rule, magic=session.magic)
    times: dict[Tiles, float] = {}
    for tiles in dict.fromkeys([rule, *session.pick(candidates(n_steps, m), candidates(n_steps, m)[:2])]):
        y = wq_launch.matmul(x, weight, tiles=tiles, magic=session.magic)
        if not bool((y - expected).float().norm() <= SAME * expected.float().norm()):
            session.line("tune", problem="another result", n=n, k=k, m=m, bits=bits, tiles=vars(tiles))
            continue
        took = cold(lambda t=tiles: wq_launch.matmul(x, weight, tiles=t, magic=session.magic), session.device)
        times[tiles] = took.median
        what = {"n": n, "k": k, "m": m, "bits": bits, "tiles": vars(tiles), "rule": tiles == rule}
        session.timed("tune", took, n_bytes=weight.size_bytes, **what)
    return min(times, key=lambda tiles: times[tiles])
