"""A pruned Llama held sparse and held dense on this CPU: memory, loading, reading and decoding. Random weights.

    python bench/sparse_models.py                                      # 16 blocks of width 2048; 7 GB of memory
    python bench/sparse_models.py --layers 2 --width 256 --intermediate 512 --vocabulary 1000 --repeats 1    # a try

The dense checkpoint is pruned by `llmc compress --method magnitude` to each of `--sparsities` (a share, or a pattern
like 2:4). Each is then measured by `llmc bench` under each of `--kernels`, beside the dense one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from random_llama import Shape, write_llama


def main() -> None:
    """Makes the checkpoints, unless they are there, and benches them."""
    args = _arguments()
    if args.work is not None:
        args.work.mkdir(parents=True, exist_ok=True)
        _bench(args.work, args)
        return
    with tempfile.TemporaryDirectory() as name:
        _bench(Path(name), args)


def _bench(work: Path, args: argparse.Namespace) -> None:
    shape = Shape(
        layers=args.layers, width=args.width, intermediate=args.intermediate, heads=args.heads,
        vocabulary=args.vocabulary,
    )  # fmt: skip
    dense = work / "dense-bf16"
    if not (dense / "config.json").exists():
        write_llama(dense, shape, torch.bfloat16)
    pruned = [_pruned(dense, work, sparsity) for sparsity in args.sparsities]
    for kernels in args.kernels:
        for dtype in args.dtypes:
            print(f"\n--kernels {kernels}, {dtype}", flush=True)
            _llmc("bench", dense, *pruned, "--kernels", kernels, "--batch", args.batch,
                  "--prompt-tokens", args.prompt_tokens, "--new-tokens", args.new_tokens, "--repeats", args.repeats,
                  "--threads", args.threads, "--device", "cpu", "--dtype", dtype)  # fmt: skip


def _pruned(dense: Path, work: Path, sparsity: str) -> Path:
    out = work / f"magnitude-{sparsity.replace(':', '-of-')}"
    if not (out / "llmc_manifest.json").exists():
        how = ("--pattern", sparsity) if ":" in sparsity else ("--sparsity", sparsity)
        _llmc("compress", dense, "--method", "magnitude", *how, "--out", out)
    return out


def _llmc(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "llmc", *map(str, words)], check=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=7168)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--sparsities", nargs="+", default=["0.5", "2:4", "0.9"])
    parser.add_argument("--kernels", nargs="+", default=["exact", "fast"])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16"])
    parser.add_argument("--batch", default="1")
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--new-tokens", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, help="keep the checkpoints here, and use those that are there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
