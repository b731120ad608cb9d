"""A chat model compares each answer with the dense model's, in both orders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lm_eval.utils import simple_parse_args_string

from llmc.errors import UserError
from llmc.evaluate.backends.backend import Backend, lm_eval_backend, scores_tokens
from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.judge import Case, Marks, needed
from llmc.evaluate.prompting.chat import Chat
from llmc.evaluate.task import SHARE, Ask, Metric
from llmc.models.checkpoint import Checkpoint
from llmc.models.config import decoder_config
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
    the order decided, which is the judge's own error; `read`: whether both verdicts could be read. A conversation's
    turns are judged one by one, each with all that came before it, and its marks are their means.

    The argument is a chat model's folder, or CLASS:NAME=VALUE,… for any lm-eval model class, an API among them
    (`local-chat-completions:model=…,base_url=…`). Needs `--dense-run`. Greedy.

    Source: Zheng et al. 2023, arXiv:2306.05685, sections 3.3 and 3.4 (position bias, swapping).
    """

    name: ClassVar[str] = "pairwise"
    source: ClassVar[str] = "arXiv:2306.05685"
    metrics: ClassVar[Mapping[str, Metric]] = {
        "win": Metric(chance=0.5, range=SHARE),
        "flip": Metric(direction="lower", range=SHARE),
        "read": Metric(range=SHARE),
    }
    argument: str | None = None

    def revision(self) -> str:
        """The judge's name, and its weights where they are on this machine."""
        name = needed(self, "a chat model")
        return f"{name} sha256 {Checkpoint(name).sha256}" if Path(name).is_dir() else name

    def check(self, backend: str, tokenizer: Any) -> None:
        """It needs a chat model that is there, or a class that lm-eval knows."""
        argument = needed(self, "a chat model's folder, or CLASS:NAME=VALUE,…")
        if Path(argument).is_dir():
            decoder_config(argument, dense=False)
            load_tokenizer(argument)
        else:
            scores_tokens(_class_and_arguments(argument)[0])

    def judge(self, cases: Sequence[Case], model: Backend) -> list[Marks]:
        """Marks for cases with a dense answer."""
        return compare(cases, _judge_model(needed(self, "a chat model's folder, or CLASS:NAME=VALUE,…")))


def compare(cases: Sequence[Case], judge: Backend) -> list[Marks]:
    """Both verdicts of each turn of each case, brought into one."""
    duels = [(index, duel) for index, case in enumerate(cases) for duel in _duels(case)]
    asks = []
    for _, (request, answer, dense) in duels:
        for first, second in ((answer, dense), (dense, answer)):
            text = PROMPT.format(prompt=request, first=first, second=second)
            asks.append(Ask(kind="generate_until", context=_rendered(text, judge), max_new_tokens=4))
    verdicts = [_verdict(answer.text or "") for answer in judge.answers(asks)]
    turns: list[list[Marks]] = [[] for _ in cases]
    for number, (index, _) in enumerate(duels):
        turns[index].append(_marks(verdicts[2 * number], verdicts[2 * number + 1]))
    return [{name: _mean([each[name] for each in marks]) for name in ("win", "flip", "read")} for marks in turns]


def _duels(case: Case) -> list[tuple[str, str, str]]:
    """(request, this answer, the dense model's) of every turn that both answered."""
    if case.dense is None:
        return []
    found = [(case.prompt, case.answer, case.dense)]
    ours, theirs = case.answer, case.dense
    for turn in case.later:
        if turn.dense is None:
            break
        ours = f"{ours}\n\n[then asked: {turn.request}]\n\n{turn.answer}"
        theirs = f"{theirs}\n\n[then asked: {turn.request}]\n\n{turn.dense}"
        found.append((f"{case.prompt}\n\nand then, which is what to judge: {turn.request}", ours, theirs))
    return found


def _marks(as_first: float | None, as_second: float | None) -> Marks:
    if as_first is None or as_second is None:
        return {"win": None, "flip": None, "read": 0.0}
    swapped = 1 - as_second
    return {"win": (as_first + swapped) / 2, "flip": float(as_first != swapped), "read": 1.0}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _verdict(text: str) -> float | None:
    """How much better A is: 1, 0.5 or 0; None where no letter can be read."""
    found = VERDICT.match(text.strip())
    return None if found is None else {"A": 1.0, "B": 0.0, "C": 0.5}[found.group(1).upper()]


def _rendered(text: str, judge: Backend) -> str:
    tokenizer = judge.tokenizer if isinstance(judge, Engine) else None
    chat = None if tokenizer is None else Chat.of(tokenizer)
    return text if chat is None else chat([{"role": "user", "content": text}])


def _judge_model(argument: str) -> Backend:
    if Path(argument).is_dir():
        return Engine(load_model(argument), load_tokenizer(argument))
    return lm_eval_backend(*_class_and_arguments(argument))


def _class_and_arguments(argument: str) -> tuple[str, dict[str, Any]]:
    """The name of an lm-eval model class and what it is made with."""
    name, colon, rest = argument.partition(":")
    if not colon:
        raise UserError(f"judge model {argument} is neither a folder nor CLASS:NAME=VALUE,…")
    return name, simple_parse_args_string(rest)


JUDGE = Pairwise
