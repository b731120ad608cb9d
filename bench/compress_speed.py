"""llmc against llm-compressor's oneshot, in turn, on one random Llama: time, memory and output error of both.

    sh bench/peer_env.sh                       # once: the other compressor's environment, bench/.peer
    python bench/compress_speed.py             # PEER_PYTHON=... for another place of that environment

Each run is a process of its own, all with the same threads, dtype, model, tokens and settings. A time is that of the
compression with reading the model and writing the result ("whole"), and without both ("core"); the imports of either
side are outside. Processor seconds of all threads stand beside them, which other work on the machine moves less.
The error is measured by one code for both, on the dense model's own activations.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from output_error import dense_grams, relative_errors
from random_llama import Shape, write_llama, zipf_tokens
from safetensors.torch import save_file

HERE = Path(__file__).parent
SETTINGS: dict[str, dict[str, object]] = {
    "gptq": {"bits": 4, "group_size": 128},
    "wanda": {"sparsity": 0.5},
    "sparsegpt": {"sparsity": 0.5},
}
"""Ours; what stands in neither list is each side's default."""


def main() -> None:
    """Runs the comparison and prints a table, or with --json everything."""
    args = _arguments()
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        work = Path(name)
        shape = Shape(layers=args.layers, width=768, intermediate=2048, heads=12)
        model = write_llama(work / "model", shape, getattr(torch, args.dtype), blocks_per_shard=6)
        tokens = zipf_tokens(args.sequences, args.length, shape.vocabulary)
        save_file({"tokens": tokens}, work / "tokens.safetensors")
        grams = dense_grams(model, tokens) if not args.skip_error else {}
        results: dict[str, Any] = {}
        for method in args.methods:
            runs: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
            errors: dict[str, float] = {}
            for _ in range(args.rounds):
                for side in args.sides:
                    out = work / f"{side}-{method}"
                    shutil.rmtree(out, ignore_errors=True)
                    runs[side].append(_run(side, method, model, out, work / "tokens.safetensors", args))
                    print(f"{method} {side}: {runs[side][-1]}", file=sys.stderr, flush=True)
                    if grams and side not in errors:
                        found = relative_errors(model, out, grams)
                        errors[side] = statistics.fmean(found.values())
                    shutil.rmtree(out)
            results[method] = {"runs": runs, "error": errors}
            report = {"machine": _machine(args), "settings": SETTINGS, "results": results}
            if args.out:
                args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2) if args.json else _table(report))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in turn")
    parser.add_argument("--sides", nargs="+", default=["ours", "peer"], choices=["ours", "peer"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peer-python", default=os.environ.get("PEER_PYTHON", str(HERE / ".peer/bin/python")))
    parser.add_argument("--work", type=Path, help="where temporary checkpoints go")
    parser.add_argument("--skip-error", action="store_true")
    parser.add_argument("--out", type=Path, help="also write everything to this JSON file")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _run(side: str, method: str, model: Path, out: Path, tokens: Path, args: argparse.Namespace) -> dict[str, float]:
    """One compression in a process; its own account of it and the process' whole time."""
    if side == "ours":
        command = [sys.executable, HERE / "compress_once.py", model, out, method, json.dumps(SETTINGS[method]), tokens]
    else:
        command = [args.peer_python, HERE / "peer_once.py", model, out, method, tokens]
    threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = os.environ | threads | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, cwd=model)
    if done.returncode:
        raise SystemExit(f"{side} {method} failed:\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    if int(found["threads"]) != args.threads:
        raise SystemExit(f"{side} ran with {found['threads']} threads instead of {args.threads}")
    return found


def _machine(args: argparse.Namespace) -> dict[str, object]:
    names = ("torch", "transformers", "compressed-tensors", "safetensors")
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": args.threads,
        "dtype": args.dtype,
        "calibration": f"{args.sequences} x {args.length}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in names},
    }


def _table(report: dict[str, Any]) -> str:
    lines = [
        "| method | ours whole s | peer whole s | ratio | ours core s | peer core s | ratio "
        "| ours CPU s | peer CPU s | ratio | ours GB | peer GB "
        "| ours error | peer error | ratio |",
        "|---" * 15 + "|",
    ]
    for method, found in report["results"].items():
        runs, cells = found["runs"], [method]
        for key in ("whole_s", "core_s", "cpu_s"):
            sides = [[run[key] for run in runs[side]] for side in ("ours", "peer")]
            cells += [_spread(times) for times in sides]
            both = all(sides)
            cells.append(f"{statistics.median(sides[1]) / statistics.median(sides[0]):.2f}" if both else "")
        for side in ("ours", "peer"):
            peaks = [run["peak_rss"] for run in runs[side]]
            cells.append(f"{max(peaks) / 1e9:.2f}" if peaks else "")
        ours, peer = (found["error"].get(side) for side in ("ours", "peer"))
        cells += ["" if value is None else f"{value:.5g}" for value in (ours, peer)]
        cells.append(f"{ours / peer:.4f}" if ours and peer else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(times: list[float]) -> str:
    """The median with the least and the greatest."""
    return f"{statistics.median(times):.2f} ({min(times):.2f}–{max(times):.2f})" if times else ""


if __name__ == "__main__":
    main()
