"""Seeded mutators: of JSON values, of bytes, and of what stands in a file's place."""

import copy
import json
import os
from pathlib import Path

DEEP = 100_000
NASTY = [
    None,
    True,
    False,
    "",
    "x",
    "576",
    "-1",
    "nan",
    "../../etc/passwd",
    "org/repo",
    -1,
    0,
    1,
    2,
    3.5,
    -0.5,
    10**6,
    10**9,
    2**31,
    2**63,
    10**30,
    -(10**30),
    1e308,
    1e-320,
    [],
    {},
    [[]],
    [None],
    ["x"],
    [0, -1],
    {"x": 1},
    "é" * 3,
    "\x1b[31m",
    "a" * 20_000,
    "\u202e",
    "%s%n",
    "{{ 7 * 7 }}",
    "line\nline",
]
"""Values that a key of another kind may get."""
RAW = ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, '"\\ud800"', "[" * DEEP + "]" * DEEP, '{"a":' * DEEP, "'x'"]
"""JSON texts, or what some take for JSON, that no Python value writes."""


def paths(value, at=()):
    """The places of all values inside a JSON value."""
    yield at
    if isinstance(value, dict):
        for key, each in value.items():
            yield from paths(each, (*at, key))
    elif isinstance(value, list):
        for place, each in enumerate(value[:8]):
            yield from paths(each, (*at, place))


def _parent(value, path):
    for part in path[:-1]:
        value = value[part]
    return value


def json_text(draw, value):
    """The text of a JSON value with one or two things wrong, and what was done, in words."""
    value = copy.deepcopy(value)
    done = []
    marks = {}
    for _ in range(draw.choice([1, 1, 1, 2])):
        places = [path for path in paths(value) if path]
        if not places:
            break
        path = draw.choice(places)
        holder, key = _parent(value, path), path[-1]
        how = draw.choice(["replace"] * 6 + ["raw", "raw", "delete", "rename", "number", "number", "wrap", "text"])
        old = holder[key]
        if how == "replace":
            holder[key] = draw.choice(NASTY)
        elif how == "raw":
            name = f"@@{len(marks)}@@"
            marks[name] = draw.choice(RAW)
            holder[key] = name
        elif how == "delete":
            del holder[key]
        elif how == "rename" and isinstance(holder, dict):
            holder[draw.choice([f"{key}x", "", "__proto__", key.upper() + "_"])] = holder.pop(key)
        elif how == "number" and type(old) in (int, float):
            holder[key] = draw.choice([old + 1, old - 1, -old, old * 1000, old * 10**12, old + 0.5, 0, old * 2])
        elif how == "wrap":
            holder[key] = draw.choice([[old], {"x": old}, str(old)])
        else:
            holder[key] = str(old)
        done.append(f"{how} {'.'.join(map(str, path))}"[:120])
    text = json.dumps(value, ensure_ascii=draw.choice([True, False]))
    for name, raw in marks.items():
        text = text.replace(f'"{name}"', raw)
    if draw.random() < 0.05 and text.startswith("{") and isinstance(value, dict) and value:
        key = draw.choice(list(value))
        text = f"{{{json.dumps(key)}: {json.dumps(draw.choice(NASTY))}, {text[1:]}"
        done.append(f"twice {key}")
    return text, " and ".join(done)


def raw_bytes(draw, content):
    """Other bytes than `content`, and what was done."""
    how = draw.choice(
        ["cut", "flip", "flip", "latin", "empty", "mark", "nul", "half", "swap", "utf16", "deep", "digits"]
    )
    n = len(content)
    if how == "cut":
        return content[: draw.randrange(n + 1)], how
    if how == "flip" and n:
        changed = bytearray(content)
        for _ in range(draw.choice([1, 1, 3, 50])):
            changed[draw.randrange(n)] ^= 1 << draw.randrange(8)
        return bytes(changed), how
    if how == "latin":
        at = draw.randrange(n + 1)
        return content[:at] + b"\xff\xfe\xe9" + content[at:], how
    if how == "mark":
        return b"\xef\xbb\xbf" + content, how
    if how == "nul":
        return content + b"\0" * 64, how
    if how == "half":
        return content + content[: n // 2], how
    if how == "swap":
        return content[n // 2 :] + content[: n // 2], how
    if how == "utf16":
        return content.decode("latin-1").encode("utf-16"), how
    if how == "deep":
        return b"[" * DEEP, how
    if how == "digits":
        return b"1" * 10_000, how
    return b"", "empty"


def in_its_place(draw, path: Path):
    """Puts something that is no plain file, or far too large, where `path` is; what was done."""
    how = draw.choice(["fifo", "folder", "loop", "zero", "sparse", "absent", "unreadable name"])
    path.unlink(missing_ok=True)
    if how == "fifo":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how == "loop":
        path.symlink_to(path.name)
    elif how == "zero":
        path.symlink_to("/dev/zero")
    elif how == "sparse":
        with path.open("wb") as file:
            file.truncate(6 * 10**9)
    elif how == "unreadable name":
        path.symlink_to("/proc/self/mem")
    return how
