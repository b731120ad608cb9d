"""What is asked of a compressed model: `gate.toml` in typed form, with what an empty file asks."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmc.evaluate.collapse import CollapseLimits
from llmc.evaluate.stats.verdict import Code, Limits

Level = Literal["suite", "dimension", "task"]
Test = Literal["non-inferiority", "not-lost", "superior"]
Sameness = Literal["items", "prompts", "template", "scorer", "tokenizer", "decoding", "batch_size"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Tolerance(_Form):
    """The loss that is allowed: in points, or relative to dense with a floor in points."""

    points: Positive | None = None
    """Points are hundredths of a score between 0 and 1."""
    relative: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A share of dense's score."""
    floor_points: Positive | None = None
    """The relative tolerance is at least this: 2 % of a 3 % score is noise."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Tolerance:
        if (self.points is None) == (self.relative is None):
            raise ValueError("give exactly one of points, relative")
        if (self.relative is None) != (self.floor_points is None):
            raise ValueError("relative without floor_points" if self.relative else "floor_points without relative")
        return self

    def margin(self, dense: float) -> float:
        """The allowed loss as a share, for a dense score of `dense`."""
        if self.points is not None:
            return self.points / 100
        assert self.relative is not None and self.floor_points is not None
        return max(self.relative * abs(dense), self.floor_points / 100)

    def words(self) -> str:
        """As it is asked: `2 points` or `5 % of dense, at least 2 points`."""
        if self.points is not None:
            return _points(self.points)
        assert self.relative is not None and self.floor_points is not None
        return f"{100 * self.relative:g} % of dense, at least {_points(self.floor_points)}"


def _points(value: float) -> str:
    return f"{value:g} point" if value == 1 else f"{value:g} points"


class Override(_Form):
    """Another tolerance or number of items for one task, dimension or suite of a rule."""

    task: str | None = None
    dimension: str | None = None
    suite: str | None = None
    points: Positive | None = None
    relative: Annotated[float, Field(gt=0, lt=1)] | None = None
    floor_points: Positive | None = None
    min_items: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Override:
        if sum(name is not None for name in (self.task, self.dimension, self.suite)) != 1:
            raise ValueError("give exactly one of task, dimension, suite")
        if self.points is not None or self.relative is not None or self.floor_points is not None:
            self.tolerance()
        elif self.min_items is None:
            raise ValueError("give a tolerance (points, or relative and floor_points) or min_items")
        return self

    def tolerance(self) -> Tolerance | None:
        """The tolerance it sets; None when it only sets a number of items."""
        if self.points is None and self.relative is None:
            if self.floor_points is not None:
                raise ValueError("floor_points without relative")
            return None
        return Tolerance(points=self.points, relative=self.relative, floor_points=self.floor_points)

    def names(self, level: Level, name: str) -> bool:
        """Whether it speaks of this row."""
        return {"task": self.task, "dimension": self.dimension, "suite": self.suite}[level] == name


class Rule(_Form):
    """One thing that is asked of every row it matches."""

    id: Annotated[str, Field(min_length=1)]
    kind: Literal["difference", "flips", "divergence"] = "difference"
    suite: str = "*"
    """`kick`, `trust`, … or `*` for all."""
    level: Level = "task"
    task: str | None = None
    dimension: str | None = None
    metric: str = "primary"
    tolerance: Tolerance | None = None
    test: Test | None = None
    require: list[Code] | None = None
    """The verdicts that pass, instead of `test`."""
    override: list[Override] = []
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Weights of tasks in the mean of a suite or dimension; 1 where not named."""
    max_rate: Share | None = None
    over_noise: Share | None = None
    max_mean_nats: Positive | None = None
    max_p99_nats: Positive | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Rule:
        limits = {"flips": ("max_rate", "over_noise"), "divergence": ("max_mean_nats", "max_p99_nats")}
        for kind, keys in limits.items():
            given = [key for key in keys if getattr(self, key) is not None]
            if given and self.kind != kind:
                raise ValueError(f"{given[0]} belongs to rules of kind {kind!r}")
            if self.kind == kind and not given:
                raise ValueError(f"give at least one of {', '.join(keys)}")
        if self.kind == "difference" and self.tolerance is None:
            raise ValueError("give a tolerance, as { points = 2.0 }")
        if self.kind != "difference" and (self.tolerance or self.test or self.require or self.override):
            raise ValueError(f"tolerance, test, require and override don't belong to rules of kind {self.kind!r}")
        if self.kind != "difference" and self.level != "task":
            raise ValueError(f'rules of kind {self.kind!r} have level = "task"')
        if self.test is not None and self.require is not None:
            raise ValueError("give one of test, require")
        never = {"collapsed", "not-compared", "lost"} & set(self.require or ())
        if never:
            raise ValueError("neither collapsed, not-compared nor lost can be a verdict that passes; a waiver excuses")
        return self

    def passing(self) -> frozenset[Code]:
        """The verdicts that pass this rule."""
        if self.require is not None:
            # Whoever accepts kept accepts better than kept.
            return frozenset(self.require) | ({"gained"} if "kept" in self.require else frozenset())
        by_test: dict[Test, frozenset[Code]] = {
            "non-inferiority": frozenset({"kept", "gained"}),
            "not-lost": frozenset({"kept", "gained", "undecided"}),
            "superior": frozenset({"gained"}),
        }
        return by_test[self.test or "non-inferiority"]


class Budget(_Form):
    """A limit on what the compressed model costs: exact for sizes, by interval for times."""

    id: Annotated[str, Field(min_length=1)]
    metric: Literal["artifact_bytes", "n_parameters", "decode_tokens_per_s", "prefill_tokens_per_s", "load_s"]
    max_ratio: Positive | None = None
    """At most this many times dense's."""
    min_ratio: Positive | None = None
    max: Positive | None = None
    """At most this, whatever dense has."""
    min: Positive | None = None
    repeats: Annotated[int, Field(ge=2)] = 5
    """Measurements that a timed budget needs of either model."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> Budget:
        if all(limit is None for limit in (self.max_ratio, self.min_ratio, self.max, self.min)):
            raise ValueError("give at least one of max_ratio, min_ratio, max, min")
        return self


class Waiver(_Form):
    """A loss that is known and excused until a day."""

    rule: str
    task: str | None = None
    dimension: str | None = None
    suite: str | None = None
    reason: Annotated[str, Field(min_length=1)]
    expires: Annotated[datetime.date, Field(strict=False)]

    def names(self, level: str, name: str) -> bool:
        """Whether it speaks of this row; one that names no task, dimension or suite speaks of the whole rule."""
        named = {"task": self.task, "dimension": self.dimension, "suite": self.suite}
        return all(value is None for value in named.values()) or named.get(level) == name


class CompareSection(_Form):
    """What two runs must share."""

    require_same: list[Sameness] = ["items", "prompts", "template", "scorer", "tokenizer", "decoding", "batch_size"]
    min_paired: Share = 0.995
    """The least share of a task's items that both runs have."""
    max_unscored: Share = 0.01
    """The largest share of paired items that only one run could be marked on."""
    noise_run: str | None = None
    """A second run of the dense model: how many items flip by themselves."""


class StatsSection(_Form):
    """How sure is sure."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_items: Annotated[int, Field(ge=1)] = 100
    min_clusters: Annotated[int, Field(ge=2)] = 10
    multiplicity: Literal["holm", "none"] = "holm"
    resamples: Annotated[int, Field(ge=99, le=99_999)] = 9_999
    seed: Annotated[int, Field(ge=0)] = 1

    def limits(self) -> Limits:
        """The part that a verdict reads."""
        return Limits(min_items=self.min_items, min_clusters=self.min_clusters, holm=self.multiplicity == "holm")


class DecideSection(_Form):
    """What the exit code makes of verdicts that are neither kept nor lost."""

    undecided: Literal["fail", "warn", "pass"] = "fail"
    """`fail` and `warn` are exit code 3, an error or a warning to those who read along; only `pass` lets it pass."""
    collapsed: Literal["fail", "warn"] = "fail"
    missing: Literal["error", "warn"] = "error"


class CollapseSection(_Form):
    """Limits of the collapse rule; see `llmc.evaluate.collapse`."""

    above_chance: Share = CollapseLimits.above_chance
    dense_above_chance: Share = CollapseLimits.dense_above_chance
    one_option: Share = CollapseLimits.one_option
    dense_one_option: Share = CollapseLimits.dense_one_option
    broken: Share = CollapseLimits.broken
    broken_ratio: Annotated[float, Field(ge=1)] = CollapseLimits.broken_ratio
    perplexity_ratio: Annotated[float, Field(gt=1)] = CollapseLimits.perplexity_ratio

    def limits(self) -> CollapseLimits:
        """The same as the rule reads them."""
        return CollapseLimits(**self.model_dump())


DEFAULT_RULES: list[dict[str, Any]] = [
    {"id": "knowledge", "suite": "kick", "level": "suite", "tolerance": {"relative": 0.05, "floor_points": 2.0}},
    {"id": "trust", "suite": "trust", "level": "dimension", "tolerance": {"points": 3.0}},
    {
        "id": "every-task",
        "suite": "*",
        "level": "task",
        "tolerance": {"relative": 0.05, "floor_points": 3.0},
    },
]
"""What an empty file asks: knowledge as a whole within LLM-KICK's 5 % of dense, every trust dimension within 3 points,
and every single task within 5 % of dense."""


class Policy(_Form):
    """A whole `gate.toml`."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    name: str | None = None
    """Names the sticky comment and the JUnit suite."""
    rule: list[Rule] = Field(default_factory=lambda: [Rule.model_validate(rule) for rule in DEFAULT_RULES])
    budget: list[Budget] = []
    waiver: list[Waiver] = []
    compare: CompareSection = CompareSection()
    stats: StatsSection = StatsSection()
    decide: DecideSection = DecideSection()
    collapse: CollapseSection = CollapseSection()

    @model_validator(mode="after")
    def _names_fit_together(self) -> Policy:
        names = [rule.id for rule in self.rule] + [budget.id for budget in self.budget]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the id {name!r} is given twice")
        for waiver in self.waiver:
            if waiver.rule not in names:
                raise ValueError(f"waiver of {waiver.rule!r}: no rule or budget has this id")
        if self.compare.noise_run is None and any(rule.over_noise is not None for rule in self.rule):
            raise ValueError("over_noise needs compare.noise_run")
        return self

    @property
    def asks_by_default(self) -> bool:
        """Whether the rules are the built-in ones."""
        return "rule" not in self.model_fields_set
