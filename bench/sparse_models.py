"""A pruned Llama held sparse and held dense on this CPU: memory, loading, reading and decoding. Random weights.

    python bench/sparse_models.py                                      # 16 blocks of width 2048; 7 GB of memory
    python bench/sparse_models.py --layers 2 --width 256 --intermediate 512 --vocabulary 1000 --repeats 1    # a try

The dense checkpoint is pruned by `llmc compress --method magnitude` to each of `--sparsities` (a share, or a pattern
like 2:4). Each is then measured by `llmc bench` under each of `--kernels`, beside the dense one.
"""

from __future__ import annotations

from pathlib import Path

from llama_bench import compressed, llmc, parser, timing, workplace


def main() -> None:
    """Makes the checkpoints, unless they are there, and benches them."""
    options = parser(__doc__, prompt_tokens=256, new_tokens=8, repeats=3)
    options.add_argument("--sparsities", nargs="+", default=["0.5", "2:4", "0.9"])
    options.add_argument("--kernels", nargs="+", default=["exact", "fast"])
    options.add_argument("--dtypes", nargs="+", default=["bfloat16"])
    args = options.parse_args()
    with workplace(args) as (work, dense):
        pruned = [_pruned(dense, work, sparsity) for sparsity in args.sparsities]
        for kernels in args.kernels:
            for dtype in args.dtypes:
                print(f"\n--kernels {kernels}, {dtype}", flush=True)
                llmc("bench", dense, *pruned, "--kernels", kernels, "--dtype", dtype, *timing(args))


def _pruned(dense: Path, work: Path, sparsity: str) -> Path:
    how = ("--pattern", sparsity) if ":" in sparsity else ("--sparsity", sparsity)
    return compressed(dense, work / f"magnitude-{sparsity.replace(':', '-of-')}", "--method", "magnitude", *how)


if __name__ == "__main__":
    main()
