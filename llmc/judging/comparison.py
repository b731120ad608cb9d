"""The comparison as plain data: what `comparison.json` holds, and all that every output reads. It decides nothing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmc.evaluate.stats.units import turned
from llmc.evaluate.stats.verdict import Code, Why
from llmc.evaluate.stats.wording import Word
from llmc.evaluate.task import Channel

Outcome = Literal["pass", "fail", "undecided", "error", "waived"]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Score(_Form):
    """One run's level on the compared items, in the metric's own unit, with its 95 % interval."""

    value: float
    low: float | None
    high: float | None


class Change(_Form):
    """The change of a row, in the row's unit: points or percent above 0 are better, of a ratio (× dense) below 1 is."""

    value: float
    low: float | None
    high: float | None
    stderr: float | None
    n: int
    n_clusters: int
    deff: float | None
    lost: int | None = Field(description="items only dense has right; null for graded marks")
    gained: int | None
    flip_rate: float | None
    answer_change_rate: float | None = Field(description="share of items whose answer is another one, right or wrong")
    noise_flip_rate: float | None = Field(description="flip rate of dense against dense, from compare.noise_run")
    detectable: float | None = Field(
        description="smallest change that this many items show in 80 %; of a ratio, above 1"
    )
    needed: int | None = Field(description="items in all that would settle an undecided row")
    route: str = Field(description="how the interval was found")
    bootstrap: tuple[float, float] | None = Field(description="95 % cluster bootstrap of the same change; not decisive")
    mcnemar_mid_p: float | None
    sign_flip_p: float | None = Field(
        description="two-sided p of no change by swapping whole clusters, where marks are graded or clusters shared"
    )
    p_loss: float | None = Field(description="one-sided p of a loss beyond the tolerance; only of rows shown lost")


class Divergence(_Form):
    """Kullback-Leibler divergence of compressed from dense, in nats an item."""

    over: str
    n: int
    mean: float
    median: float
    p99: float
    p999: float
    max: float
    cdf: list[tuple[float, float]] = Field(description="points (nats, share of items at or below)")


class Row(_Form):
    """One verdict: a rule's question about a suite, dimension, task or budget, and the answer."""

    rule: str
    level: Literal["suite", "dimension", "task", "budget"]
    name: str
    suite: str | None
    dimension: str | None
    tasks: list[str]
    metric: str
    unit: str = Field(description="points, % of dense, or × dense (of a perplexity); else empty")
    asked: str
    tolerance: float | None = Field(
        description="the loss allowed in points or percent, or the greatest ratio; null: the rule has another limit"
    )
    dense: Score | None
    compressed: Score | None
    change: Change | None
    code: Code = Field(description="the verdict on a loss")
    word: Word | None = Field(description="what people read of the check; null where no rule asks about the row")
    why: Why
    sentence: str
    found: str
    notes: list[str]
    outcome: Outcome
    waiver: str | None
    line: int | None = Field(description="line of the rule in the policy file")
    worst_items: list[str] = Field(description="ids of up to five lost items, dense surest first")
    min_items: int | None = Field(default=None, description="items that a verdict of PASS or FAIL asks for")

    @property
    def gain(self) -> float:
        """The change, turned so that above 0 is better; 0 where there is none. What tables are sorted by."""
        return 0.0 if self.change is None else turned(self.change.value, self.unit)


class Option(_Form):
    """One of the options that competed for an item."""

    text: str
    dense: float | None = Field(description="joint log-likelihood by dense, nats over all its tokens")
    compressed: float | None


class Flipped(_Form):
    """An item that flipped, with what was marked of it. Texts are cut; whole ones are in items.jsonl.gz."""

    task: str
    id: str
    kind: str
    marked_by: Channel = Field(description="likelihood of options, generated text, or perplexity of a text")
    careful: bool = Field(description="of a dimension whose texts are shown only when asked for")
    question: str
    gold: str
    dense: str = Field(description="the option chosen, the text written, or the text's perplexity")
    compressed: str
    options: list[Option]
    right: int | None = Field(description="place of the right option")
    chosen_dense: int | None
    chosen_compressed: int | None


class Health(_Form):
    """What the answers to one task look like, dense beside compressed, and how the pairing went."""

    task: str
    suite: str
    n_paired: int
    n_only_dense: int
    n_only_compressed: int
    n_unscored: int
    dense: dict[str, float | None]
    compressed: dict[str, float | None]
    options_dense: dict[str, float] | None
    options_compressed: dict[str, float] | None
    flips: dict[str, int] | None = Field(description="both_right, lost, gained, both_wrong, other_wrong")
    divergence: Divergence | None
    noise_flip_rate: float | None
    collapse: str | None
    not_compared: str | None
    notes: list[str]


class Matrix(_Form):
    """The damage to one weight matrix, from the compression's manifest."""

    block: int
    kind: str
    error: float | None
    sparsity: float | None = Field(description="share of zeros; of a quantised matrix, of codes that stand for 0")
    bits_per_weight: float | None


class Spread(_Form):
    """Repeated measurements of one thing."""

    median: float
    least: float
    most: float


class Timing(_Form):
    """One metric of a bench, dense and compressed in the same session."""

    name: str
    unit: str
    n: int = Field(description="turns that both models were measured in")
    dense: Spread | None
    compressed: Spread | None
    ratio: float | None = Field(description="compressed over dense, the median over turns")
    ratio_low: float | None = Field(description="the least of the turns' ratios; null with one turn")
    ratio_high: float | None = Field(description="the most")


class Speeds(_Form):
    """What `llmc bench` found of both models in one session."""

    machine: str
    kernels: str | None = Field(description="how packed layers computed: fast, exact or dense")
    dtype: str | None
    timings: list[Timing]


class RunFacts(_Form):
    """Where a run came from and how to make it again."""

    label: str
    path: str
    model_id: str
    model_sha256: str | None
    bytes_on_disk: int | None
    n_parameters: int | None
    dtype: str | None
    method: str | None = Field(description="the compression in words; null for a dense model")
    settings: list[dict[str, Any]]
    compress_command: str | None
    evaluate_command: str | None
    mode: str
    scale: str | None
    seed: int | None
    template: str | None
    tokenizer_sha256: str | None
    decoding: dict[str, Any]
    seconds: float | None
    machine: str | None
    packages: dict[str, str]
    task_hashes: dict[str, dict[str, str | int | None]]


class RunComparison(_Form):
    """One compressed run against the dense one."""

    facts: RunFacts
    headline: str
    size_ratio: float | None = Field(description="bytes on disk, compressed over dense, as measured")
    speed_ratio: float | None = Field(description="new tokens a second over dense's, the median over turns")
    speeds: Speeds | None = Field(description="speed and memory as measured; null without two comparable benches")
    on_front: bool = Field(description="no other run is both smaller and better")
    score: float | None = Field(description="mean change over the readings, in points: for the size-quality chart only")
    score_low: float | None
    score_high: float | None
    readings: list[Row] = Field(description="every suite, dimension and task, each judged once")
    rules: list[Row] = Field(description="the policy's rules and budgets")
    health: list[Health]
    flipped: list[Flipped] = Field(description="the first lost items, dense surest first; empty with --redact")
    matrices: list[Matrix]
    missing: list[str] = Field(description="tasks that only the dense run has")
    extra: list[str] = Field(description="tasks that only this run has")
    not_measured: list[str]
    exit_code: int
    word: Word = Field(description="the verdict in all: what stands most in the way")
    counts: dict[Word, int] = Field(description="checks by word: the same in every output")
    tally: str = Field(description="the counts in words")
    verdict: str = Field(description="the gate's banner")


class PolicyFacts(_Form):
    """The policy that judged."""

    name: str | None
    path: str | None
    sha256: str | None
    text: str
    built_in: bool
    confidence: float
    min_items: int
    undecided: Literal["fail", "warn", "pass"]


class Comparison(_Form):
    """Two or more runs joined on item ids. `comparison.json`."""

    schema_version: Literal[1] = 1
    llmc: str
    created: str = Field(description="UTC, to the second")
    title: str
    recommendation: str
    dense: RunFacts
    runs: list[RunComparison]
    policy: PolicyFacts
    command: str
    notes: list[str]
