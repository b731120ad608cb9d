"""Items of the two forms that all dimensions use: a closed label by two channels, and free text in several samples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from llmc.evaluate.task import Answer, Ask, Item, TaskContext
from llmc.trust.prompts import compat
from llmc.trust.prompts.fixed import option
from llmc.trust.prompts.messages import Messages
from llmc.trust.prompts.rendering import Rendering
from llmc.trust.scorers.versions import Version, version

T = TypeVar("T")
MINI_NEW_TOKENS = 12
MINI_UNTIL = ("\n",)
CONTROL = "control"
"""The stratum of harmless questions, asked in `fixed` alone, that a model must be able to answer to be judged."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to ask, before it becomes requests."""

    id: str
    messages: Messages
    stratum: str
    question: str
    gold: str | None = None
    options: tuple[str, ...] = ()
    """The labels whose likelihoods are asked for, written as demonstrations show them; none: generation alone."""
    end: str = ""
    """What ends a free text, so that its likelihood is that of the whole answer; labels of a closed set have none."""
    cluster: str | None = None
    cue: bool = True
    raw: str | None = None
    """The prompt itself, for settings without any template."""
    meta: Mapping[str, Any] = field(default_factory=dict)


class Chosen(NamedTuple):
    """What the likelihoods of the options say. None: no likelihoods, one that is no number, or a tie at the top."""

    choice: int | None
    """The option with the greatest joint probability: by that labels compete, whatever their lengths."""
    probabilities: tuple[float, ...] | None
    """Softmax of the log-likelihoods."""
    loglikelihoods: tuple[float | None, ...] | None
    """Joint: the sum over an option's tokens."""


def rendering(ctx: TaskContext) -> Rendering:
    """How this run turns messages into prompts."""
    return Rendering(ctx.mode, ctx.chat)


def rules(ctx: TaskContext) -> Version:
    """The marking rules of this run: those asked for, else `fixed`, and in `compat` those of the published numbers."""
    named = [part for part in (ctx.scorer or "").split(",") if part and "=" not in part]
    return version(named[-1] if named else None, default="vC" if ctx.mode == "compat" else "fixed")


def toxicity_name(ctx: TaskContext) -> str | None:
    """The toxicity scorer of `--scorer toxicity=NAME[:SETTING]`, which may stand beside a version; None: not named."""
    named = [part for part in (ctx.scorer or "").split(",") if part.startswith("toxicity=")]
    return named[-1].removeprefix("toxicity=") if named else None


def n_samples(ctx: TaskContext) -> int:
    """Generations a prompt: 25 as published in `full`, 5 in `quick`, 2 in `mini`."""
    return {"full": 25, "quick": 5, "mini": 2}[ctx.scale]


def spread(strata: Mapping[str, Sequence[tuple[str, T]]], most: int | None) -> Iterator[tuple[str, str, T]]:
    """(stratum, id, row) over all strata in turn, at most `most` rows of each, in the order of their ids' hashes.

    So any first part is spread over all strata, and a larger `most` extends a smaller one. Controls are never cut.
    """
    queues = []
    for stratum, rows in strata.items():
        order = sorted(rows, key=lambda row: hashlib.sha256(row[0].encode()).digest())
        queues.append((stratum, order if most is None or stratum == CONTROL else order[:most]))
    for turn in range(max((len(rows) for _, rows in queues), default=0)):
        for stratum, rows in queues:
            if turn < len(rows):
                yield stratum, *rows[turn]


def items(
    ctx: TaskContext,
    questions: Iterable[Question],
    *,
    max_new_tokens: int,
    samples: int | None = None,
    until: tuple[str, ...] = (),
) -> Iterator[Item]:
    """The questions as items. `samples`: so many at temperature 1; None: one greedy answer."""
    how, scorer = rendering(ctx), rules(ctx)
    if ctx.scale == "mini":
        max_new_tokens, until = MINI_NEW_TOKENS, MINI_UNTIL
    temperature = 0.0 if samples is None else 1.0
    for one in questions:
        prompt = one.raw if one.raw is not None else how.prompt(one.messages, cue=one.cue)
        texts = [
            Ask(
                kind="generate_until",
                context=prompt,
                until=until,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                sample=sample,
                seed=ctx.seed,
            )
            for sample in range(samples or 1)
        ]
        glue = how.glue if one.raw is None else None
        scores = [
            Ask(kind="loglikelihood", context=prompt, continuation=option(prompt, text, glue) + one.end)
            for text in one.options
        ]
        yield Item(
            id=one.id,
            requests=(*texts, *scores),
            cluster=one.cluster or one.id,
            stratum=one.stratum,
            question=one.question,
            gold=one.gold,
            meta={
                **one.meta,
                "scorer": scorer,
                "mode": ctx.mode,
                "template": how.template if ctx.mode == "compat" and one.raw is None else None,
                "n_texts": len(texts),
                "options": list(one.options),
                "free_text": bool(one.end),
            },
        )


def texts(item: Item, answers: Sequence[Answer]) -> list[str]:
    """The generated answers as the scorers get them; what the model did not give is empty."""
    template = item.meta["template"]
    raw = [answer.text or "" for answer in answers[: item.meta["n_texts"]]]
    return raw if template is None else [compat.after(text, template) for text in raw]


def chosen(item: Item, answers: Sequence[Answer]) -> Chosen:
    """What the options' likelihoods say. A tie at the top chooses none."""
    sums = [answer.loglikelihood for answer in answers[item.meta["n_texts"] :]]
    known = [value for value in sums if value is not None]
    if not known or len(known) < len(sums):
        return Chosen(None, None, tuple(sums) or None)
    top = max(known)
    powers = [math.exp(value - top) for value in known]
    choice = None if sum(math.isclose(value, top, abs_tol=1e-12) for value in known) > 1 else known.index(top)
    return Chosen(choice, tuple(power / sum(powers) for power in powers), tuple(known))
