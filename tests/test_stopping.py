"""A signal ends a command with its code and its sentence, whatever has become of the KeyboardInterrupt."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmc.errors import Exit
from llmc.stopping import SENTENCE, heard, stoppable

ROOT = Path(__file__).parents[1]
SCRIPT = """
import atexit, hashlib, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs have it ignored
from llmc import cli, stopping
from llmc.commands.rendering import app as application

stopping.GRACE = float(sys.argv[3])
where, number, folder = sys.argv[1], int(sys.argv[2]), sys.argv[4]

def fire():
    os.kill(os.getpid(), number)
    for _ in range(1000):
        pass

def body(**_):
    if where == "swallowed, and the work goes on":
        try:
            fire()
        except BaseException:
            time.sleep(60)
    if where == "swallowed at the end":
        try:
            fire()
        except BaseException:
            return 0
    if where == "made an error of":
        try:
            fire()
        except BaseException:
            raise RuntimeError("what C code makes of it")
    if where == "inside C code":
        threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 400_000_000)
    if where == "in an exec":
        exec("fire()", {"fire": fire})
    if where == "twice":
        try:
            fire()
        finally:
            time.sleep(0.4)
            os.kill(os.getpid(), number)
            time.sleep(60)
    if where == "in a thread's join":
        threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
        worker = threading.Thread(target=time.sleep, args=(60,))
        worker.start()
        worker.join()
    if where == "in an import":
        sys.path.insert(0, folder)
        import interrupted
    return 0

if where == "behind the work":
    atexit.register(fire)
application.app = body
sys.argv = ["llmc", "tasks"]
cli.main()
"""
PLACES = (
    "swallowed, and the work goes on", "swallowed at the end", "made an error of", "inside C code", "in an exec",
    "in a thread's join", "in an import", "behind the work",
)  # fmt: skip


def ended(where, number, tmp_path, grace=1.0):
    (tmp_path / "interrupted.py").write_text(
        "import os, signal, sys\n"
        "try:\n    os.kill(os.getpid(), int(sys.modules['__main__'].number))\n    sum(range(10000))\n"
        "except BaseException as error:\n    raise ImportError('half of a module') from None\n"
    )
    command = [sys.executable, "-c", SCRIPT, where, str(int(number)), str(grace), str(tmp_path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", PLACES)
def test_a_signal_anywhere_is_one_sentence_and_its_code(where, number, tmp_path):
    ran = ended(where, number, tmp_path)
    assert (ran.returncode, ran.stderr) == (128 + number, SENTENCE + "\n")


def test_a_second_signal_ends_at_once(tmp_path):
    began = time.monotonic()
    ran = ended("twice", signal.SIGINT, tmp_path, grace=100.0)
    assert (ran.returncode, ran.stderr) == (130, SENTENCE + "\n") and time.monotonic() - began < 50


def test_a_job_that_is_told_to_ignore_ctrl_c_does(tmp_path):
    script = "import os, signal, sys\nsignal.signal(2, signal.SIG_IGN)\nos.execv(sys.executable, sys.argv[1:])"
    inner = SCRIPT.replace("signal.signal(signal.SIGINT, signal.default_int_handler)", "pass")
    command = [sys.executable, "-c", script, sys.executable, "-c", inner, "behind the work", "2", "1", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_in_a_callers_process_a_signal_is_remembered_and_the_handler_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stoppable() as stop:
        assert not heard()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        assert heard() and stop.code == Exit.TERMINATED
        os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing
        time.sleep(0.01)
    assert signal.getsignal(signal.SIGTERM) is before and not heard()
