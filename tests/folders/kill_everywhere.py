"""Kills an overwriting compression at its 1st, 2nd, … change of a file or folder, and looks at what is left.

    python -m tests.folders.kill_everywhere [--step 1] [--report]

At every instant the old result or the new one is whole, and `--resume` ends in the new one. `--report` does the same
with a report. Prints a line of JSON with how often each was found.
"""

import argparse
import collections
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from llmc.compress.run import compress
from llmc.errors import UserError
from llmc.folders.foreign import first_foreign
from llmc.folders.output import State, look
from llmc.judging.judge import compare
from llmc.judging.policy_file import load_policy
from llmc.models.tiny import save_tiny
from llmc.report.page import PageOptions
from llmc.report.write import write_report
from llmc.runs.reader import load_run
from tests.compress.jobs import job, quiet, weights
from tests.report.conftest import NOW
from tests.report.made_up_runs import write_family

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "ctypes.dlsym"}


def ended(work):
    """The exit code of a forked process that does `work`: 0, 1 for a `UserError`. This one computes nothing itself."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 3
    try:
        work()
        code = 0
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def killed_at(number, top, work):
    """Whether a process that does `work` came to its change `number`, before which it is killed."""
    return ended(lambda: _watched(number, top, work)) == -signal.SIGKILL


def _watched(number, top, work):
    count = 0

    def watch(event, arguments):
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or (writes and str(arguments[0]).startswith(str(top))):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    work()


def compressions(top):
    """(make the old result, replace it, go on, what is in the folder) of a small compression."""
    ended(lambda: save_tiny("llama", top / "dense", num_hidden_layers=2))
    kind = "compress"

    def do(share, **how):
        compress(job(top, "place/out", settings={"sparsity": share}, **how), quiet)

    return kind, lambda: do(0.5), lambda: do(0.25, overwrite=True), lambda: do(0.25, resume=True), weights


def reports(top):
    """The same of a report."""
    dense, others = write_family(top, n=20)
    out = top / "place/out"

    def do(redact, overwrite):
        made = compare(load_run(dense), [load_run(others[0])], load_policy(None), now=NOW, command="")
        write_report(made, out, PageOptions(redact=redact), overwrite=overwrite)

    def content(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}

    return "report", lambda: do(False, False), lambda: do(True, True), lambda: do(True, True), content


def main(step, which):
    """How many of the kills found each state; stops at the first that found another."""
    found = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        kind, first, replace, go_on, content = which(top)
        out = top / "place/out"
        assert ended(first) == 0
        old = content(out)
        shutil.copytree(top / "place", top / "kept")
        assert ended(replace) == 0
        new = content(out)
        assert old != new
        number, came = 1, True
        while came:
            shutil.rmtree(top / "place")
            shutil.copytree(top / "kept", top / "place")
            came = killed_at(number, top, replace)
            state, marker = look(out, kind)
            now = content(out)
            assert state is State.FINISHED and now in (old, new), f"change {number}: {state}, neither old nor new"
            assert first_foreign(out, marker) is None, f"change {number}: {first_foreign(out, marker)}"
            found["old" if now == old else "new"] += 1
            if ended(go_on) == 1:  # killed before anything of the new one was there
                assert now == old and ended(replace) == 0, f"change {number}"
                found["begun anew"] += 1
            assert content(out) == new, f"change {number}: not the new one at last"
            assert [path.name for path in (top / "place").iterdir()] == ["out"], f"change {number}: leftovers"
            number += step
    return {"kills": (number - 1) // step - 1, **found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    sys.stdout.write(json.dumps(main(given.step, reports if given.report else compressions)) + "\n")
