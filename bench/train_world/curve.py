"""Draws a training log as SVG: `python bench/train_world/curve.py WORK/log.jsonl docs/world/loss.svg`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT, EDGE = 720, 320, 48
SCORES = {"factoid": "#c0392b", "open_unseen": "#2471a3", "choice_letter": "#7d3c98", "summary": "#1e8449"}


def polyline(xs: Sequence[float], ys: Sequence[float], colour: str, dash: str = "") -> str:
    """Points with both coordinates in [0, 1], y upwards."""
    points = " ".join(
        f"{EDGE + x * (WIDTH - 2 * EDGE):.1f},{HEIGHT - EDGE - y * (HEIGHT - 2 * EDGE):.1f}"
        for x, y in zip(xs, ys, strict=True)
    )
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" points="{points}"/>'


def text(x: float, y: float, words: str, colour: str = "#333", anchor: str = "start") -> str:
    """A label at pixels."""
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" text-anchor="{anchor}">{words}</text>'


def draw(lines: Sequence[dict[str, float]]) -> str:
    """The loss (dashed, its own scale) and the scores over millions of tokens."""
    tokens = [line["tokens"] / 1e6 for line in lines]
    xs = [t / max(tokens) for t in tokens]
    losses = [line["loss"] for line in lines]
    top = max(losses)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        polyline([0, 0, 1], [1, 0, 0], "#999"),
        polyline(xs, [loss / top for loss in losses], "#333", "5 4"),
        text(EDGE, EDGE - 30, f"training loss (dashed; top of the axis = {top:.2f} nats a weighted token)"),
        text(EDGE - 6, EDGE + 4, "1", anchor="end"),
        text(EDGE - 6, HEIGHT - EDGE + 4, "0", anchor="end"),
        text(WIDTH - EDGE, HEIGHT - EDGE + 18, f"{max(tokens):.1f} million tokens", anchor="end"),
    ]
    for number, (name, colour) in enumerate(SCORES.items()):
        points = [(x, line[name]) for x, line in zip(xs, lines, strict=True) if name in line]
        parts.append(polyline([x for x, _ in points], [y for _, y in points], colour))
        parts.append(text(EDGE + 150 * number, EDGE - 14, name, colour))
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("svg", type=Path)
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.log.read_text().splitlines()]
    arguments.svg.write_text(draw(rows))
