"""Decoding with 4-bit weights against bfloat16 on this CPU: a Llama of a billion weights, random, nothing downloaded.

    python bench/cpu_decode.py                                    # about 2.1 GB on disk and 6 GB of memory
    python bench/cpu_decode.py --layers 2 --width 512 --intermediate 1024 --vocabulary 2000    # a try

The 4-bit file is made from the dense one by rounding to nearest in groups of 128 (what the codes are makes no
difference to the time), in `--format`. Both are then measured by `llmc bench`, in turns, each in a process of its own,
in bfloat16. The head and the embedding stay dense in both, as compressed checkpoints have them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from random_llama import Shape, write_llama


def main() -> None:
    """Makes both checkpoints, unless they are there, and benches them."""
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
    dense, packed = work / "dense-bf16", work / f"rtn-{args.bits}-bits"
    if not (dense / "config.json").exists():
        write_llama(dense, shape, torch.bfloat16)
    if not (packed / "llmc_manifest.json").exists():
        _llmc("compress", dense, "--method", "rtn", "--bits", args.bits, "--group-size", args.group_size,
              "--format", args.format, "--out", packed)  # fmt: skip
    out = work / "cpu_decode.json"
    _llmc("bench", dense, packed, "--batch", args.batch, "--prompt-tokens", args.prompt_tokens,
          "--new-tokens", args.new_tokens, "--repeats", args.repeats, "--threads", args.threads,
          "--device", "cpu", "--dtype", "bfloat16", "--out", out)  # fmt: skip
    result = json.loads(out.read_text())
    found = result["models"][1]["summary"]["decode_tokens_per_s"]
    spread = f"{found['ratio_least']:.2f} to {found['ratio_most']:.2f} over {args.repeats} turns"
    print(
        f"\n{shape.parameters() / 1e9:.2f} billion weights, {args.bits} bits, batch {args.batch.split(',')[0]}:",
        end=" ",
    )
    print(f"{found['ratio']:.2f} x the new tokens a second of bfloat16 ({spread})", end=", ")
    print(f"torch {result['packages']['torch']}, {result['machine']}")


def _llmc(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "llmc", *map(str, words)], check=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # TinyLlama's and Llama 3.2 1B's class: 16 blocks of 60.8 million weights, and 2 x 65.5 million around them.
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=7168)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--format", default="compressed-tensors")
    parser.add_argument("--batch", default="1")
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, help="keep the checkpoints here, and use those that are there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
