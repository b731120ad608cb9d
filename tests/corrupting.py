"""Kills work at a random write and damages what it left: bits, lengths, lines, whole files."""

import os
import random
import shutil
import signal
from pathlib import Path

from llmc.errors import UserError, disk_sentence

TRIALS = int(os.environ.get("LLMC_CORRUPTIONS", "12"))
"""How many trials a test makes; the figures in docs/reliability.md have more."""
FOLDERS = (".llmc-folder.json", ".llmc-lock")
"""What says whose folder it is and who writes there: no part of a result."""


def killed(work, at):
    """Runs `work` in another process, which gets SIGKILL at its write number `at`; whether it lived to its end."""
    child = os.fork()
    if child == 0:
        n, fsync = 0, os.fsync

        def counted(descriptor):
            nonlocal n
            n += 1
            if n == at:
                os.kill(os.getpid(), signal.SIGKILL)
            fsync(descriptor)

        os.fsync = counted
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status)


def writes(work):
    """Runs `work`; how often it waited for the disk, each of which is a moment at which `killed` can strike."""
    n, fsync = 0, os.fsync

    def counted(descriptor):
        nonlocal n
        n += 1
        fsync(descriptor)

    os.fsync = counted
    try:
        work()
    finally:
        os.fsync = fsync
    return n


def damage(folder, rng):
    """Damages one thing in the folder; says what. None where it holds no file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FOLDERS[1])
    if not files:
        return None
    # A name in ten files of one kind shouldn't hide the one journal.
    kinds = sorted({_kind(path) for path in files})
    kind = rng.choice(kinds)
    path = rng.choice([path for path in files if _kind(path) == kind])
    ways = [flip, digit, truncate, cut_front, empty, remove, garbage, torn_tail, zeros, exchange, older]
    if path.suffix in (".jsonl", ".json"):
        ways += [drop_line, move_line, twice, flip, digit]
    way = rng.choice(ways)
    way(path, rng)
    return f"{way.__name__} {path.relative_to(folder)}"


def _kind(path):
    return "".join("0" if letter.isdigit() else letter for letter in path.name)


def outcome(work):
    """What `work` gives, or the sentence that it refuses with; anything else that it raises is a bug."""
    try:
        return work(), None
    except UserError as error:
        return None, str(error)
    except OSError as error:
        if (sentence := disk_sentence(error)) is None:
            raise
        return None, sentence


def flip(path, rng):
    content = bytearray(path.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)


def digit(path, rng):
    """Another digit where one stands: JSON that still reads."""
    content = bytearray(path.read_bytes())
    places = [i for i, byte in enumerate(content) if 48 <= byte <= 57]
    if places:
        content[rng.choice(places)] = 48 + rng.randrange(10)
        path.write_bytes(content)


def truncate(path, rng):
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) + 1)])


def cut_front(path, rng):
    content = path.read_bytes()
    path.write_bytes(content[rng.randrange(len(content) + 1) :])


def torn_tail(path, rng):
    content = path.read_bytes()
    path.write_bytes(content[: max(0, len(content) - rng.randrange(1, 40))])


def empty(path, rng):
    path.write_bytes(b"")


def remove(path, rng):
    path.unlink()


def garbage(path, rng):
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.randrange(1, 60)) + rng.choice([b"", b"\n"]))


def zeros(path, rng):
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content) + 1)
    stop = min(len(content), start + rng.randrange(1, 4097))
    content[start:stop] = bytes(stop - start)
    path.write_bytes(content)


def exchange(path, rng):
    """The contents of two files of one folder change places."""
    others = sorted(other for other in path.parent.iterdir() if other.is_file() and other != path)
    if others:
        other = rng.choice(others)
        one, two = path.read_bytes(), other.read_bytes()
        path.write_bytes(two)
        other.write_bytes(one)


def older(path, rng):
    """A copy of another file of the folder in the place of this one."""
    others = sorted(other for other in path.parent.iterdir() if other.is_file())
    shutil.copyfile(other, path) if (other := rng.choice(others)) != path else None


def drop_line(path, rng):
    _lines(path, lambda lines: lines.pop(rng.randrange(len(lines))))


def move_line(path, rng):
    _lines(path, lambda lines: lines.insert(rng.randrange(len(lines)), lines.pop(rng.randrange(len(lines)))))


def twice(path, rng):
    _lines(path, lambda lines: lines.insert(rng.randrange(len(lines)), rng.choice(lines)))


def _lines(path, change):
    lines = path.read_bytes().splitlines(keepends=True)
    if lines:
        change(lines)
        path.write_bytes(b"".join(lines))


def trials(seed):
    """A random generator for each trial, so that one that fails can be made again alone."""
    for trial in range(TRIALS):
        yield trial, random.Random(f"{seed}-{trial}")


def contents(folder, without=()):
    """The bytes of every file of a folder by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name not in without
    }
