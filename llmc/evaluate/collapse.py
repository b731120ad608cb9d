"""The collapse rule: when a model's answers to a task are no answers, so that its scores are no evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CollapseLimits:
    """From where on answers count as collapsed. Shares and scores lie in [0, 1]."""

    above_chance: float = 0.01
    """Collapsed when the score is shown to be at most this much above chance …"""
    dense_above_chance: float = 0.05
    """… while dense is shown to be at least this much above it."""
    one_option: float = 0.90
    """Collapsed when one option makes up this share of the answers …"""
    dense_one_option: float = 0.60
    """… while no option makes up more than this share of dense's."""
    broken: float = 0.20
    """Collapsed when this share of answers is empty, unparseable or looping …"""
    broken_ratio: float = 4.0
    """… and that is at least this many times dense's share."""
    perplexity_ratio: float = 5.0
    """Collapsed when perplexity is at least this many times dense's."""

    def __post_init__(self) -> None:
        shares = (self.above_chance, self.dense_above_chance, self.one_option, self.dense_one_option, self.broken)
        if not all(0 <= share <= 1 for share in shares):
            raise UserError("limits of [collapse] that are shares must lie between 0 and 1")
        if self.broken_ratio < 1 or self.perplexity_ratio <= 1:
            raise UserError("broken_ratio must be at least 1 and perplexity_ratio above 1")


@dataclass(frozen=True, kw_only=True)
class AnswerState:
    """What one run's answers to one task look like. Shares in [0, 1]; None where it was not measured."""

    low: float | None = None
    """Edges of the 95 % interval of the score, which is turned so that higher is better."""
    value: float | None = None
    high: float | None = None
    empty: float | None = None
    unparsed: float | None = None
    repetitive: float | None = None
    options: Mapping[str, float] | None = None
    """Share of the answers each option has."""
    perplexity: float | None = None
    not_finite: bool = False
    """Some log-likelihood or perplexity was NaN or infinite."""
    marked_collapsed: bool = False
    """The evaluation itself called the task collapsed."""


def collapse_reason(
    dense: AnswerState, compressed: AnswerState, chance: float | None, limits: CollapseLimits
) -> str | None:
    """Why the compressed model collapsed on the task, in words; None when it did not.

    Any one sign is enough. Source: report.md section 3, "Collapse rule".
    """
    if compressed.not_finite and not dense.not_finite:
        return "log-likelihoods are not finite numbers"
    if reason := _one_option(dense, compressed, limits):
        return reason + _at_chance_words(compressed, chance)
    if reason := _broken(dense, compressed, limits):
        return reason
    if dense.perplexity and compressed.perplexity is not None:
        ratio = compressed.perplexity / dense.perplexity
        if ratio >= limits.perplexity_ratio:
            return f"perplexity {ratio:.1f} × dense"
    if (
        chance is not None
        and dense.low is not None
        and compressed.high is not None
        and compressed.high <= chance + limits.above_chance
        and dense.low >= chance + limits.dense_above_chance
    ):
        return (
            f"score {100 * (compressed.value or 0.0):.1f} % is no better than chance {100 * chance:.0f} % "
            f"(dense {100 * (dense.value or 0.0):.1f} %)"
        )
    if compressed.marked_collapsed and not dense.marked_collapsed:
        return "the evaluation found its answers degenerate (dense's were not)"
    return None


def _one_option(dense: AnswerState, compressed: AnswerState, limits: CollapseLimits) -> str | None:
    if not dense.options or not compressed.options:
        return None
    # Ties go to the first name, so that the sentence doesn't depend on the order in a file.
    name, share = min(compressed.options.items(), key=lambda item: (-item[1], item[0]))
    if share < limits.one_option or max(dense.options.values()) > limits.dense_one_option:
        return None
    return f"Option {name} chosen in {100 * share:.0f} % (dense {100 * dense.options.get(name, 0.0):.0f} %)"


def _at_chance_words(compressed: AnswerState, chance: float | None) -> str:
    if chance is None or compressed.value is None:
        return ""
    return f", score {100 * compressed.value:.1f} % at chance {100 * chance:.0f} %"


def _broken(dense: AnswerState, compressed: AnswerState, limits: CollapseLimits) -> str | None:
    for key, words in (("empty", "empty"), ("unparsed", "unparseable"), ("repetitive", "looping")):
        share, before = getattr(compressed, key), getattr(dense, key)
        if share is None or share < limits.broken or share < limits.broken_ratio * (before or 0.0):
            continue
        known = "" if before is None else f" (dense {100 * before:.0f} %)"
        return f"{100 * share:.0f} % of the answers are {words}{known}"
    return None
