"""How a gap over several settings is read: signed, each setting by itself, or as llmc does; simulated verdicts.

PYTHONPATH=. python bench/gap_signs.py
"""

from __future__ import annotations

import numpy as np

from llmc.evaluate.stats.gaps import upright
from llmc.evaluate.stats.paired import paired_difference

SETTINGS, PEOPLE, DRAWS, MARGIN = 8, 200, 600, 0.03
WHO = np.tile(np.repeat([1.0, -1.0], PEOPLE // 2), SETTINGS)
NAMES = np.repeat(np.arange(SETTINGS), PEOPLE)
TURNS = np.tile([1.0, -1.0], SETTINGS // 2)
READINGS = {
    "signed": lambda marks: -marks if marks.mean() < 0 else marks,
    "each by itself": lambda marks: marks * np.where(np.bincount(NAMES, marks) < 0, -1.0, 1.0)[NAMES],
    "llmc": lambda marks: upright(marks, NAMES.tolist()),
}
CASES = {
    "fair, then fair": (0.0, 0.0),
    "fair, then 6 points to one side": (0.0, 0.06),
    "fair, then 10 points to either side by turns": (0.0, 0.10 * TURNS),
    "fair, then 5 points to either side by turns": (0.0, 0.05 * TURNS),
    "10 points to either side by turns, then fair": (0.10 * TURNS, 0.0),
}


def main() -> None:
    """Shares of kept and lost at 3 points, and the mean change found, a row a case and reading."""
    random = np.random.default_rng(0)
    for case, gaps in CASES.items():
        found: dict[str, list[tuple[float, bool, bool]]] = {name: [] for name in READINGS}
        for _ in range(DRAWS):
            base = np.clip(random.normal(0.5, 0.2, WHO.size), 0.15, 0.85)
            runs = []
            for gap in gaps:
                p = base + random.normal(0, 0.06, WHO.size) + WHO * np.broadcast_to(gap, SETTINGS)[NAMES] / 2
                runs.append(2 * WHO * np.clip(p, 0, 1))
            for name, read in READINGS.items():
                dense, other = (-read(marks) for marks in runs)
                d = paired_difference(dense, other, np.arange(WHO.size))
                assert d.low is not None and d.high is not None
                found[name].append((d.value, d.low > -MARGIN, d.high < -MARGIN))
        for name, rows in found.items():
            change, kept, lost = np.mean(rows, axis=0)
            print(f"{case:46} {name:15} change {100 * change:+6.1f}  kept {kept:4.0%}  lost {lost:4.0%}")


if __name__ == "__main__":
    main()
