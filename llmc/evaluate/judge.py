"""What a judge is: it looks at written answers beside a reference or the dense model's answer, and gives marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from llmc.errors import UserError
from llmc.evaluate.backends.backend import Backend
from llmc.evaluate.stats.estimate import clustered_mean
from llmc.evaluate.task import Metric

Marks = Mapping[str, float | None]


class Turn(NamedTuple):
    """A further request in a conversation, and what was answered to it."""

    request: str
    answer: str
    dense: str | None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One written answer and what it can be held against."""

    id: str
    prompt: str
    answer: str
    reference: str | None = None
    """What its authors accept, as text."""
    dense: str | None = None
    """The dense model's answer to the same prompt."""
    cluster: str | None = None
    later: Sequence[Turn] = ()
    """Further turns of a conversation; `prompt`, `answer` and `dense` are the first one's."""


@runtime_checkable
class Judge(Protocol):
    """A judge: made from one optional argument (a model's folder, say), without loading anything."""

    name: ClassVar[str]
    source: ClassVar[str]
    metrics: ClassVar[Mapping[str, Metric]]
    """Every mark it gives; None as a mark means that this case couldn't be judged."""

    @property
    def argument(self) -> str | None: ...

    def revision(self) -> str:
        """What was used, to the hash: two results with different revisions can't be compared."""
        ...

    def check(self, backend: str, tokenizer: Any) -> None:
        """Raises `UserError` for what would stop it once the answers are there; loads no weights.

        `backend` and `tokenizer` are those of the model under judgement.
        """
        ...

    def judge(self, cases: Sequence[Case], model: Backend) -> list[Marks]:
        """Marks for each case; `model` is the model under judgement, for judges that ask it something."""
        ...


def cases_of(samples: Sequence[Mapping[str, Any]], dense: Mapping[str, Mapping[str, Any]]) -> list[Case]:
    """A case for every sample line with a written answer; `dense` holds the dense run's lines by id.

    A dense line counts only where it answered the same prompt. Of several answers to one prompt the first is judged;
    the answers of a conversation are its turns.
    """
    found = []
    for line in samples:
        texts = _answers(line["answer"])
        if not texts or line["request"]["kind"] != "generate_until":
            continue
        other = dense.get(line["id"])
        same = other is not None and other.get("prompt_sha256") == line["prompt_sha256"]
        gold = line["gold"]
        others = _answers(other.get("answer")) if same and other is not None else []
        found.append(
            Case(
                id=line["id"],
                prompt=line["prompt"],
                answer=texts[0],
                reference=gold[0] if isinstance(gold, list) and gold else gold or None,
                dense=others[0] if others else None,
                cluster=line["cluster"],
                later=_later(line.get("turns") or (), _answers(line["answer"]), others),
            )
        )
    return found


def _answers(answer: Any) -> list[str]:
    return [text for text in (answer if isinstance(answer, list) else [answer]) if isinstance(text, str)]


def _later(turns: Sequence[str], answers: Sequence[str], dense: Sequence[str]) -> tuple[Turn, ...]:
    """The turns after the first; a conversation that broke off has fewer."""
    return tuple(
        Turn(request, answer, dense[i] if i < len(dense) else None)
        for i, (request, answer) in enumerate(zip(turns, answers, strict=False))
        if i > 0
    )


def judged(
    judge: Judge, task: Mapping[str, Any], samples: Sequence[dict[str, Any]], dense: Mapping[str, Any], model: Backend
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The task's results and sample lines with the judge's marks added; tasks without written answers as they are."""
    cases = cases_of(samples, dense)
    if not cases:
        return dict(task), list(samples)
    marks = dict(zip((case.id for case in cases), judge.judge(cases, model), strict=True))
    metrics = dict(task["metrics"])
    for name, how in judge.metrics.items():
        known = [(each, case.cluster or case.id) for case in cases if (each := marks[case.id].get(name)) is not None]
        estimate = clustered_mean([value for value, _ in known], [cluster for _, cluster in known])
        metrics[f"{judge.name}.{name}"] = how.facts(estimate)
    lines = []
    for line in samples:
        new = {f"{judge.name}.{name}": value for name, value in marks.get(line["id"], {}).items()}
        lines.append({**line, "marks": {**line["marks"], **new}})
        if judge.name == "kl" and line["id"] in marks:
            lines[-1]["kl"] = marks[line["id"]].get("nats_per_token")
    judges = {**task.get("judges", {}), judge.name: {"revision": judge.revision(), "n": len(cases)}}
    return {**task, "metrics": metrics, "judges": judges}, lines


def needed(judge: Judge, what: str) -> str:
    """The judge's argument; a `UserError` that says what it must be when there is none."""
    if judge.argument is None:
        raise UserError(f"judge {judge.name} needs {what}", hint=f"give --judge {judge.name}=…")
    return judge.argument
