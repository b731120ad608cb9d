"""Pictures of a report for the docs: the top of the page in light, dark and on a phone.

    python -m bench.report_screenshots docs/images demo/report/report.html

writes report.png, report-dark.png and report-phone.png, with a headless Chromium and the network off. Each shows the
page from its top to the end of the first run's tables, or as much of that as a picture of the docs should be tall.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.report.chromium import PROGRAM, Chromium

MOST_BYTES = 400_000
"""What one picture may take in the repository."""
PICTURES = {
    "report.png": {"width": 1100, "height": 1500, "scheme": "light"},
    "report-dark.png": {"width": 1100, "height": 1500, "scheme": "dark"},
    "report-phone.png": {"width": 390, "height": 1700, "scheme": "light"},
}


def take(report: Path, out: Path) -> list[Path]:
    """Writes the pictures of one report and gives their paths; raises `ValueError` where one is too large."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    # Chromium may still be writing its profile when it ends.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        chromium = Chromium(Path(folder))
        try:
            for name, wanted in PICTURES.items():
                page = chromium.open(report.resolve().as_uri(), **wanted)
                end = page.js(
                    "(document.querySelector('section.run details') || document.body).getBoundingClientRect().top"
                )
                height = min(wanted["height"], int(end) or wanted["height"])
                page.top(out / name, width=wanted["width"], height=height)
                size = (out / name).stat().st_size
                if size > MOST_BYTES:
                    raise ValueError(f"{name} has {size:,} bytes; {MOST_BYTES:,} are allowed")
                print(f"{out / name}: {wanted['width']} × {height}, {size:,} bytes")
                written.append(out / name)
        finally:
            chromium.close()
    return written


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("report", type=Path, metavar="REPORT")
    given = parser.parse_args()
    if PROGRAM is None:
        print("no chromium here: apt-get install chromium", file=sys.stderr)
        return 2
    if not given.report.is_file():
        print(f"no report at {given.report}: `make demo` writes demo/report/report.html", file=sys.stderr)
        return 2
    take(given.report, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
