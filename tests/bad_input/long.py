"""`python -m tests.bad_input.long N [SEED] [KIND…]`: N spoilt inputs of all kinds, and how they ended."""

import collections
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bad_input import arguments, bases
from tests.bad_input.kinds import KINDS, prepared
from tests.bad_input.runner import end_of


def say(line):
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(n, seed=0, only=()):
    """Prints a line a fault, and at the end how each kind ended."""
    kept = Path("/tmp/llmc-bad-input-bases")
    if not (kept / "done").exists():
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        bases.make(kept, lambda line: end_of(line).code)
        (kept / "done").touch()
    ends, faults = collections.Counter(), []
    names = [name for name in [*KINDS, "arguments"] if not only or name in only]
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(n):
            name = names[number % len(names)]
            draw = random.Random(f"{seed}/{name}/{number // len(names)}")
            place = Path(folder) / str(number)
            if name == "arguments":
                place.mkdir()
                line, done = arguments.line(draw, kept, place)
            else:
                line, done = prepared(draw, KINDS[name], kept, place)
            ended = end_of(line)
            slowest = max(slowest, ended.seconds)
            ends[name, ended.code] += 1
            if ended.fault is not None:
                faults.append(ended.fault)
                last = [
                    each
                    for each in (ended.said + ended.trace).splitlines()
                    if each.strip() and "please report" not in each
                ]
                told = f"{name} #{number} ({done}) {' '.join(line)[:160]}"
                say(f"FAULT {ended.fault}: {told}\n   {' | '.join(last[-3:])[:700]}")
            elif "-v" in sys.argv:
                told = ended.said.strip().splitlines()[-1:]
                say(f"{ended.code} {ended.seconds:.1f} {name} #{number} ({done}) {line[0]}: {told}"[:400])
            shutil.rmtree(place, ignore_errors=True)
            if number % 100 == 99:
                say(f"{number + 1} inputs, {len(faults)} faults")
    say(json.dumps({"n": n, "faults": collections.Counter(faults), "slowest_s": round(slowest, 1)}))
    for name in names:
        say(f"{name:30} { ({int(code): k for (kind, code), k in sorted(ends.items()) if kind == name}) }")


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "-v"]
    main(int(words[0]), int(words[1]) if len(words) > 1 else 0, words[2:])
