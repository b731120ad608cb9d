"""What was marked of a flipped item: the channel, its options with both models' likelihoods, or both texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from llmc.evaluate.stats.wording import number
from llmc.evaluate.task import Channel
from llmc.judging.comparison import Flipped, Option
from llmc.judging.pairs import NATS, TaskPair

CHANNELS: dict[Channel, str] = {
    "likelihood": "likelihood of the options",
    "text": "generated text",
    "perplexity": "perplexity of the text",
}
"""What a mark rests on, for people."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Likelihoods(NamedTuple):
    """An option with its joint log-likelihood by both models, in nats over all its tokens."""

    text: str
    dense: float | None
    compressed: float | None


@dataclass(frozen=True, kw_only=True)
class Text:
    """One item: what was asked, what is right, and what each model answered by the channel that was marked."""

    question: str
    gold: str
    dense: str
    compressed: str
    options: tuple[Likelihoods, ...] = ()
    """Empty where no options competed."""
    right: int | None = None
    """The place of the right option."""
    chosen_dense: int | None = None
    chosen_compressed: int | None = None
    wrote: tuple[str, str] | None = None
    """What both models wrote as well, where that was not what was marked."""

    def cut(self, most: int) -> Text:
        """The same with texts of at most `most` characters."""
        return replace(
            self,
            question=_cut(self.question, most),
            gold=_cut(self.gold, most),
            dense=_cut(self.dense, most),
            compressed=_cut(self.compressed, most),
            options=tuple(option._replace(text=_cut(option.text, most)) for option in self.options),
            wrote=None if self.wrote is None else (_cut(self.wrote[0], most), _cut(self.wrote[1], most)),
        )

    def as_dict(self) -> dict[str, Any]:
        """As plain data, the texts as they are; what an item does not have is left out."""
        plain: dict[str, Any] = {
            "question": self.question, "gold": self.gold, "dense": self.dense, "compressed": self.compressed,
        }  # fmt: skip
        if self.options:
            plain["options"] = [option._asdict() for option in self.options]
            plain |= {"right": self.right, "chosen_dense": self.chosen_dense}
            plain |= {"chosen_compressed": self.chosen_compressed}
        if self.wrote is not None:
            plain |= {"dense_wrote": self.wrote[0], "compressed_wrote": self.wrote[1]}
        return plain

    def as_plain(self) -> dict[str, Any]:
        """The fields of a `Flipped`, halves of characters replaced: JSON for programs holds none."""
        return {
            "question": plain_text(self.question),
            "gold": plain_text(self.gold),
            "dense": plain_text(self.dense),
            "compressed": plain_text(self.compressed),
            "options": [Option(text=plain_text(name), dense=a, compressed=b) for name, a, b in self.options],
            "right": self.right,
            "chosen_dense": self.chosen_dense,
            "chosen_compressed": self.chosen_compressed,
        }


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"


def plain_text(text: str) -> str:
    """Text without halves of characters, which UTF-8 can't write."""
    return text.encode("utf-8", "replace").decode()


def text_of(pair: TaskPair, left: Mapping[str, Any], right: Mapping[str, Any]) -> Text:
    """The item of dense's and compressed's sample lines, by the channel that the task's primary metric marks."""
    question, gold = str(left.get("question") or left.get("prompt") or ""), _joined(left.get("gold"))
    wrote = _joined(left.get("answer")), _joined(right.get("answer"))
    plain = Text(question=question, gold=gold, dense=wrote[0], compressed=wrote[1])
    if pair.channel == "perplexity":
        shown = tuple(_perplexity(line["marks"].get(NATS)) for line in (left, right))
        return replace(plain, dense=shown[0], compressed=shown[1])
    names = [str(name) for name in left.get("options") or ()]
    if pair.channel != "likelihood" or not names:
        return plain
    place, lettered = _right(left.get("gold"), names)
    named = [f"{_LETTERS[i]}. {name}" if lettered else name for i, name in enumerate(names)]
    known = [_numbers(line.get("loglikelihoods"), len(names)) for line in (left, right)]
    first, second = left.get("choice"), right.get("choice")
    return Text(
        question=question,
        gold=gold if place is None else named[place],
        dense="none" if first is None else named[first],
        compressed="none" if second is None else named[second],
        options=tuple(Likelihoods(*option) for option in zip(named, *known, strict=True)),
        right=place,
        chosen_dense=first,
        chosen_compressed=second,
        wrote=wrote if any(wrote) else None,
    )


def _numbers(found: Sequence[float | None] | None, n: int) -> list[float | None]:
    """One number an option, of five significant digits, which is all that anybody reads."""
    if found is None or len(found) != n:
        return [None] * n
    return [None if value is None else float(f"{value:.5g}") for value in found]


def _right(gold: object, names: Sequence[str]) -> tuple[int | None, bool]:
    """The place of the right option, by its text, its letter or its number, and whether it was by its letter."""
    golds = gold if isinstance(gold, list) else [gold]
    bare = [name.strip().rstrip(".") for name in names]
    for each in golds:
        text = str(each).strip().rstrip(".")
        if text in bare:
            return bare.index(text), False
        if len(text) == 1 and text in _LETTERS[: len(names)]:
            return _LETTERS.index(text), True
        if text.isascii() and text.isdigit() and int(text) < len(names):
            return int(text), False
    return None, False


def _perplexity(nats: float | None) -> str:
    return "none" if nats is None else f"perplexity {math.exp(min(nats, 700.0)):.4g}"


def _joined(value: object) -> str:
    if isinstance(value, list):
        return " | ".join(str(part) for part in value)
    return "" if value is None else str(value)


def option_lines(item: Flipped | Text, *, named: bool = True) -> list[str]:
    """`A. mason: −0.64 → −3.02; gold, dense's choice`, an option each: joint log-likelihoods, dense → compressed.

    `named` False leaves the options' texts out.
    """
    lines = []
    options: Sequence[Option | Likelihoods] = item.options
    for place, option in enumerate(options):
        marks = [
            words
            for words, at in (
                ("gold", item.right),
                ("dense's choice", item.chosen_dense),
                ("compressed's choice", item.chosen_compressed),
            )
            if at == place
        ]
        name = option.text if named else f"option {place + 1}"
        told = f"{name}: {_nats(option.dense)} → {_nats(option.compressed)}"
        lines.append(f"{told}; {', '.join(marks)}" if marks else told)
    return lines


def _nats(value: float | None) -> str:
    return "none" if value is None else number(value, 2)
