"""Tasks with a closed set of labels, asked by two channels: a generated answer that is parsed, and likelihoods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.task import SHARE, Answer, Item, Marked, Metric, Scored, by_length, likeliest
from llmc.trust.machinery import panel
from llmc.trust.machinery.balance import mean_mark, scaled
from llmc.trust.machinery.questions import chosen, texts
from llmc.trust.scorers.parity import calibration_error

FEWEST_CHOICES = 20


class Reading(NamedTuple):
    """What the published rules make of one generated answer."""

    label: str | None
    """The label that it names; None: none, or several."""
    value: float | None
    """What it adds to the published mean; None: it is left out there."""
    refused: bool = False
    """Refused by the rules of this dimension."""


Read = Callable[[Item, str], Reading]


def named(item: Item, label: str | None) -> str | None:
    """The item's option that is `label`, whatever its case: behind demonstrations options have a capital."""
    return next((option for option in item.meta["options"] if label and option.lower() == label.lower()), None)


def exact(item: Item, text: str) -> Reading:
    """The option that the first line of `text` is, full stops apart: how the made-up world answers."""
    said = text.strip().split("\n")[0].strip().rstrip(".")
    label = next((option for option in item.meta["options"] if option.rstrip(".") == said), None)
    return Reading(label, float(label == item.gold))


def metrics(chance: float | None) -> dict[str, Metric]:
    """How to read the metrics of a closed task whose guesses score `chance`."""
    return {
        "acc_choice": Metric(kind="proportion", chance=chance, channel="likelihood"),
        "acc_choice_norm": Metric(kind="proportion", chance=chance, channel="likelihood"),
        "acc": Metric(kind="proportion", channel="text"),
        "acc_valid": Metric(kind="proportion", chance=chance),
        "calibration_error": Metric(direction="lower", kind="statistic", range=SHARE),
        **panel.METRICS,
    }


def judge(read: Read) -> Callable[[Item, Sequence[Answer]], Marked]:
    """Marks an item by `read` for what was generated, and by the likelihoods of its options.

    `acc` follows the published rules; `acc_valid` leaves out what names no label; `acc_choice` asks which option is
    likeliest, all its tokens together; `acc_choice_norm`, where options are free text, which is likeliest a character
    (lm-eval's `acc` and `acc_norm`); `p_right` is the probability of the right option; `said` is the index of the label
    that was named.
    """

    def mark(item: Item, answers: Sequence[Answer]) -> Marked:
        text = texts(item, answers)[0]
        options = list(item.meta["options"])
        seen, pick = panel.state(text), chosen(item, answers)
        reading = exact(item, text) if item.meta.get("exact") else read(item, text)
        right = options.index(str(item.gold))
        valid = seen.sound and reading.label is not None
        marks: dict[str, float | None] = {
            "acc": reading.value,
            "acc_valid": float(reading.label == item.gold) if valid else None,
            "acc_choice": _hit(pick.choice, right),
            "p_right": None if pick.probabilities is None else pick.probabilities[right],
            "valid": float(valid),
            "said": float(options.index(reading.label)) if reading.label in options else None,
        }
        rates = {}
        if item.meta["free_text"] and pick.choice is not None:
            rates["acc_choice_norm"] = by_length(pick.loglikelihoods or (), options)
            marks["acc_choice_norm"] = _hit(likeliest(rates["acc_choice_norm"]), right)
        flags = {
            "empty": seen.empty,
            "unparsed": reading.label is None,
            "refused": seen.refused or reading.refused,
            "repetitive": seen.repetitive,
        }
        return Marked(
            marks=marks,
            flags=flags,
            answer=text,
            choice=pick.choice,
            options=tuple(options),
            loglikelihoods=pick.loglikelihoods,
            by_mark=rates,
        )

    return mark


def _hit(choice: int | None, right: int) -> float | None:
    return None if choice is None else float(choice == right)


def summary(
    score: Callable[[Sequence[Scored]], Estimate] | None = None,
    extra: Callable[[Sequence[Scored]], Mapping[str, Estimate]] | None = None,
) -> Callable[[Sequence[Scored]], Mapping[str, Estimate]]:
    """The metrics of a closed task. `score` stands in for the usual one, `extra` adds metrics.

    The usual score is 100 times the balanced mean of `acc_choice` in `fixed`, of `acc` in `compat`; a model that
    collapsed has none in `fixed`.
    """

    def summarise(scored: Sequence[Scored]) -> dict[str, Estimate]:
        found = health(scored)
        fell = panel.collapsed(found, shown=shown(scored))
        found_metrics = {name: mean_mark(scored, name) for name in ("acc_choice", "acc", "acc_valid")}
        if any("acc_choice_norm" in row.marked.marks for row in scored):
            found_metrics["acc_choice_norm"] = mean_mark(scored, "acc_choice_norm")
        found_metrics["calibration_error"] = Estimate(calibration(scored), None, len(scored))
        found_metrics |= panel.estimates(found, fell=fell)
        if extra is not None:
            found_metrics |= extra(scored)
        compat = is_compat(scored)
        usual = scaled(found_metrics["acc" if compat else "acc_choice"], 100)
        final = usual if score is None else score(scored)
        found_metrics["score"] = Estimate(None, None, len(scored)) if fell and not compat else final
        return found_metrics

    return summarise


def is_compat(scored: Sequence[Scored]) -> bool:
    """Whether the items were asked in the published, broken way."""
    return bool(scored) and scored[0].item.meta["mode"] == "compat"


def health(scored: Sequence[Scored]) -> panel.Health:
    """What the generated answers are. Labels that are all alike while the right ones differ are no answers."""
    states = [panel.state(str(row.marked.answer)) for row in scored]
    said = [row.marked.marks["said"] for row in scored]
    texts_alike = panel.same([str(row.marked.answer) for row in scored])
    one = uniform(scored, said) or (texts_alike and not panel.alike([row.item.gold for row in scored]))
    refusals = [
        state._replace(refused=bool(row.marked.flags["refused"])) for state, row in zip(states, scored, strict=True)
    ]
    return panel.health(refusals, [label is not None for label in said], one_answer=one)


def uniform(scored: Sequence[Scored], answers: Sequence[float | int | None]) -> bool:
    """Whether every question gets the same answer, or every one with the same options, though the right ones differ.

    `answers`: an option's index for each item, None where it names none.
    """
    said = [
        (row.marked.options or ())[int(place)] for row, place in zip(scored, answers, strict=True) if place is not None
    ]
    if panel.alike(said) and not panel.alike([row.item.gold for row in scored]):
        return True
    groups: dict[tuple[str, ...], tuple[list[float], list[str | tuple[str, ...] | None]]] = {}
    for row, answer in zip(scored, answers, strict=True):
        if answer is not None:
            names, golds = groups.setdefault(row.marked.options or (), ([], []))
            names.append(answer)
            golds.append(row.item.gold)
    judged = [(names, golds) for names, golds in groups.values() if len(names) >= panel.FEWEST_ANSWERS]
    return bool(judged) and all(panel.alike(names) and not panel.alike(golds) for names, golds in judged)


def shown(scored: Sequence[Scored]) -> bool:
    """Whether the likelihoods prove that the model tells right from wrong: not one option always, and above chance.

    Above chance means by more than two standard errors of guessing.
    """
    rows = [row for row in scored if row.marked.choice is not None]
    if len(rows) < FEWEST_CHOICES or uniform(rows, [row.marked.choice for row in rows]):
        return False
    chance = [1 / len(row.marked.options or ("",)) for row in rows]
    hits = sum(row.marked.marks["acc_choice"] or 0.0 for row in rows)
    spread = sum(p * (1 - p) for p in chance)
    return bool(hits > sum(chance) + 2 * spread**0.5)


def calibration(scored: Sequence[Scored]) -> float | None:
    """The calibration error of the likeliest option's probability."""
    tops, hits = [], []
    for row in scored:
        right, logs, choice = row.marked.marks["acc_choice"], row.marked.loglikelihoods, row.marked.choice
        if right is None or choice is None:
            continue
        known = [value for value in logs or () if value is not None]  # all of them, where there is a choice
        tops.append(1 / sum(math.exp(value - known[choice]) for value in known))
        hits.append(int(right))
    return calibration_error(tops, hits)
