"""The trust suite at `quick` on the real files: tokens computed a second, and the share that sharing prefixes saved.

    python bench/trust_suite.py --data-root ../shared/data --tokenizer ../shared/tokenizers/gpt2 [--items 4]

A random model of 50 million parameters answers the first items of every task together, as `llmc eval` does. Tokens
computed are counted at the model's door; against them stands what the same requests hold, each with its whole prompt
and its answer. Nothing is marked. Tasks whose files are missing are named and left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from engine_vs_lmeval import model_and_tokenizer


def held(words, asks, answers) -> int:
    """Tokens of all requests as they stand: prompt, and continuation or answer."""
    texts = [ask.context + (ask.continuation or answer.text or "") for ask, answer in zip(asks, answers, strict=True)]
    return sum(map(len, words(texts, add_special_tokens=False)["input_ids"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True, help="folder of GPT-2's tokenizer")
    parser.add_argument("--items", type=int, default=4, help="first items of each task")
    args = parser.parse_args()
    from llmc.catalog import catalog
    from llmc.errors import UserError
    from llmc.evaluate.engine.engine import Engine
    from llmc.evaluate.task import TaskContext

    model, words = model_and_tokenizer("50m", args.tokenizer, 2048)
    engine, computed = Engine(model, words), [0]

    def count(module, given, named):
        ids = named.get("input_ids", given[0] if given else None)
        computed[0] += 0 if ids is None else ids.numel()

    model.register_forward_pre_hook(count, with_kwargs=True)
    total = {"seconds": 0.0, "computed": 0, "held": 0, "requests": 0}
    print("| task | requests | tokens they hold | computed | saved | tokens computed/s |\n|---|---|---|---|---|---|")
    for dimension in catalog("llmc.trust.dimensions", "DIMENSION").values():
        for task in dimension.tasks:
            ctx = TaskContext(data_root=args.data_root, scale="quick", limit=args.items, encode=engine.tok_encode)
            try:
                asks = [ask for item in task.items(ctx) for ask in item.requests]
            except UserError as error:
                print(f"| {task.name} | left out: {error.problem} | | | | |", flush=True)
                continue
            computed[0], start = 0, time.perf_counter()
            answers = engine.answers(asks)
            row = {"seconds": time.perf_counter() - start, "computed": computed[0], "requests": len(asks)}
            row["held"] = held(words, asks, answers)
            total = {name: total[name] + row[name] for name in total}
            show(task.name, row)
    show("**all**", total)


def show(name: str, row: dict[str, float]) -> None:
    """Prints a row of the table."""
    saved = 1 - row["computed"] / row["held"]
    speed = row["computed"] / row["seconds"]
    print(
        f"| {name} | {row['requests']} | {row['held']:,} | {row['computed']:,} | {saved:.0%} | {speed:,.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
