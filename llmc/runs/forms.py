"""What the files of a run directory hold, in typed form: manifest.json, results.json, and the lines of samples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import Required, TypedDict

from llmc.checksums import FileFacts
from llmc.errors import quoted
from llmc.evaluate.stats.estimate import Range
from llmc.evaluate.task import Channel, Metric, Mode, Scale

Value = Annotated[float, Field(ge=-1e15, le=1e15)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class ModelFacts(_Form):
    """Which model answered."""

    id: str
    sha256: str | None = None
    bytes_on_disk: int | None = Field(default=None, gt=0)
    n_parameters: int | None = Field(default=None, gt=0)
    dtype: str | None = None
    label: str | None = None


class TaskFacts(_Form):
    """What makes two runs of a task the same questions, asked and marked the same way."""

    suite: str
    version: int
    mode: Mode | None = None
    scorer: str | None = None
    prompts_sha256: str | None = None
    items_sha256: str | None = None
    n: Count | None = None


class WrittenFile(_Form):
    """One file as it was written."""

    bytes: Count
    sha256: str


class Manifest(_Form):
    """RUN/manifest.json. Keys that are not named here are kept and shown, not judged."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=(), extra="allow")

    schema_: Literal[1] = Field(alias="schema")
    complete: bool
    model: ModelFacts
    compression: dict[str, Any] | None = None
    suites: list[str] = []
    tasks: dict[str, TaskFacts]
    mode: Mode = "fixed"
    scale: Scale | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    backend: str | None = None
    batch_tokens: int | None = None
    template: str | None = None
    tokenizer_sha256: str | None = None
    decoding: dict[str, Any] = {}
    packages: dict[str, Any] = {}
    machine: dict[str, Any] | str | None = None
    seconds: float | None = None
    command: list[str] = []
    files: dict[str, WrittenFile] | None = None
    """The results and samples as they were written; None in runs of before llmc kept checksums."""

    @property
    def written(self) -> dict[str, FileFacts] | None:
        """`files` as `llmc.checksums` reads them."""
        if self.files is None:
            return None
        return {name: FileFacts(each.bytes, each.sha256) for name, each in self.files.items()}


class KeptTask(TaskFacts):
    """The same of a run that is only copied or marked anew."""

    version: int | None = None  # type: ignore[assignment]


class KeptManifest(Manifest):
    """The same of a run that is only copied or marked anew: what no one reads then may be missing."""

    model: ModelFacts | None = None  # type: ignore[assignment]
    tasks: dict[str, KeptTask]  # type: ignore[assignment]


class MetricFacts(_Form):
    """One metric of one task, as its evaluation summed it up."""

    value: Value | None
    stderr: Annotated[float, Field(ge=0, le=1e15)] | None = None
    ci95: Annotated[tuple[float, float], Field(strict=False)] | None = None
    n: Count = 0
    direction: Literal["higher", "lower"] = "higher"
    chance: float | None = None
    kind: Literal["proportion", "mean", "gap", "statistic"] = "mean"
    range: Annotated[Range, Field(strict=False)] | None = None
    """What values are possible; runs of before llmc wrote it have none."""
    channel: Channel | None = None

    @property
    def possible(self) -> Range:
        """The least and the greatest value, as far as the run or the kind says; None: open."""
        return Metric(kind=self.kind, range=self.range).possible

    @property
    def share(self) -> float | None:
        """What a value is divided by to become a share: 1, or 100 where it ends there; None on an open scale."""
        least, greatest = self.possible
        if least is None or greatest is None:
            return None
        return 100.0 if greatest == 100.0 else 1.0

    @property
    def largest_change(self) -> float | None:
        """The most that two runs can differ by; None where that has no end. Of a gap the sizes are compared."""
        least, greatest = self.possible
        if least is None or greatest is None:
            return None
        return max(abs(least), abs(greatest)) if self.kind == "gap" else greatest - least


class Panel(_Form):
    """Shares of answers that are no answers."""

    n: Count = 0
    empty: Share | None = None
    unparsed: Share | None = None
    refused: Share | None = None
    overflowed: Share | None = None
    truncated: Share | None = None
    repetitive: Share | None = None
    collapsed: float | None = None


PANEL_SHARES = ("empty", "unparsed", "refused", "overflowed", "truncated", "repetitive")


class JudgeFacts(_Form):
    """Which revision of a judge gave its marks."""

    revision: str


class TaskResult(_Form):
    """One task's results."""

    suite: str
    dimension: str | None = None
    version: int
    primary: str
    metrics: dict[str, MetricFacts]
    panel: Panel = Panel()
    judges: dict[str, JudgeFacts] = {}
    """Who gave the metrics called JUDGE.NAME."""
    collapsed: bool = False
    notes: list[str] = []
    options: dict[str, Share] | None = None


class DimensionResult(_Form):
    """One trust dimension's published score, 0 to 100."""

    score: float | None
    tasks: list[str] = []
    benign: bool = False
    """Measured beside the dimensions and no part of trust."""


class Results(_Form):
    """RUN/results.json."""

    schema_: Literal[1] = Field(alias="schema")
    tasks: dict[str, TaskResult]
    dimensions: dict[str, DimensionResult] = {}


_STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")


class Request(TypedDict, total=False):
    """How an item was asked."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    kind: Required[str]


class Sample(TypedDict, total=False):
    """One line of samples/TASK.jsonl; what it holds besides is kept."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    id: Required[Annotated[str, Field(min_length=1)]]
    marks: dict[str, Value | None]
    cluster: str | None
    stratum: str | None
    prompt_sha256: str | None
    prompt: str
    question: str | None
    turns: list[str] | None
    request: Request
    gold: str | list[str] | None
    answer: str | list[str] | None
    choice: Count | None
    options: list[str] | None
    loglikelihoods: list[Value | None] | None
    by_mark: dict[str, list[float | None]]
    flags: dict[str, bool]
    kl: Value | None
    margin: Value | None
    seconds: Value | None


_SAMPLE: TypeAdapter[Sample] = TypeAdapter(Sample)


def check_sample(line: Any) -> dict[str, Any]:
    """The line itself. Raises `ValueError` with what is wrong for any that no evaluation writes."""
    try:
        _SAMPLE.validate_python(line)
    except ValidationError as error:
        raise ValueError(_line_fault(error)) from None
    options, choice = line.get("options"), line.get("choice")
    if options is not None and choice is not None and choice >= len(options):
        raise ValueError(f"choice {choice} of {len(options)} options")
    checked: dict[str, Any] = line
    return checked


def _line_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "missing":
        return f"an item without {first['loc'][-1]!r}"
    if first["loc"][:1] == ("marks",) and len(first["loc"]) > 1:
        return f"mark {quoted(first['loc'][1])} is {quoted(first['input'])}, not a number or null"
    return first_fault(error, "the line")


def first_fault(error: ValidationError, whole: str) -> str:
    """The first thing that is wrong, and where: `tasks.kick/mmlu.n is -1: input should be greater than 0`."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or whole
    if first["type"] == "missing":
        return f"{where} is missing"
    return f"{where} is {quoted(first['input'])}: {first['msg'].lower()}"
