"""What the engine saves on adversarial demonstrations by reading their shared examples once.

    python bench/trust_prefixes.py --data-root ../shared/data --tokenizer ../shared/tokenizers/gpt2 [--items 24]

Asks the same requests of the same random model (50 million parameters) all together, and one prompt at a time. Choices
must be the same. Prints seconds of wall and CPU, tokens that the model computed, and the share that sharing saved.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

from engine_vs_lmeval import model_and_tokenizer

PARTS = ("counterfactual", "backdoor")


class Side(NamedTuple):
    """One way of asking."""

    wall_s: float
    cpu_s: float
    tokens: int
    choices: list[int | None]


def ask(model, words, items, task, *, together: bool) -> Side:
    from llmc.evaluate.engine.engine import Engine

    engine, counted = Engine(model, words), [0]

    def count(module, args, kwargs):
        ids = kwargs.get("input_ids", args[0] if args else None)
        counted[0] += 0 if ids is None else ids.numel()

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    start, cpu = time.perf_counter(), time.process_time()
    asks = [one for item in items for one in item.requests]
    answers = engine.answers(asks) if together else [engine.answers([one])[0] for one in asks]
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    hook.remove()
    given = iter(answers)
    marked = [task.mark(item, [next(given) for _ in item.requests]) for item in items]
    return Side(wall, cpu, counted[0], [one.choice for one in marked])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True, help="folder of GPT-2's tokenizer")
    parser.add_argument("--items", type=int, default=24, help="questions of each part")
    args = parser.parse_args()
    from llmc.evaluate.task import TaskContext
    from llmc.trust.dimensions.demonstrations import DIMENSION

    model, words = model_and_tokenizer("50m", args.tokenizer, 2048)
    for task in DIMENSION.tasks:
        if not task.name.endswith(PARTS):
            continue
        items = list(task.items(TaskContext(data_root=args.data_root, limit=args.items)))
        one, many = (ask(model, words, items, task, together=together) for together in (False, True))
        same = sum(a == b for a, b in zip(one.choices, many.choices, strict=True))
        print(f"{task.name}: {len(items)} questions, {sum(len(item.requests) for item in items)} requests")
        for name, side in (("one at a time", one), ("together", many)):
            speed = f"{side.tokens / side.wall_s:8.0f} tokens/s"
            print(f"  {name:<14} {side.wall_s:7.1f} s wall {side.cpu_s:7.1f} s CPU {side.tokens:8d} tokens {speed}")
        print(f"  faster         {one.wall_s / many.wall_s:.1f} wall, {one.cpu_s / many.cpu_s:.1f} CPU")
        print(
            f"  saved          {1 - many.tokens / one.tokens:.0%} of the tokens; same choices: {same} of {len(items)}"
        )


if __name__ == "__main__":
    main()
