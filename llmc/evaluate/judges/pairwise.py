"""A chat model compares each answer with the dense model's, in both orders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from llmc.errors import UserError
from llmc.evaluate.backend import Backend, lm_eval_backend
from llmc.evaluate.engine import Engine
from llmc.evaluate.judge import Case, Marks, needed
from llmc.evaluate.task import Ask, Metric
from llmc.models.checkpoint import Checkpoint
from llmc.models.load import load_model, load_tokenizer

PROMPT = (
    "Below are a request and two answers to it. Decide which answer is the better one: right, complete, clear, and "
    "doing what was asked. Longer is not better. Reply with one letter only: A, B, or C when they are equally good.\n\n"
    "Request:\n{prompt}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\nThe better answer is"
)
VERDICT = re.compile(r"^\W*(?:answer\s+)?([ABC])\b", re.IGNORECASE)


@dataclass(frozen=True)
class Pairwise:
    """`win`: 1 for better than the dense answer, 0.5 for as good, 0 for worse, the mean of both orders; `flip`: whether
    the order decided, which is the judge's own error; `read`: whether both verdicts could be read.

    The argument is a chat model's folder, or CLASS:NAME=VALUE,… for any lm-eval model class, an API among them
    (`local-chat-completions:model=…,base_url=…`). Needs `--dense-run`. Greedy.

    Source: Zheng et al. 2023, arXiv:2306.05685, sections 3.3 and 3.4 (position bias, swapping).
    """

    name: ClassVar[str] = "pairwise"
    source: ClassVar[str] = "arXiv:2306.05685"
    metrics: ClassVar[Mapping[str, Metric]] = {
        "win": Metric(chance=0.5),
        "flip": Metric(direction="lower"),
        "read": Metric(),
    }
    argument: str | None = None

    def revision(self) -> str:
        """The judge's name, and its weights where they are on this machine."""
        name = needed(self, "a chat model")
        return f"{name} sha256 {Checkpoint(name).sha256}" if Path(name).is_dir() else name

    def judge(self, cases: Sequence[Case], model: Backend) -> list[Marks]:
        """Marks for cases with a dense answer."""
        return compare(cases, _judge_model(needed(self, "a chat model's folder, or CLASS:NAME=VALUE,…")))


def compare(cases: Sequence[Case], judge: Backend) -> list[Marks]:
    """Both verdicts of each case, brought into one."""
    pairs = [(case, case.answer, case.dense) for case in cases if case.dense is not None]
    asks = []
    for case, answer, dense in pairs:
        for first, second in ((answer, dense), (dense, answer)):
            text = PROMPT.format(prompt=case.prompt, first=first, second=second)
            asks.append(Ask(kind="generate_until", context=_rendered(text, judge), max_new_tokens=4))
    verdicts = [_verdict(answer.text or "") for answer in judge.answers(asks)]
    found: dict[str, Marks] = {}
    for i, (case, _, _) in enumerate(pairs):
        as_first, as_second = verdicts[2 * i], verdicts[2 * i + 1]
        if as_first is None or as_second is None:
            found[case.id] = {"win": None, "flip": None, "read": 0.0}
            continue
        swapped = 1 - as_second
        found[case.id] = {"win": (as_first + swapped) / 2, "flip": float(as_first != swapped), "read": 1.0}
    return [found.get(case.id, {"win": None, "flip": None, "read": None}) for case in cases]


def _verdict(text: str) -> float | None:
    """How much better A is: 1, 0.5 or 0; None where no letter can be read."""
    found = VERDICT.match(text.strip())
    return None if found is None else {"A": 1.0, "B": 0.0, "C": 0.5}[found.group(1).upper()]


def _rendered(text: str, judge: Backend) -> str:
    tokenizer = judge.tokenizer if isinstance(judge, Engine) else None
    if tokenizer is None or not getattr(tokenizer, "chat_template", None):
        return text
    messages = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def _judge_model(argument: str) -> Backend:
    if Path(argument).is_dir():
        return Engine(load_model(argument), load_tokenizer(argument))
    name, colon, rest = argument.partition(":")
    if not colon:
        raise UserError(f"judge model {argument} is neither a folder nor CLASS:NAME=VALUE,…")
    return lm_eval_backend(name, dict(part.split("=", 1) for part in rest.split(",") if "=" in part))


JUDGE = Pairwise
