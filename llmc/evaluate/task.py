"""What a task is: what to ask and how to mark. Holds no model, device, file or result."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from llmc.errors import UserError
from llmc.evaluate.stats.estimate import Estimate, Range

Kind = Literal["generate_until", "loglikelihood", "loglikelihood_rolling"]
Mode = Literal["fixed", "compat"]
Scale = Literal["mini", "quick", "full"]
Channel = Literal["likelihood", "text", "perplexity"]
"""What a mark rests on: the likelihood of options, generated text, or the likelihood of a whole text."""
SHARE: Range = (0.0, 1.0)
FLAGS = ("empty", "unparsed", "refused", "overflowed", "truncated", "repetitive")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request to a model: text to continue, a continuation to score, or a text to score as a whole."""

    kind: Kind
    context: str
    """The prompt; for `loglikelihood_rolling` the text itself."""
    tokens: tuple[int, ...] | None = None
    """For `loglikelihood_rolling`: score these tokens, the first of which is given, instead of a text."""
    continuation: str | None = None
    """What `loglikelihood` scores after `context`."""
    until: tuple[str, ...] = ()
    """Strings that end a generation; none of them is part of the answer."""
    max_new_tokens: int = 32
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    sample: int = 0
    """Which of several samples of one prompt this is; with `seed` and the prompt it fixes the random numbers."""
    seed: int = 0
    n_given: int = 1
    """How many of `tokens` are given, so that only the others are scored."""
    as_lm_eval: bool = False
    """Asked by a task of lm-eval's: a stop string then counts from the first token, and a prompt that is too long loses
    its beginning-of-text token, as on lm-eval's own backends."""

    def __post_init__(self) -> None:
        if (self.continuation is not None) != (self.kind == "loglikelihood"):
            raise ValueError(f"{self.kind} with continuation {self.continuation!r}")
        few = self.tokens is not None and not 0 < self.n_given < len(self.tokens)
        if self.tokens is not None and (self.kind != "loglikelihood_rolling" or few):
            raise ValueError(f"{self.kind} of {len(self.tokens)} tokens")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise UserError(f"temperature {self.temperature} and top_p {self.top_p} don't make a sampler")

    def settings(self) -> dict[str, Any]:
        """Everything of the request but its text, as plain data: what a sample line records."""
        rules: dict[str, Any] = {"as_lm_eval": True} if self.as_lm_eval else {}
        if self.kind != "generate_until":
            return {"kind": self.kind, **rules, **({} if self.n_given == 1 else {"n_given": self.n_given})}
        plain: dict[str, Any] = {
            "kind": self.kind,
            "until": list(self.until),
            "max_new_tokens": self.max_new_tokens,
            **rules,
        }
        if self.temperature == 0:
            return {**plain, "temperature": 0.0}
        sampled = {"temperature": self.temperature, "top_p": self.top_p, "sample": self.sample, "seed": self.seed}
        return {**plain, **sampled}

    def key(self) -> str:
        """A hash that two requests share exactly when they must get the same answer."""
        parts = [self.settings(), self.context, self.continuation, self.tokens]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def prompt_key(self) -> str:
        """A hash that two requests share when they ask the same, whatever random numbers answer them."""
        drawn = ("seed", "sample")
        settings = {name: value for name, value in self.settings().items() if name not in drawn}
        parts = [settings, self.context, self.continuation, self.tokens]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def arguments(self, *, seeded: bool) -> tuple[Any, ...]:
        """The `args` of an lm-eval request. `seeded` adds the seed and sample, which only some backends take."""
        if self.kind == "loglikelihood":
            return (self.context, self.continuation)
        if self.tokens is not None:
            raise UserError("this backend can't score bare tokens", hint="use --backend engine")
        if self.kind == "loglikelihood_rolling":
            return (self.context,)
        settings: dict[str, Any] = {
            "until": list(self.until),
            "max_gen_toks": self.max_new_tokens,
            "do_sample": self.temperature > 0,
            "temperature": self.temperature,
        }
        if self.temperature > 0:
            settings["top_p"] = self.top_p
            if seeded:
                settings |= {"seed": self.seed, "sample": self.sample}
        return (self.context, settings)

    def instance(self, task_name: str, doc_id: int, *, idx: int = 0, seeded: bool = False) -> Any:
        """The request as an `lm_eval.api.instance.Instance`, which any lm-eval model class can answer."""
        from lm_eval.api.instance import Instance

        return Instance(self.kind, {}, self.arguments(seeded=seeded), idx, (task_name, doc_id, 1))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model made of one request. What the kind of request doesn't have, or the backend hides, is None."""

    text: str | None = None
    loglikelihood: float | None = None
    """Natural logarithm, summed over the tokens of the continuation or text; None also where that is no finite number.
    """
    is_greedy: bool | None = None
    """Whether greedy decoding would have given this continuation."""
    n_tokens: int | None = None
    """New tokens, or tokens scored."""
    truncated: bool | None = None
    """The answer ended because the token budget did."""
    overflowed: bool | None = None
    """The prompt didn't fit the model's window and lost its beginning."""


def finite(value: float) -> float | None:
    """`value`; None where it is NaN or infinite, as the likelihoods of a model that compression has broken can be."""
    return value if math.isfinite(value) else None


def likeliest(loglikelihoods: Sequence[float | None]) -> int | None:
    """The place of the greatest, the first of equals as lm-eval has it; None where any of them is no number."""
    known = [value for value in loglikelihoods if value is not None]
    return known.index(max(known)) if known and len(known) == len(loglikelihoods) else None


def by_length(loglikelihoods: Sequence[float | None], options: Sequence[str]) -> tuple[float | None, ...]:
    """Each log-likelihood a character of its option, as lm-eval's `acc_norm` compares free texts."""
    pairs = zip(loglikelihoods, options, strict=True)
    return tuple(None if value is None else value / max(1, len(text)) for value, text in pairs)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question with everything that marking it needs."""

    id: str
    """Stable and unique in the task: results of two runs are joined on it."""
    requests: tuple[Ask, ...]
    cluster: str | None = None
    """Items of one cluster share a source (a passage, a person) and are not independent."""
    stratum: str | None = None
    question: str | None = None
    """A short form for people."""
    gold: str | tuple[str, ...] | None = None
    """The accepted answer or answers."""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Marked:
    """The verdict on one item. `None` as a mark means that it could not be marked, and keeps it out of that metric."""

    marks: Mapping[str, float | None]
    flags: Mapping[str, bool] = field(default_factory=dict)
    """`unparsed` and `refused` come from the task; the other flags are filled in from the answers where absent."""
    answer: str | tuple[str, ...] | None = None
    """The text (or texts) that was marked."""
    choice: int | None = None
    options: tuple[str, ...] | None = None
    loglikelihoods: tuple[float | None, ...] | None = None
    """One an option, joint over its tokens, in natural logarithms; None for one that is no finite number."""
    by_mark: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """One an option, for each mark that chooses by something else: another text's likelihood, or that a character."""
    kl: float | None = None

    def __post_init__(self) -> None:
        if stray := set(self.flags) - set(FLAGS):
            raise ValueError(f"no such flag: {', '.join(sorted(stray))}")


class Scored(NamedTuple):
    """An item beside its marks: what a task summarises."""

    item: Item
    marked: Marked


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How to read a metric."""

    direction: Literal["higher", "lower"] = "higher"
    """Which way is better."""
    chance: float | None = None
    """What guessing scores; None where that means nothing."""
    kind: Literal["proportion", "mean", "gap", "statistic"] = "mean"
    """`proportion`: a share of items; `mean`: a mean of graded marks; `gap`: a mean of marks of either sign that is as
    bad below 0 as above it, so that two runs are compared by its size; `statistic`: anything else (no mean of items).
    """
    range: Range | None = None
    """What values are possible; left out: all, but of a proportion 0 to 1 and of a gap -1 to 1."""
    channel: Channel | None = None
    """What its marks rest on, where a task asks by more than one channel; left out: by the one that it asks."""

    @property
    def possible(self) -> Range:
        """The least and the greatest value."""
        known: dict[str, Range] = {"proportion": SHARE, "gap": (-1.0, 1.0)}
        return self.range or known.get(self.kind, (None, None))

    def facts(self, estimate: Estimate) -> dict[str, object]:
        """The entry of results.json: the estimate, its interval within the possible values, and how to read it."""
        how = {"direction": self.direction, "chance": self.chance, "kind": self.kind, "range": list(self.possible)}
        channel = {} if self.channel is None else {"channel": self.channel}
        return {**estimate.within(self.possible).as_dict(), **how, **channel}


@dataclass(frozen=True, kw_only=True)
class TaskContext:
    """What a task may know about the run it asks for."""

    scale: Scale = "quick"
    mode: Mode = "fixed"
    data_root: Path | None = None
    """Folder with the data laid out as their authors publish them; None: only what the package carries."""
    seed: int = 0
    limit: int | None = None
    """At most this many items; the runner cuts too, so a task may ignore it."""
    max_length: int = 2048
    """The model's window in tokens."""
    encode: Callable[[str], list[int]] = lambda text: list(text.encode())
    """Tokens of a text as the model gets it, special ones included."""
    decode: Callable[[Sequence[int]], str] = lambda tokens: bytes(tokens).decode(errors="replace")
    lead: tuple[int, ...] = ()
    """What the tokenizer puts before every text (beginning-of-text), and `encode` with it."""
    chat: Callable[[Sequence[Mapping[str, str]]], str] | None = None
    """Renders messages ({"role", "content"}) with the model's chat template, open for the answer; None: it has none."""
    scorer: str | None = None
    """A named version of the marking rules, where a suite has several."""


@runtime_checkable
class Task(Protocol):
    """A task. One public file of a suite's folder, which ends in `TASK = ...`.

    `items` gives the same items in the same order for the same context; items of a larger scale extend those of a
    smaller one. Raises `UserError` naming the file and the command that gets it when data are missing.
    """

    @property
    def name(self) -> str:
        """Unique, as in `kick/factoid_qa`."""

    @property
    def suite(self) -> str: ...
    @property
    def dimension(self) -> str | None:
        """The trust dimension it belongs to; None elsewhere."""

    @property
    def version(self) -> int:
        """Goes up when a prompt or a mark changes."""

    @property
    def source(self) -> str: ...
    @property
    def primary(self) -> str:
        """The metric that speaks for the task; an optional mapping `primary_at` names another for a mode or scale."""

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """How to read every metric that `summarise` can return; an optional `metrics_at` has other ones of a scale."""

    def items(self, ctx: TaskContext) -> Iterable[Item]: ...

    def mark(self, item: Item, answers: Sequence[Answer]) -> Marked:
        """The verdict on `item`, given an answer to each of its requests, in their order."""
        ...

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, Estimate]: ...


@runtime_checkable
class FollowsUp(Protocol):
    """A task with a second turn: what to ask next depends on the answers so far."""

    def follow_up(self, item: Item, answers: Sequence[Answer]) -> tuple[Ask, ...]:
        """The requests to append to the item's, or () when the conversation is over. `mark` gets all answers."""
        ...
