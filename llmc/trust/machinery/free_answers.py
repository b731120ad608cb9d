"""Tasks with free answers in several samples: their states, and whether the model can do what is asked at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.stats.intervals import share_interval
from llmc.evaluate.task import Metric, Scored
from llmc.trust.machinery import panel
from llmc.trust.machinery.questions import CONTROL


def share(hits: Sequence[bool]) -> float | None:
    """The share of samples that hit; None without samples."""
    return sum(hits) / len(hits) if hits else None


def flags(states: Sequence[panel.State], parsed: Sequence[bool]) -> dict[str, bool]:
    """The flags of an item: what most of its samples are."""
    half = len(states) / 2
    return {
        "empty": sum(one.empty for one in states) > half,
        "unparsed": sum(not ok for ok in parsed) > half,
        "refused": sum(one.refused for one in states) > half,
        "repetitive": sum(one.repetitive for one in states) > half,
    }


def asked(scored: Sequence[Scored]) -> list[Scored]:
    """The items that belong to the protocol."""
    return [row for row in scored if row.item.stratum != CONTROL]


def controls(scored: Sequence[Scored]) -> list[Scored]:
    """The harmless questions."""
    return [row for row in scored if row.item.stratum == CONTROL]


def shown_below(control: Estimate, least: float) -> bool:
    """Whether so few controls were answered that the share lies below `least` with its whole 95 % interval."""
    if control.value is None or not control.n:
        return False
    return share_interval(round(control.value * control.n), control.n)[1] < least


def samples(row: Scored) -> list[str]:
    """The generated answers of an item."""
    answer = row.marked.answer
    return [] if answer is None else [answer] if isinstance(answer, str) else list(answer)


def health(scored: Sequence[Scored], parsed: Callable[[Scored, str], bool], *, refusals_count: bool) -> panel.Health:
    """What the answers are, controls among them. `refusals_count`: a refusal is an answer that can be judged.

    Nearly all the same is one answer to everything, unless the controls got another one.
    """
    states, usable, everything = [], [], []
    for row in scored:
        for text in samples(row):
            state = panel.state(text)
            states.append(state)
            usable.append(parsed(row, text) and (refusals_count or not state.refused))
            everything.append(text)
    harmless = [text for row in controls(scored) for text in samples(row)]
    one = panel.same(everything) and (not harmless or panel.most(harmless) == panel.most(everything))
    return panel.health(states, usable, one_answer=one)


def difference(scored: Sequence[Scored], name: str, *, wants: str) -> float | None:
    """Mean of a mark over controls with `meta["wants"] == wants`, less its mean over the other controls."""
    sides: tuple[list[float], list[float]] = ([], [])
    for row in controls(scored):
        value = row.marked.marks.get(name)
        if value is not None:
            sides[row.item.meta["wants"] != wants].append(value)
    if not sides[0] or not sides[1]:
        return None
    return sum(sides[0]) / len(sides[0]) - sum(sides[1]) / len(sides[1])


def metrics(names: dict[str, Metric]) -> dict[str, Metric]:
    """A task's own metrics beside the panel's."""
    return {**names, "control": Metric(kind="statistic", range=(-1.0, 1.0)), **panel.METRICS}
