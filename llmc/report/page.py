"""The one-file HTML page: opens from a mail attachment, asks no network for anything, and runs no text as markup."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from llmc.errors import UserError
from llmc.evaluate.stats.wording import CODE_OF, ORDER, SIGNS, Word, bare, number, plain, said, sign_of
from llmc.harmless import block
from llmc.judging.comparison import Health, Matrix, Row, RunComparison, Spread
from llmc.judging.flip_text import CHANNELS, Text, option_lines
from llmc.judging.flips import CARE, EXCERPT, KINDS, Flips, excerpts, texts
from llmc.judging.judge import Compared
from llmc.report import charts
from llmc.runs.forms import PANEL_SHARES

CHUNK = 2_000
"""Items in a block of texts."""
_TOP = 50
_TOP_EXCERPT = 160
_TEXT_SHARE = 0.82
"""Of the page's bytes, what texts may take: the index and the tables come first."""


@dataclass(frozen=True, kw_only=True)
class PageOptions:
    """How large the page may be, and whether it may hold text."""

    max_mb: float = 8.0
    redact: bool = False

    def __post_init__(self) -> None:
        if not 0.1 <= self.max_mb <= 500:
            raise UserError(f"a page of {self.max_mb} MB", hint="--max-html-mb takes 0.1 to 500")


def visible(value: object) -> object:
    """Text whose control and direction characters are shown as escapes; what is markup of ours stays as it is."""
    if isinstance(value, Markup):
        return value
    return block(value)


def page(compared: Compared, flips: Flips, options: PageOptions, first: Sequence[Text] | None = None) -> str:
    """The whole page. The same comparison gives the same bytes. `first`: excerpts of the first flips, if at hand.

    Raises `UserError` when even without any item's text it would be larger than allowed.
    """
    budget = int(options.max_mb * 1_000_000)
    index = _index(compared, flips)
    bare = _render(compared, flips, options, index, [], 0)
    spare = min(budget - len(bare.encode("utf-8", "replace")) - 20_000, int(_TEXT_SHARE * budget))
    if len(bare.encode("utf-8", "replace")) > budget:
        raise UserError(
            f"the page would have {len(bare) / 1e6:.1f} MB without any item's text, and {options.max_mb:g} are allowed",
            hint="raise --max-html-mb, or compare fewer runs at once",
        )
    blocks, n_texts = ([], 0) if options.redact else _blocks(compared, flips, spare, first or [])
    return _render(compared, flips, options, index, blocks, n_texts)


def _render(
    compared: Compared, flips: Flips, options: PageOptions, index: str, blocks: Sequence[str], n_texts: int
) -> str:
    folder = resources.files("llmc.report") / "templates"
    style = (folder / "style.css").read_text(encoding="utf-8").strip()
    script = (folder / "items.js").read_text(encoding="utf-8").strip()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=visible, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    c = compared.comparison
    return template.render(
        c=c,
        csp=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        index=Markup(index),
        blocks=[Markup(block) for block in blocks],
        many=len(c.runs) > 1,
        gated=not c.policy.built_in,
        shared_gaps=_shared_gaps(c.runs),
        used_words=_used_words(c.runs),
        size_svg=charts.size_chart(c.runs, c.dense.label),
        tasks=flips.tasks,
        kinds=KINDS,
        n_flips=len(flips.items),
        items_words=_items_words(len(flips.items), n_texts, options),
        top=_top(compared, flips, options),
        panel=PANEL_SHARES,
        **_WORDING,
    )


def _policy(style: str, script: str) -> str:
    """The content security policy: nothing may load, and only these two texts may style and run."""
    hashes = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _items_words(n: int, n_texts: int, options: PageOptions) -> str:
    if n == 0:
        return "No item flipped."
    rest = "every one with its whole text is in items.jsonl.gz beside this page"
    if options.redact:
        return f"{n:,} items, by their ids: the texts were left out on purpose (--redact)."
    if n_texts < n:
        return f"Text for {n_texts:,} of {n:,} items is in this page, those that tell most; {rest}."
    return f"{n:,} items with long texts cut to {EXCERPT} characters; {rest}."


# ---- item data -------------------------------------------------------------------------------------------------


def _index(compared: Compared, flips: Flips) -> str:
    """All flips, column by column."""
    tasks = {name: i for i, name in enumerate(flips.tasks)}
    pairs = {name: pair for one in compared.joined for name, pair in one.tasks.items() if name in tasks}
    columns = {
        "chunk": CHUNK,
        "runs": [one.other.label for one in compared.joined],
        "tasks": flips.tasks,
        "care": [pairs[name].dimension in CARE for name in flips.tasks],
        "channel": [CHANNELS[pairs[name].channel] for name in flips.tasks],
        "kinds": list(KINDS),
        "run": [flip.run for flip in flips.items],
        "task": [tasks[flip.task] for flip in flips.items],
        "kind": [KINDS.index(flip.kind) for flip in flips.items],
        "margin": [-1 if flip.margin is None else round(100 * flip.margin) for flip in flips.items],
        "id": [flip.item for flip in flips.items],
    }
    return _packed(columns)


def _packed(data: object, level: int = 9) -> str:
    """base64 of gzip of JSON; base64 has no `<`, so nothing inside can end the block it stands in."""
    raw = json.dumps(data, allow_nan=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(raw, compresslevel=level, mtime=0)).decode()


def _blocks(compared: Compared, flips: Flips, spare: int, first: Sequence[Text]) -> tuple[list[str], int]:
    """Texts of as many items as fit, in blocks, most telling first."""
    blocks: list[str] = []
    for start in range(0, len(flips.items), CHUNK):
        part = flips.items[start : start + CHUNK]
        known = first[start : start + CHUNK]
        found = known if len(known) == len(part) else excerpts(texts(compared.joined, part))
        columns: dict[str, Any] = {
            key: [getattr(text, key) for text in found] for key in ("question", "gold", "dense", "compressed")
        }
        # Texts of one item are few numbers beside many letters, so an item without options costs a zero.
        columns["options"] = [_packed_options(text) for text in found]
        block = _packed(columns, level=6)
        spare -= len(block) + 80
        if spare < 0:
            return blocks, start
        blocks.append(block)
    return blocks, len(flips.items)


def _packed_options(text: Text) -> list[object] | int:
    """Each option with both likelihoods, then the places of the right one and of both choices; 0 without options."""
    if not text.options:
        return 0
    return [[list(option) for option in text.options], text.right, text.chosen_dense, text.chosen_compressed]


def _top(compared: Compared, flips: Flips, options: PageOptions) -> list[dict[str, Any]]:
    """The first items as plain rows, for readers without scripts and for print."""
    first = flips.items[:_TOP]
    told: list[Text | None] = [None] * len(first)
    if not options.redact:
        told = [text.cut(_TOP_EXCERPT) for text in texts(compared.joined, first)]
    return [
        {
            "run": compared.joined[flip.run].other.label,
            "task": flip.task,
            "id": flip.item,
            "kind": flip.kind,
            "margin": flip.margin,
            "care": compared.joined[flip.run].tasks[flip.task].dimension in CARE,
            "channel": CHANNELS[compared.joined[flip.run].tasks[flip.task].channel],
            "text": text,
            "options": [] if text is None else option_lines(text),
        }
        for flip, text in zip(first, told, strict=True)
    ]


# ---- words for the template ------------------------------------------------------------------------------------


def _shared_gaps(runs: Sequence[RunComparison]) -> list[str]:
    """What no run measured."""
    return [said for said in runs[0].not_measured if all(said in run.not_measured for run in runs)] if runs else []


def _used_words(runs: Sequence[RunComparison]) -> list[Word]:
    """The words that the page shows, which are the ones that it explains at its top."""
    return [word for word in ORDER if any(run.counts[word] for run in runs)]


def _row_title(row: Row) -> str:
    if row.level != "suite":
        return plain(row.name)
    return "knowledge as a whole (kick)" if row.name == "kick" else f"{plain(row.name)} as a whole"


def _suite_title(suite: str) -> str:
    """What a table of tasks is called: by their own suite, which is knowledge only where it is kick."""
    return "Knowledge (kick)" if suite == "kick" else f"Tasks of {suite}"


def _split(run: RunComparison) -> dict[str, Any]:
    """A run's readings as the page groups them, on one axis."""
    dimensions = [r for r in run.readings if r.level == "dimension"]
    others = [r for r in run.readings if r.level == "suite" or (r.level == "task" and r.dimension is None)]
    inner = [r for r in run.readings if r.level == "task" and r.dimension is not None]
    names = sorted({r.suite or "" for r in others}, key=lambda name: (name != "kick", name))
    return {
        "dimensions": dimensions,
        "suites": [(_suite_title(name), [r for r in others if (r.suite or "") == name]) for name in names],
        "inner": inner,
        "axis": charts.change_axis([*dimensions, *others, *inner]),
    }


def _heat(matrices: Sequence[Matrix], stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [m for m in matrices if m.error is not None and m.error > 0]
    worst = sorted(matrices, key=lambda m: -(m.error or 0.0))[:10]
    return {
        "svg": charts.heat_map(matrices),
        "kinds": list(dict.fromkeys(m.kind for m in matrices)),
        "edges": charts.heat_edges(known) if known else [],
        "worst": worst,
        "zeros": "Zero codes" if any(stage.get("bits") for stage in stages) else "Sparsity",
    }


def _change_words(row: Row) -> str:
    change = row.change
    if change is None:
        return "–"
    named = said(change.value, row.unit)
    if change.low is None or change.high is None:
        return named
    return f"{named} ({bare(change.low, row.unit)} to {bare(change.high, row.unit)})"


def _top_option(health: Health) -> str:
    told = []
    for options in (health.options_dense, health.options_compressed):
        if not options:
            return "–"
        name = min(options, key=lambda key: (-options[key], key))
        told.append(f"{name} {100 * options[name]:.0f} %")
    return " → ".join(told)


def _spread_words(spread: Spread | None, unit: str) -> str:
    """`12.3 (11.9 to 12.6) tokens/s`; sizes in millions of bytes."""
    if spread is None:
        return "–"
    scale, named = (1e6, "MB") if unit == "bytes" else (1.0, unit)
    median, least, most = (f"{value / scale:,.4g}" for value in (spread.median, spread.least, spread.most))
    return f"{median} {named}" if least == most else f"{median} ({least} to {most}) {named}"


def _score_words(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")


_MEANINGS: dict[Word, str] = {
    "PASS": "a loss beyond what is allowed is ruled out (▲: shown to be better than dense)",
    "FAIL": "a loss beyond what is allowed is shown",
    "UNDECIDED": "too little data to show or rule out a loss",
    "COLLAPSED": "the answers are no answers, so its scores say nothing",
    "NOT COMPARED": "the runs differ in what they measured here",
}
_WORDING: dict[str, Any] = {
    "meanings": _MEANINGS,
    "row_title": _row_title,
    "sign_of": sign_of,
    "sign": lambda word: SIGNS[CODE_OF[word]],
    "code_of": CODE_OF,
    "plain": plain,
    "points": number,
    "spread": _spread_words,
    "num": _score_words,
    "round": lambda value: "–" if value is None else f"{value:,.0f}",
    "split": _split,
    "heat": _heat,
    "change_words": _change_words,
    "top_option": _top_option,
    "draw": charts.change_row,
    "scale": charts.change_scale,
    "flip_bar": charts.flip_bar,
    "divergence": charts.divergence_chart,
}
