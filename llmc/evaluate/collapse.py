"""The collapse rule: when a model's answers to a task are no answers, so that its scores are no evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmc.errors import UserError
from llmc.evaluate.stats.intervals import share_interval

MIN_ITEMS = 100
"""Fewer items decide nothing, a collapse as little as a loss."""
MIN_WINDOWS = 10
"""Fewer windows of a perplexity decide nothing; one is hundreds of tokens long."""


@dataclass(frozen=True, kw_only=True)
class CollapseLimits:
    """From where on answers count as collapsed. Shares and scores lie in [0, 1]."""

    above_chance: float = 0.01
    """Collapsed when the score is shown to be at most this much above chance, or below it …"""
    dense_above_chance: float = 0.05
    """… while dense is shown to be at least this much above it."""
    one_option: float = 0.90
    """Collapsed when one option is shown to make up this share of the answers …"""
    dense_one_option: float = 0.60
    """… and none to make up more than this share of dense's."""
    broken: float = 0.20
    """Collapsed when this share of answers is shown to be empty, unparseable or looping …"""
    broken_ratio: float = 4.0
    """… and that is at least this many times dense's share."""
    perplexity_ratio: float = 5.0
    """Collapsed when perplexity is shown to be at least this many times dense's."""
    min_items: int = MIN_ITEMS
    """Fewer items show no collapse; but see `collapse_reason`."""

    def __post_init__(self) -> None:
        shares = (self.above_chance, self.dense_above_chance, self.one_option, self.dense_one_option, self.broken)
        if not all(0 <= share <= 1 for share in shares):
            raise UserError("limits of [collapse] that are shares must lie between 0 and 1")
        if self.broken_ratio < 1 or self.perplexity_ratio <= 1:
            raise UserError("broken_ratio must be at least 1 and perplexity_ratio above 1")


@dataclass(frozen=True, kw_only=True)
class AnswerState:
    """What one run's answers to one task look like. Shares in [0, 1]; None where it was not measured."""

    n: int = 0
    """Items that were answered."""
    n_groups: int = 0
    """Independent groups of items: as many as items, where none share a passage or a person."""
    low: float | None = None
    """Edges of the 95 % interval of the score, which is turned so that higher is better."""
    value: float | None = None
    high: float | None = None
    empty: float | None = None
    unparsed: float | None = None
    repetitive: float | None = None
    options: Mapping[str, float] | None = None
    """Share of the answers each option has."""
    perplexity: tuple[float, float] | None = None
    """Edges of the 95 % interval."""
    not_finite: bool = False
    """Some log-likelihood or perplexity was NaN or infinite."""
    marked_collapsed: bool = False
    """The evaluation itself called the task collapsed."""


def collapse_reason(
    dense: AnswerState, compressed: AnswerState, chance: float | None, limits: CollapseLimits
) -> str | None:
    """Why the compressed model collapsed on the task, in words; None when it is not shown to have.

    Any one sign is enough, where `min_items` were answered by both and the whole 95 % interval of a share, score or
    perplexity says so (Wilson's of shares, over independent groups). One item proves one thing alone: a likelihood that
    is no number, as working weights give numbers for every prompt.
    Source: report.md section 3, "Collapse rule".
    """
    if compressed.not_finite and not dense.not_finite:
        return "log-likelihoods are not finite numbers"
    if dense.perplexity and compressed.perplexity and min(dense.n, compressed.n) >= MIN_WINDOWS:
        ratio = compressed.perplexity[0] / dense.perplexity[1]
        if ratio >= limits.perplexity_ratio:
            return f"perplexity at least {ratio:.1f} × dense"
    if min(dense.n, compressed.n) < limits.min_items:
        return None
    if reason := _one_option(dense, compressed, limits):
        return reason + _against_chance(compressed, chance)
    if reason := _broken(dense, compressed, limits):
        return reason
    if reason := _no_ability(dense, compressed, chance, limits):
        return reason
    if compressed.marked_collapsed and not dense.marked_collapsed:
        return "the evaluation found its answers degenerate (dense's were not)"
    return None


def at_chance(low: float, high: float, chance: float) -> str | None:
    """Where a score's interval lies, if not above chance: `at chance`, or below, which no guessing does; else None."""
    if low > chance:
        return None
    if high < chance:
        return f"below chance {100 * chance:.0f} %: reversed or broken"
    return f"at chance {100 * chance:.0f} %"


def _interval(share: float, state: AnswerState) -> tuple[float, float]:
    n = max(state.n_groups or state.n, 1)
    return share_interval(round(share * n), n)


def _one_option(dense: AnswerState, compressed: AnswerState, limits: CollapseLimits) -> str | None:
    if not dense.options or not compressed.options:
        return None
    # Ties go to the first name, so that the sentence doesn't depend on the order in a file.
    name, share = min(compressed.options.items(), key=lambda item: (-item[1], item[0]))
    before = max(dense.options.values())
    shown = _interval(share, compressed)[0] >= limits.one_option
    if not shown or _interval(before, dense)[1] > limits.dense_one_option:
        return None
    return f"Option {name} chosen in {100 * share:.0f} % (dense {100 * dense.options.get(name, 0.0):.0f} %)"


def _against_chance(compressed: AnswerState, chance: float | None) -> str:
    if chance is None or compressed.value is None or compressed.low is None or compressed.high is None:
        return ""
    place = at_chance(compressed.low, compressed.high, chance)
    return f", score {100 * compressed.value:.1f} %" + (f" {place}" if place else "")


def _no_ability(
    dense: AnswerState, compressed: AnswerState, chance: float | None, limits: CollapseLimits
) -> str | None:
    if chance is None or dense.low is None or compressed.low is None or compressed.high is None:
        return None
    if compressed.high > chance + limits.above_chance or dense.low < chance + limits.dense_above_chance:
        return None
    score, known = 100 * (compressed.value or 0.0), f"(dense {100 * (dense.value or 0.0):.1f} %)"
    if compressed.high < chance:
        return f"score {score:.1f} % lies {at_chance(compressed.low, compressed.high, chance)} {known}"
    return f"score {score:.1f} % is no better than chance {100 * chance:.0f} % {known}"


def _broken(dense: AnswerState, compressed: AnswerState, limits: CollapseLimits) -> str | None:
    for key, words in (("empty", "empty"), ("unparsed", "unparseable"), ("repetitive", "looping")):
        share, before = getattr(compressed, key), getattr(dense, key)
        if share is None:
            continue
        least, most = _interval(share, compressed)[0], _interval(before or 0.0, dense)[1]
        if least < limits.broken or least < limits.broken_ratio * most:
            continue
        known = "" if before is None else f" (dense {100 * before:.0f} %)"
        return f"{100 * share:.0f} % of the answers are {words}{known}"
    return None
