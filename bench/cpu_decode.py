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
from pathlib import Path

from llama_bench import compressed, llmc, parser, shape_of, timing, workplace


def main() -> None:
    """Makes both checkpoints, unless they are there, and benches them."""
    options = parser(__doc__, prompt_tokens=64, new_tokens=32, repeats=5)
    options.add_argument("--bits", type=int, default=4)
    options.add_argument("--group-size", type=int, default=128)
    options.add_argument("--format", default="compressed-tensors")
    args = options.parse_args()
    with workplace(args) as (work, dense):
        how = ("--method", "rtn", "--bits", args.bits, "--group-size", args.group_size, "--format", args.format)
        packed = compressed(dense, work / f"rtn-{args.bits}-bits", *how)
        out = work / "cpu_decode.json"
        llmc("bench", dense, packed, "--dtype", "bfloat16", "--out", out, *timing(args))
        _say(out, args)


def _say(out: Path, args: argparse.Namespace) -> None:
    result = json.loads(out.read_text())
    found = result["models"][1]["summary"]["decode_tokens_per_s"]
    spread = f"{found['ratio_least']:.2f} to {found['ratio_most']:.2f} over {args.repeats} turns"
    billions, batch = shape_of(args).parameters() / 1e9, args.batch.split(",")[0]
    print(f"\n{billions:.2f} billion weights, {args.bits} bits, batch {batch}:", end=" ")
    print(f"{found['ratio']:.2f} x the new tokens a second of bfloat16 ({spread})", end=", ")
    print(f"torch {result['packages']['torch']}, {result['machine']}")


if __name__ == "__main__":
    main()
