"""The outcomes of `llmc gate` in docs/gate.md: runs each command on the demo's runs and writes down what it printed.

    make demo && python -m bench.gate_outcomes demo docs/gate.md

What stands between the two markers in the page is replaced; nothing else is touched.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from llmc.version import __version__

START, END = "<!-- outcomes: python -m bench.gate_outcomes demo docs/gate.md -->", "<!-- outcomes end -->"
KNOWLEDGE = 'id = "knowledge", suite = "kick", level = "suite"'
RELATIVE = "{ relative = 0.05, floor_points = 2.0 }"
POLICIES = {
    "release.toml": f"""rule = [{{ {KNOWLEDGE}, tolerance = {RELATIVE} }}]
budget = [{{ id = "size", metric = "artifact_bytes", max_ratio = 0.6 }}]
""",
    "trust.toml": 'rule = [{ id = "trust", suite = "trust", level = "dimension", tolerance = { points = 3.0 } }]\n',
    "strict.toml": f"rule = [{{ {KNOWLEDGE}, tolerance = {{ points = 1.0 }} }}]\n",
    "wrong.toml": f"rule = [{{ {KNOWLEDGE}, tolerence = {{ points = 1.0 }} }}]\n",
}
COLUMNS = 140


GATE = "llmc gate demo/runs/dense"
SHORT = "llmc eval demo/models/gptq-4bit --suite kick --scale mini --limit 50 --out short"
CASES = [
    ("All that is asked is kept, and the model is small enough", f"{GATE} demo/runs/gptq-4bit --policy release.toml"),
    ("A loss is shown, and the model is too large", f"{GATE} demo/runs/wanda-50 --policy release.toml"),
    ("A collapse: some answers are no answers", f"{GATE} demo/runs/wanda-50 --policy trust.toml"),
    ("A tolerance that this many items can't settle", f"{GATE} demo/runs/gptq-4bit --policy strict.toml"),
    ("A mistake in the policy", f"{GATE} demo/runs/gptq-4bit --policy wrong.toml"),
    (f"Runs of different items; this one came from `{SHORT}`", f"{GATE} short --policy release.toml"),
]
"""(what it shows, command)."""


def llmc(command: str, folder: Path) -> tuple[str, int]:
    """What a command printed, stderr after stdout, and its exit code."""
    env = {**os.environ, "COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), env.get("PYTHONPATH", "")])
    argv = [sys.executable, "-m", "llmc", *shlex.split(command)[1:]]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True)
    return "\n".join(line.rstrip() for line in (done.stdout + done.stderr).strip().splitlines()), done.returncode


def outcomes(demo: Path, today: datetime.date) -> str:
    """The section: the policies, then each command with its whole output and exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "demo").symlink_to(demo.resolve(), target_is_directory=True)
        for file, text in POLICIES.items():
            (folder / file).write_text(text)
        made, code = llmc(SHORT, folder)
        if code:
            raise RuntimeError(made)
        parts = [f"On the runs of `make demo` (llmc {__version__}, {today}), with these policies:\n"]
        parts += [f"```toml\n# {file}\n{text}```\n" for file, text in POLICIES.items()]
        for said, command in CASES:
            output, code = llmc(command, folder)
            parts.append(f"{said}:\n\n```\n$ {command}\n{output}\nexit code {code}\n```\n")
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="the folder that `make demo` wrote")
    parser.add_argument("page", type=Path, help="docs/gate.md")
    given = parser.parse_args()
    head, start, rest = given.page.read_text(encoding="utf-8").partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        print(f"{given.page} has no section between {START} and {END}", file=sys.stderr)
        return 2
    written = outcomes(given.demo, datetime.datetime.now(tz=datetime.timezone.utc).date())
    given.page.write_text(f"{head}{START}\n{written}{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
