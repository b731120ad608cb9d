"""Perplexity of a real trained model, dense and after every method at every level, in one table.

    python bench/quality.py --model ../shared/models/stories260K --data ../shared/data/tinystories

Calibration and test are different stories: those with even numbers calibrate, those with odd numbers are read. A
level's distance from dense is paired by window, so its uncertainty is that of the difference. The model's widths are
64 and 172; 4 is the largest group that divides both, at 4 + 8 bits of code and scale a weight, so the groups here are
whole rows (group_size -1).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmc.compress.plan import Job
from llmc.compress.recipe import build, methods
from llmc.compress.run import compress
from llmc.data.calibration import Calibration
from llmc.models.load import load_model, load_tokenizer

WINDOW = 512
SPARSITIES: list[dict[str, object]] = [{"sparsity": s} for s in (0.3, 0.5, 0.6, 0.7)] + [{"pattern": "2:4"}]
BITS: list[dict[str, object]] = [{"bits": b, "group_size": -1} for b in (8, 4, 3, 2)]
LEVELS: dict[str, list[dict[str, object]]] = {
    "magnitude": SPARSITIES,
    "wanda": SPARSITIES,
    "sparsegpt": SPARSITIES,
    "rtn": BITS,
    "gptq": BITS,
    "awq": BITS,
    "svd": [{"rank_ratio": r} for r in (0.9, 0.7, 0.5)],
}


def main() -> None:
    """Measures everything, checks what must hold, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=list(LEVELS))
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1, help="draws of the calibration windows")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    even, odd = windows(args.model, args.data)
    dense = window_losses(load_model(args.model, dtype=torch.float32), odd)
    rows = [{"method": "dense", "level": "", "seed": 0, **_compared(dense, dense), "error": 0.0}]
    for name in (n for n in args.methods if n in methods()):
        for level in LEVELS[name]:
            for seed in range(args.seeds):
                rows.append(_measured(args, name, level, seed, even, odd, dense))
                print(rows[-1], flush=True)
    held = checks(rows)
    print(table(rows))
    print("\n".join(held))
    if args.out:
        facts = {"calibration_windows": min(args.samples, len(even)), "test_windows": len(odd), "window": WINDOW}
        args.out.write_text(json.dumps({**facts, "rows": rows, "checks": held}, indent=2, allow_nan=False) + "\n")


def windows(model: Path, data: Path) -> tuple[Tensor, Tensor]:
    """Token windows (n, 512) of the even stories and of the odd ones."""
    tokenizer = load_tokenizer(model)
    stories = (data / "stories_split.txt").read_text(encoding="utf-8").split("<|endoftext|>")
    stories = [story.strip() for story in stories if story.strip()]
    found = []
    for part in (stories[0::2], stories[1::2]):
        stream: list[int] = []
        for story in part:
            stream += [tokenizer.bos_token_id, *tokenizer(story, add_special_tokens=False)["input_ids"]]
        found.append(torch.tensor(stream[: len(stream) // WINDOW * WINDOW]).view(-1, WINDOW))
    return found[0], found[1]


@torch.no_grad()
def window_losses(model: Any, tokens: Tensor) -> Tensor:
    """Mean nats a token of each window."""
    losses = []
    for part in tokens.split(8):
        logits = model(input_ids=part).logits[:, :-1].float()
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none")
        losses.append(each.double().mean(1))
    return torch.cat(losses)


def _measured(
    args: argparse.Namespace, name: str, level: dict[str, object], seed: int, even: Tensor, odd: Tensor, dense: Tensor
) -> dict[str, Any]:
    order = torch.randperm(len(even), generator=torch.Generator().manual_seed(seed))[: args.samples]
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "out"
        start = time.perf_counter()
        stage = build(name, level)
        calibration = Calibration(even[order].contiguous(), "even stories", None)
        job = Job(model=args.model, out=out, stages=(stage,), calibration=calibration, seed=seed)
        account = compress(job, lambda *_: None)
        seconds = time.perf_counter() - start
        losses = window_losses(load_model(out, dtype=torch.float32), odd)
    return {
        "method": name,
        "level": _named(level),
        "seed": seed,
        **_compared(losses, dense),
        "error": account.totals.mean_relative_output_error,
        "seconds": round(seconds, 2),
    }


def _compared(losses: Tensor, dense: Tensor) -> dict[str, float]:
    """Perplexity, and the distance in nats a token from dense with the standard error of that difference."""
    apart = losses - dense
    spread = float(apart.std() / math.sqrt(len(apart)))
    return {"perplexity": math.exp(float(losses.mean())), "nats": float(apart.mean()), "nats_stderr": spread}


def _named(level: dict[str, object]) -> str:
    if "sparsity" in level:
        return f"{level['sparsity']:.0%}"
    if "bits" in level:
        return f"{level['bits']} bits"
    return str(level["pattern"]) if "pattern" in level else f"keeps {level['rank_ratio']:.0%}"


def checks(rows: list[dict[str, Any]]) -> list[str]:
    """What must hold, and whether it does."""
    mean: dict[tuple[str, str], float] = {}
    for method, level in {(row["method"], row["level"]) for row in rows}:
        found = [row["perplexity"] for row in rows if (row["method"], row["level"]) == (method, level)]
        mean[method, level] = statistics.fmean(found)
    said = []
    pairs = (("gptq", "rtn", "4 bits"), ("gptq", "rtn", "3 bits"), ("wanda", "magnitude", "50%"))
    for better, worse, level in (*pairs, ("sparsegpt", "wanda", "60%")):
        if (better, level) in mean and (worse, level) in mean:
            left, right = mean[better, level], mean[worse, level]
            said.append(
                f"{'holds' if left <= right else 'FAILS'}: {better} {left:.3f} <= {worse} {right:.3f} at {level}"
            )
    for method in ("rtn", "gptq", "awq"):
        if (method, "8 bits") in mean:
            share = mean[method, "8 bits"] / mean["dense", ""] - 1
            said.append(f"{'holds' if abs(share) <= 0.005 else 'FAILS'}: {method} 8 bits is {share:+.3%} from dense")
    return said


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a table of Markdown."""
    lines = [
        "| method | level | perplexity | nats a token above dense | mean relative output error | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        error = "" if row.get("error") is None else f"{row['error']:.3g}"
        apart = f"{row['nats']:+.4f} ± {row['nats_stderr']:.4f}" if row["method"] != "dense" else ""
        lines.append(
            f"| {row['method']} | {row['level']} | {row['perplexity']:.3f} | {apart} | {error} "
            f"| {row.get('seconds', '')} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
