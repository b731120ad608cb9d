"""What went wrong with answers as answers: empty, cut off, going in circles. The same for every task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from llmc.evaluate.collapse import MIN_ITEMS
from llmc.evaluate.engine.endings import says_something
from llmc.evaluate.stats.intervals import share_interval
from llmc.evaluate.task import FLAGS, Answer, Marked

MIN_WORDS = 16
"""Shorter texts can't be told to go in circles."""
MIN_CHARACTERS = 64
LOOP = 0.5
"""A text goes in circles when fewer than this share of its 4-grams are different ones."""
BROKEN = 0.5
"""Share of answers shown to be empty, unparsed or going in circles, from which on a task has collapsed."""
ONE_OPTION = 0.9
"""Share of answers shown to name the same option, from which on a task has collapsed."""


def repetitive(text: str) -> bool:
    """Whether a text goes in circles: most of its 4-grams of words recur.

    Of characters, where it has few words, or where one word without end is most of it.
    """
    words: Sequence[str] = text.split()
    longest = max(words, key=len, default="")
    if len(words) < MIN_WORDS or 2 * len(longest) > len(text):
        words = text.strip() if len(words) < MIN_WORDS else longest
        if len(words) < MIN_CHARACTERS:
            return False
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return len(set(grams)) / len(grams) < LOOP


def flags_of(marked: Marked, answers: Sequence[Answer]) -> dict[str, bool]:
    """All flags of an item: the task's own, and what the answers themselves show where the task says nothing.

    An item with several texts has a flag when any of them has; it is empty only when all of them are. A text without a
    letter or digit is empty.
    """
    texts = [answer.text for answer in answers if answer.text is not None]
    found = {
        "empty": bool(texts) and not any(says_something(text) for text in texts),
        "overflowed": any(bool(answer.overflowed) for answer in answers),
        "truncated": any(bool(answer.truncated) for answer in answers),
        "repetitive": any(repetitive(text) for text in texts),
    }
    return {flag: bool(marked.flags.get(flag, found.get(flag, False))) for flag in FLAGS}


def panel(flags: Sequence[Mapping[str, bool]], *, has_texts: bool) -> dict[str, float | int | None]:
    """The share of items with each flag; None where a task has no text that could have it.

    `collapsed` is the share of answers that are no answer: empty, unparsed or going in circles.
    """
    n = len(flags)
    share: dict[str, float | int | None] = {"n": n}
    for flag in FLAGS:
        applies = n > 0 and (has_texts or flag == "overflowed")
        share[flag] = sum(each[flag] for each in flags) / n if applies else None
    broken = sum(each["empty"] or each["unparsed"] or each["repetitive"] for each in flags)
    share["collapsed"] = broken / n if n and has_texts else None
    return share


def option_shares(marked: Sequence[Marked]) -> dict[str, float] | None:
    """How often each place among the options was chosen, by letter; None for tasks without options."""
    chosen = [each for each in marked if each.options]
    if not chosen:
        return None
    width = max(len(each.options or ()) for each in chosen)
    counts = Counter(each.choice for each in chosen if each.choice is not None)
    return {chr(ord("A") + i): counts[i] / len(chosen) for i in range(width)}


def collapsed(share: Mapping[str, float | int | None], options: Mapping[str, float] | None) -> bool:
    """Whether the answers are so broken that no score of theirs means anything: shown by a 95 % interval of the share.

    Fewer than `collapse.MIN_ITEMS` items never show it.
    """
    n = int(share["n"] or 0)
    if n < MIN_ITEMS:
        return False
    broken = share["collapsed"]
    one = options is not None and len(options) > 1 and _at_least(max(options.values()), n) >= ONE_OPTION
    return one or (broken is not None and _at_least(broken, n) >= BROKEN)


def _at_least(share: float, n: int) -> float:
    return share_interval(round(share * n), n)[0]
