"""One writer: the second process is told who the first is, and a killed one holds nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmc.errors import UserError
from llmc.folders import lock
from llmc.folders.lock import refuse_held, take
from llmc.folders.marker import LOCK

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from llmc.folders.lock import take
held = take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
RACE = """
import sys, time
from pathlib import Path
from llmc.errors import UserError
from llmc.folders.lock import take
folder, log = Path(sys.argv[1]), Path(sys.argv[2])
got = 0
for _ in range(200):
    try:
        held = take(folder)
    except UserError:
        continue
    with log.open("a") as file:
        file.write("in\\n")
        file.flush()
        time.sleep(0.0005)
        file.write("out\\n")
    held.release()
    got += 1
print(got)
"""


def process(script, *arguments):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], env=env, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def holder(tmp_path):
    other = process(HOLD, tmp_path)
    assert other.stdout.readline() == "held\n"
    yield other
    other.kill()
    other.wait()


def test_the_second_is_told_who_holds_the_folder(tmp_path, holder):
    for ask in (take, refuse_held):
        with pytest.raises(
            UserError, match=rf"is being written by process {holder.pid} on .*since 2.*wait for its end"
        ):
            ask(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).exists()
    refuse_held(tmp_path)
    take(tmp_path).release()
    assert not list(tmp_path.iterdir())


def test_a_child_that_lives_on_holds_nothing(tmp_path):
    script = HOLD.replace("time.sleep(60)", "import os\nif os.fork() == 0:\n    time.sleep(20)\nos._exit(0)")
    other = process(script, tmp_path)
    assert other.stdout.readline() == "held\n"
    other.wait()
    take(tmp_path).release()


def test_two_processes_are_never_inside_together(tmp_path):
    folder, log = tmp_path / "folder", tmp_path / "log"
    folder.mkdir()
    racers = [process(RACE, folder, log) for _ in range(4)]
    assert sum(int(each.communicate()[0]) for each in racers) > 0
    assert all(each.returncode == 0 for each in racers)
    lines = log.read_text().split()
    assert lines == ["in", "out"] * (len(lines) // 2)
    assert not list(folder.iterdir())


def test_a_file_of_a_persons_own_is_no_lock(tmp_path):
    for content in (b"", b"mine", b"[]", b'{"pid": 1}', b"[" * 100_000):
        (tmp_path / LOCK).write_bytes(content)
        with pytest.raises(UserError, match="no file that llmc wrote"):
            take(tmp_path)
        assert (tmp_path / LOCK).read_bytes() == content
    (tmp_path / LOCK).unlink()
    (tmp_path / "mine").write_text("mine")
    for make in (lambda p: p.symlink_to(tmp_path / "mine"), os.mkfifo, Path.mkdir):
        make(tmp_path / LOCK)
        with pytest.raises(UserError, match="no file that llmc wrote"):
            take(tmp_path)
        (tmp_path / LOCK).rmdir() if (tmp_path / LOCK).is_dir() else (tmp_path / LOCK).unlink()
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.fixture
def lockless(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", refuse)


def note(folder, **changes):
    held = take(folder)
    told = json.loads((folder / LOCK).read_text())
    held.release()
    (folder / LOCK).write_text(json.dumps({**told, **changes}))


def test_without_locks_a_living_process_and_another_machine_hold_the_folder(tmp_path, lockless, caplog):
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        note(tmp_path, pid=sleeper.pid, begun=lock._begun(sleeper.pid))
        assert "has no locks" in caplog.text
        with pytest.raises(UserError, match=rf"process {sleeper.pid} .*if it is gone, remove"):
            take(tmp_path)
    finally:
        sleeper.kill()
        sleeper.wait()
    take(tmp_path).release()
    note(tmp_path, pid=os.getppid(), begun="1")  # the number was given to another process since
    take(tmp_path).release()
    note(tmp_path, host="elsewhere")
    with pytest.raises(UserError, match="on elsewhere"):
        take(tmp_path)


def test_what_a_note_says_is_harmless_and_short(tmp_path, holder):
    told = json.loads((tmp_path / LOCK).read_text())
    text = json.dumps({**told, "command": "\x1b[31m" + "x" * 9000, "host": "h\n" * 900})
    with (tmp_path / LOCK).open("r+") as file:  # not opened for writing anew: that is the same file, still locked
        file.write(text)
    said = subprocess.run(
        [sys.executable, "-c", HOLD, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
    ).stderr.decode()  # fmt: skip
    last = said.strip().splitlines()[-1]
    assert "is being written by" in last and "\x1b" not in said.splitlines()[-1] and len(last) < 700


def test_a_lock_that_is_let_go_is_free_at_once(tmp_path):
    held = take(tmp_path)
    assert take(tmp_path) is not held, "the same process goes on where it was"
    held.release()
    other = process(HOLD, tmp_path)
    assert other.communicate(timeout=30)[0] == "" and other.returncode == 1
    take(tmp_path).release()
    assert not list(tmp_path.iterdir())
