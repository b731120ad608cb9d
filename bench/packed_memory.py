"""Peak memory of loading and evaluating a packed model against the bytes of its tensors, at several depths.

    python bench/packed_memory.py --work DIR                     # 4, 16 and 48 layers of SmolLM2-360M's width

Each model has random weights, is packed by `rtn` (4 bits, groups of 64) with the project's own writer, and is then
loaded, and asked once, in a process of its own. Prints the bytes of its tensors, the resident size before loading,
behind it, and at its peak (VmHWM), and what a layer more costs of each: the peak must grow by at most 1.3 times what
the tensors grow by.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from process_cost import peak_rss
from random_llama import Shape, write_llama

from llmc.compress.plan import Job
from llmc.compress.recipe import build
from llmc.compress.run import compress
from llmc.evaluate.speed.speed_process import process_bytes
from llmc.models.load import load_model, quiet
from llmc.models.memory import tensor_bytes

MOST = 1.3


def main() -> None:
    """Measures every depth; exit code 1 where the peak grows by more than `MOST` times the tensors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 16, 48])
    parser.add_argument("--kernels", nargs="+", default=["exact", "fast"])
    parser.add_argument("--once", nargs=2, metavar=("MODEL", "KERNELS"), help="measure this process")
    asked = parser.parse_args()
    if asked.once:
        print(json.dumps(once(Path(asked.once[0]), asked.once[1])))
        return
    wrong = False
    for kernels in asked.kernels:
        rows = [measured(made(asked.work, layers), kernels) for layers in asked.layers]
        for layers, row in zip(asked.layers, rows, strict=True):
            told = ", ".join(f"{name} {value / 1e6:.0f} MB" for name, value in row.items())
            print(f"{kernels}, {layers} layers: {told}", flush=True)
        steps = asked.layers[-1] - asked.layers[0]
        grown = {name: (rows[-1][name] - rows[0][name]) / steps for name in rows[0]}
        share = grown["peak"] / grown["tensors"]
        told = ", ".join(f"{name} {grown[name] / 1e6:.2f} MB" for name in ("tensors", "loaded", "peak"))
        print(f"{kernels}, a layer more: {told}; the peak grows {share:.2f} times as the tensors", flush=True)
        wrong |= share > MOST
    sys.exit(wrong)


def made(work: Path, layers: int) -> Path:
    """The packed model of so many layers, made unless it is there."""
    out = work / f"packed-{layers}"
    if not (out / "llmc_manifest.json").exists():
        shape = Shape(layers=layers, width=960, intermediate=2560, heads=15, vocabulary=49152)
        dense = write_llama(work / f"dense-{layers}", shape, torch.bfloat16)
        settings = {"bits": 4, "group_size": 64}
        compress(Job(model=dense, out=out, stages=(build("rtn", settings),), calibration=None), lambda *_: None)
        shutil.rmtree(dense)
    return out


def measured(model: Path, kernels: str) -> dict[str, int]:
    """The figures of one process, in bytes."""
    done = subprocess.run(
        [sys.executable, __file__, "--work", ".", "--once", str(model), kernels],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    row: dict[str, int] = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def once(directory: Path, kernels: str) -> dict[str, int]:
    """Loads the model in this process and asks it for 64 tokens' likelihoods."""
    quiet()
    before = process_bytes() or 0
    model = load_model(directory, dtype=torch.float32, kernels=kernels)  # type: ignore[arg-type]
    loaded = process_bytes() or 0
    with torch.no_grad():
        model(input_ids=torch.arange(3, 67).view(1, -1), use_cache=False)
    return {"tensors": tensor_bytes(model), "before": before, "loaded": loaded - before, "peak": peak_rss() - before}


if __name__ == "__main__":
    main()
