"""SVG elements from Python: every attribute and text escaped, classes instead of styles, so a strict page may show it.

Charts have no view box: x is in percent and y in pixels, so that they fill any width without stretching a letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from llmc.harmless import block

_RENAMED = {"class_": "class"}


def element(tag: str, /, *children: Markup | str, **attributes: str | float | None) -> Markup:
    """`<tag a="1">…</tag>`; an attribute that is None is left out, `_` in a name becomes `-`."""
    parts = [f"<{tag}"]
    for key, value in attributes.items():
        if value is not None:
            name = _RENAMED.get(key, key.replace("_", "-"))
            parts.append(f' {name}="{escape(_plain(value))}"')
    if not children:
        return Markup("".join(parts) + "/>")
    inner = "".join(str(child if isinstance(child, Markup) else escape(block(child))) for child in children)
    return Markup("".join(parts) + ">" + inner + f"</{tag}>")


def _plain(value: str | float) -> str:
    if isinstance(value, str):
        return block(value)
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def percent(share: float) -> str:
    """An x coordinate from a share of the width."""
    return f"{100 * share:.2f}%"


def drawing(label: str, height: int, *children: Markup, class_: str = "chart") -> Markup:
    """A whole drawing with its description for those who can't see it."""
    return element(
        "svg", *children, xmlns="http://www.w3.org/2000/svg", class_=class_, height=height, role="img", aria_label=label
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A line; x in shares of the width, y in pixels."""
    return element("line", x1=percent(x1), y1=y1, x2=percent(x2), y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str, *children: Markup) -> Markup:
    """A rectangle; x and width in shares of the width."""
    return element("rect", *children, x=percent(x), y=y, width=percent(max(width, 0.0)), height=height, class_=class_)


def text(x: float, y: float, content: str, class_: str, anchor: str = "middle") -> Markup:
    """A line of text."""
    return element("text", content, x=percent(x), y=y, class_=class_, text_anchor=anchor)


def title(content: str) -> Markup:
    """The words that a pointer shows."""
    return element("title", content)


def mark(x: float, y: float, code: str) -> Markup:
    """The point of a verdict: its shape tells it without colour."""
    shapes = {
        "kept": element("circle", r=5, class_="fill-kept"),
        "gained": element("path", d="M-6 5 0-6 6 5z", class_="fill-gained"),
        "lost": element("path", d="M-6-5 0 6 6-5z", class_="fill-lost"),
        "undecided": element("path", d="M-6 0 0-6 6 0 0 6z", class_="open-undecided"),
        "collapsed": element("path", d="M-5-5 5 5M-5 5 5-5", class_="stroke-collapsed"),
        "not-compared": element("path", d="M-5 0H5", class_="stroke-undecided"),
    }
    return element("svg", shapes[code], x=percent(x), y=y, overflow="visible")


class Axis(NamedTuple):
    """A range of values laid over the width, with a margin at both ends."""

    low: float
    high: float
    margin: float = 0.02

    def at(self, value: float) -> float:
        """The share of the width where a value stands; values outside stand at the edge."""
        inside = min(max(value, self.low), self.high)
        return self.margin + (1 - 2 * self.margin) * (inside - self.low) / (self.high - self.low)

    def ticks(self, most: int = 7) -> list[float]:
        """Round values inside the range, at most `most`."""
        span = self.high - self.low
        step = _round_step(span / most)
        first = int(-(-self.low // step))
        return [k * step for k in range(first, int(self.high // step) + 1)]


def _round_step(raw: float) -> float:
    size: float = 10.0 ** _exponent(raw)
    return next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw * (1 - 1e-9))


def _exponent(value: float) -> int:
    exponent = 0
    while value >= 10:
        value, exponent = value / 10, exponent + 1
    while 0 < value < 1:
        value, exponent = value * 10, exponent - 1
    return exponent


def axis_over(values: Sequence[float], at_least: float = 1.0) -> Axis:
    """An axis that holds 0 and all values, with some air, and isn't narrower than `at_least` on either side."""
    low, high = min([-at_least, *values]), max([at_least, *values])
    air = 0.04 * (high - low)
    return Axis(low - air, high + air)
