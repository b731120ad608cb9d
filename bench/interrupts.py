"""Interrupts commands at random instants, from the start of the process to its end, and says how each ended.

    python bench/interrupts.py --trials 64 --work /tmp/interrupts

compress, eval, run and compare work on the model inside the package. Each is run whole once; then SIGINT and SIGTERM,
in turn, are sent after a random share of that time. Prints a line for every trial that did not end with 130 (SIGINT) or
143 (SIGTERM), its sentence once and no traceback, then the counts. Instants before llmc's own first line, while the
interpreter starts, are counted for themselves: the signal ends the process as any other of Python's.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

SENTENCE = "llmc: interrupted; what is finished is kept"
NOISE = ("Traceback", "Exception ignored", "KeyboardInterrupt", "Error")
SHORT = ["--tasks", "factoid_qa,perplexity", "--scale", "mini", "--limit", "2", "--device", "cpu"]
COMMANDS = {
    "compress": ["compress", "mini", "--method", "gptq", "--bits", "4", "--group-size", "32", "--samples", "8",
                 "--seq-len", "64", "--out", "OUT"],
    "eval": ["eval", "mini", *SHORT, "--out", "OUT"],
    "run": ["run", "mini", "--recipe", "r.yaml", *SHORT, "--out", "OUT"],
    "compare": ["compare", "dense", "other", "--out", "OUT"],
}  # fmt: skip
START = 0.5
"""Seconds that the interpreter may take before it runs a line of llmc."""


def start(command: list[str], out: str, work: Path) -> subprocess.Popen[str]:
    """The command in a process of its own, with its output to read."""
    words = [out if word == "OUT" else word for word in command]
    return subprocess.Popen(
        [sys.executable, "-m", "llmc", *words], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip


def prepare(work: Path) -> None:
    """Two runs to compare and a recipe."""
    (work / "r.yaml").write_text("stages:\n- {method: rtn, bits: 4, group_size: 32}\n")
    for name in ("dense", "other"):
        if not (work / name).exists():
            ran = start(["eval", "mini", *SHORT, "--out", "OUT"], name, work)
            if ran.wait():
                raise SystemExit(f"eval ended with {ran.returncode}: {ran.communicate()[1]}")


def trial(command: list[str], work: Path, number: signal.Signals, after: float, twice: bool) -> tuple[str, float, str]:
    """How it ended in a word, the seconds from the signal to the end, and what it said."""
    ran = start(command, "out", work)
    time.sleep(after)
    if ran.poll() is not None:
        ran.communicate()
        return "finished before", 0.0, ""
    ran.send_signal(number)
    sent = time.monotonic()
    if twice:
        time.sleep(0.5)
        ran.send_signal(number)
    said = ran.communicate()[1]
    took = time.monotonic() - sent
    if SENTENCE not in said and (ran.returncode == -number or "site module" in said) and after < START:
        return "before llmc's first line", took, said
    right = ran.returncode == 128 + number and said.count(SENTENCE) == 1 and not any(word in said for word in NOISE)
    return ("right" if right else f"WRONG: {ran.returncode}"), took, said


def main() -> None:
    """Runs all trials; exit code 1 if one ended wrongly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--twice", action="store_true", help="Send the signal again half a second later.")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored, and we with it
    asked.work.mkdir(parents=True, exist_ok=True)
    prepare(asked.work)
    rng, ends, slowest, seconds = random.Random(asked.seed), Counter[str](), 0.0, {}
    for name, command in COMMANDS.items():
        shutil.rmtree(asked.work / "out", ignore_errors=True)
        began = time.monotonic()
        start(command, "out", asked.work).communicate()
        seconds[name] = time.monotonic() - began
    for i in range(asked.trials):
        name = list(COMMANDS)[i % len(COMMANDS)]
        number = (signal.SIGINT, signal.SIGTERM)[(i // len(COMMANDS)) % 2]
        shutil.rmtree(asked.work / "out", ignore_errors=True)
        after = rng.random() * seconds[name]
        end, took, said = trial(COMMANDS[name], asked.work, number, after, asked.twice)
        ends[end] += 1
        slowest = max(slowest, took)
        if end.startswith("WRONG"):
            print(f"{name}, {number.name} after {after:.2f} s: {end}\n{said}", flush=True)
    whole = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    print(f"{asked.trials} trials (whole: {whole}): {dict(ends)}; slowest end {slowest:.1f} s after its signal")
    sys.exit(any(end.startswith("WRONG") for end in ends))


if __name__ == "__main__":
    main()
