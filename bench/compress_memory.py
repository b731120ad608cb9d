"""Peak memory of a compression: against depth, and on a checkpoint larger than the memory it may take.

    python bench/compress_memory.py depth                   # 4, 16 and 48 layers of one width: within 5 % of each other
    python bench/compress_memory.py large --work DIR        # the shape of a Llama of 13 billion, 26 GB of bf16

Each compression is a process of its own; its peak is VmHWM, the largest resident size since its program was loaded.
The large checkpoint is made under --work and removed; the result beside it takes as much again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from random_llama import Shape, write_llama, zipf_tokens
from safetensors.torch import save_file

HERE = Path(__file__).parent
LIMIT_BYTES = 6 * 2**30


def main() -> None:
    """Runs one of the two measurements and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["depth", "large"])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--methods", nargs="+", default=None)
    parser.add_argument("--layers", type=int, nargs="+", default=None)
    parser.add_argument("--sequences", type=int, default=None)
    parser.add_argument("--length", type=int, default=None)
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    args = parser.parse_args()
    found = _depth(args) if args.what == "depth" else _large(args)
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n")


def _depth(args: argparse.Namespace) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for method in args.methods or ["wanda", "gptq"]:
        peaks = []
        for layers in args.layers or [4, 16, 48]:
            shape = Shape(layers=layers, width=768, intermediate=2048, heads=12)
            row = _measured(args, method, shape, torch.float32, args.sequences or 8, args.length or 256)
            found.append(row)
            peaks.append(int(str(row["peak_bytes"])))
        print(f"{method}: largest over smallest peak {max(peaks) / min(peaks):.4f}", flush=True)
    return found


def _large(args: argparse.Namespace) -> list[dict[str, object]]:
    layers = (args.layers or [40])[0]
    shape = Shape(layers=layers, width=5120, intermediate=13824, heads=40)
    found = []
    for method in args.methods or ["wanda"]:
        row = _measured(args, method, shape, torch.bfloat16, args.sequences or 4, args.length or 256)
        within = int(str(row["peak_bytes"])) <= LIMIT_BYTES
        print(f"{method}: peak {'within' if within else 'ABOVE'} {LIMIT_BYTES / 2**30:.0f} GiB", flush=True)
        found.append(row)
    return found


def _measured(
    args: argparse.Namespace, method: str, shape: Shape, dtype: torch.dtype, sequences: int, length: int
) -> dict[str, object]:
    """Makes the checkpoint, compresses it, removes both."""
    settings = {"gptq": {"bits": 4, "group_size": 128}}.get(method, {})
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        work = Path(name)
        needed = int(2.3 * shape.parameters() * dtype.itemsize)
        if shutil.disk_usage(work).free < needed:
            raise SystemExit(f"{work} needs {needed / 1e9:.0f} GB of free disk")
        start = time.perf_counter()
        model = write_llama(work / "model", shape, dtype, blocks_per_shard=4)
        size = sum(path.stat().st_size for path in model.glob("*.safetensors"))
        print(
            f"{shape.layers} x {shape.width}: {size / 1e9:.2f} GB made in {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        save_file({"tokens": zipf_tokens(sequences, length, shape.vocabulary)}, work / "tokens.safetensors")
        script, tokens = HERE / "compress_once.py", work / "tokens.safetensors"
        done = subprocess.run(
            [sys.executable, str(script), str(model), str(work / "out"), method, json.dumps(settings), str(tokens)],
            env=os.environ | {"PYTHONPATH": str(HERE.parent), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{method} failed:\n{done.stderr[-4000:]}")
        once = json.loads(done.stdout.strip().splitlines()[-1])
        written = sum(path.stat().st_size for path in (work / "out").glob("*.safetensors"))
    row: dict[str, object] = {
        "method": method, "layers": shape.layers, "width": shape.width, "dtype": str(dtype), "bytes": size,
        "bytes_written": written, "calibration": f"{sequences} x {length}", "peak_bytes": once["peak_rss"],
        "whole_s": once["whole_s"], "cpu_s": once["cpu_s"], "threads": once["threads"],
    }  # fmt: skip
    print(
        f"{method} {shape.layers} layers: peak {once['peak_rss'] / 2**30:.3f} GiB of {size / 2**30:.2f} GiB, "
        f"{once['whole_s']:.0f} s, {once['cpu_s']:.0f} CPU s, calibration {sequences} x {length}",
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
