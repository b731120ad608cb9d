"""The kinds of input: which file of which sound folder is spoilt, how, and the commands that read it."""

import json
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from tests.bad_input import mutate

DRY = ["compress", "{model}", "-o", "{out}", "-m", "rtn", "--bits", "4", "--group-size", "32", "--dry-run"]
COMPRESS = [each for each in DRY if each != "--dry-run"]
CALIBRATED = [
    "compress",
    "{model}",
    "-o",
    "{out}",
    "-m",
    "wanda",
    "--calibration",
    "{text}",
    "--samples",
    "2",
    "--seq-len",
    "16",
]
ASK = ["eval", "{model}", "-o", "{out}", "--tasks", "kick/perplexity", "--scale", "mini", "--limit", "1", "--no-chat"]
CHAT = ["eval", "{model}", "-o", "{out}", "--tasks", "kick/instruction_following", "--scale", "mini", "--limit", "1"]
COMPARE = ["compare", "{dense}", "{run}"]
GATE = ["gate", "{dense}", "{run}", "--policy", "{policy}"]
REPORT = ["compare", "{dense}", "{run}", "-o", "{out}"]


@dataclass(frozen=True)
class Kind:
    """A file `name` of the base folder `base`, given to commands as `{role}`."""

    base: str
    name: str
    role: str
    lines: tuple
    form: str = "json"


KINDS = {
    "header": Kind("model", "model.safetensors", "model", (DRY, COMPRESS, ASK), "header"),
    "packed header": Kind("compressed-tensors", "model.safetensors", "model", (ASK, ["inspect", "{model}"]), "header"),
    "config": Kind("model", "config.json", "model", (DRY, COMPRESS, ASK, CALIBRATED)),
    "generation settings": Kind("model", "generation_config.json", "model", (COMPRESS, ASK, CHAT)),
    "tokenizer": Kind("model", "tokenizer.json", "model", (CALIBRATED, ASK)),
    "tokenizer settings": Kind("model", "tokenizer_config.json", "model", (CALIBRATED, ASK, CHAT)),
    "index": Kind("sharded", "model.safetensors.index.json", "model", (DRY, ASK)),
    "compressed-tensors settings": Kind("compressed-tensors", "config.json", "model", (ASK, DRY)),
    "gptq settings": Kind("gptq", "config.json", "model", (ASK,)),
    "awq settings": Kind("awq", "config.json", "model", (ASK,)),
    "factors settings": Kind("factors", "config.json", "model", (ASK,)),
    "gptq header": Kind("gptq", "model.safetensors", "model", (ASK,), "header"),
    "factors header": Kind("factors", "model.safetensors", "model", (ASK,), "header"),
    "compression's manifest": Kind("compressed-tensors", "llmc_manifest.json", "model", (["inspect", "{model}"], ASK)),
    "run's manifest": Kind(
        "run",
        "manifest.json",
        "run",
        (
            COMPARE,
            GATE,
            REPORT,
            ["baseline", "save", "x", "{run}", "--folder", "{out}"],
            ["rescore", "{run}", "--scorer", "v0", "-o", "{out}"],
        ),
    ),
    "dense run's manifest": Kind(
        "dense", "manifest.json", "dense", (COMPARE, GATE, ["baseline", "save", "x", "{dense}", "--folder", "{out}"])
    ),
    "results": Kind(
        "run", "results.json", "run", (COMPARE, GATE, REPORT, ["rescore", "{run}", "--scorer", "v0", "-o", "{out}"])
    ),
    "dense results": Kind("dense", "results.json", "dense", (COMPARE, GATE)),
    "samples": Kind("run", "samples/kick/multiple_choice_qa.jsonl", "run", (COMPARE, GATE, REPORT), "lines"),
    "trust samples": Kind(
        "run",
        "samples/trust/ethics.jsonl",
        "run",
        (REPORT, ["rescore", "{run}", "--scorer", "v1", "-o", "{out}"]),
        "lines",
    ),
    "perplexity samples": Kind("dense", "samples/kick/perplexity.jsonl", "dense", (COMPARE, REPORT), "lines"),
    "timings": Kind("run", "bench.json", "run", (COMPARE, GATE)),
    "baseline": Kind(
        "baselines",
        "first.json",
        "baselines",
        (
            ["gate", "--baseline", "first", "{run}", "--baselines", "{baselines}"],
            ["baseline", "list", "--folder", "{baselines}"],
        ),
    ),
    "policy": Kind(".", "gate.toml", "policy", (GATE, ["gate", "--policy", "{policy}", "--check-policy"]), "words"),
    "recipe": Kind(
        ".",
        "recipe.yaml",
        "recipe",
        (
            [
                "compress",
                "{model}",
                "-o",
                "{out}",
                "--dry-run",
                "--recipe",
                "{recipe}",
                "--calibration",
                "{text}",
                "--samples",
                "2",
                "--seq-len",
                "16",
            ],
        ),
        "words",
    ),
    "text": Kind("texts", "text.txt", "text", (CALIBRATED,), "bytes"),
    "json lines": Kind("texts", "text.jsonl", "text", (CALIBRATED,), "lines"),
    "csv": Kind("texts", "text.csv", "text", (CALIBRATED,), "words"),
    "parquet": Kind("texts", "text.parquet", "text", (CALIBRATED,), "bytes"),
    "word list": Kind(
        "texts",
        "words.txt",
        "words",
        (["rescore", "{run}", "--scorer", "toxicity=words:{words}", "-o", "{out}"],),
        "bytes",
    ),
}
DEFAULTS = {
    "model": "model",
    "dense": "dense",
    "run": "run",
    "policy": "gate.toml",
    "recipe": "recipe.yaml",
    "text": "texts/text.txt",
    "baselines": "baselines",
    "words": "texts/words.txt",
}
WORDS = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e999",
    "9" * 30,
    "true",
    "null",
    "''",
    '"',
    "[",
    "]",
    "{",
    "}",
    ": ",
    "&a [*a, *a]",
    "*a",
    "!!python/object:os.system",
    "\x00",
    "\x1b[2J",
    "é",
    "\u202e",
    "1.5.2",
    "2024-99-99",
    "- ",
    "# ",
    "x" * 5000,
    "=",
    "[[",
    "]]",
    "kick/multiple_choice",
    "knowlege",
    "2:4",
    "~",
    "{{x}}",
    "\\ud800",
    "\n",
    "\n\n",
    "\t",
]


def spoil(draw, kind: Kind, path: Path) -> str:
    """Spoils the file at `path`; what was done, in words."""
    if draw.random() < 0.06:
        return mutate.in_its_place(draw, path)
    content = path.read_bytes()
    if kind.form == "bytes" or draw.random() < 0.12:
        changed, done = mutate.raw_bytes(draw, content)
    elif kind.form == "header":
        changed, done = _header(draw, content)
    elif kind.form == "lines":
        rows = content.decode().splitlines()
        place = draw.randrange(len(rows))
        rows[place], done = mutate.json_text(draw, json.loads(rows[place]))
        if draw.random() < 0.2:
            rows.append(rows[draw.randrange(len(rows))])
            done += " and a line twice"
        changed = "\n".join(rows).encode("utf-8", "surrogatepass") + b"\n"
    elif kind.form == "words":
        changed, done = _words(draw, content.decode())
    else:
        text, done = mutate.json_text(draw, json.loads(content))
        changed = text.encode("utf-8", "surrogatepass")
    path.write_bytes(changed)
    return done


def _header(draw, content):
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    how = draw.choice(["json"] * 8 + ["length", "rest", "shape", "shape", "dtype", "dtype"])
    names = [name for name in header if name != "__metadata__"]
    entry = header[draw.choice(names)]
    if how == "length":
        return struct.pack("<Q", draw.choice([0, 1, length - 1, length + 1, 2**63, 2**64 - 1, 10**9])) + content[
            8:
        ], how
    if how == "rest":
        return content + bytes(draw.choice([1, 8, 1000])), how
    if how == "shape":  # one that has as many elements, so that only the model can tell
        entry["shape"] = draw.choice([entry["shape"][::-1], [*entry["shape"], 1], [1, *entry["shape"]], [_size(entry)]])
    elif how == "dtype":
        entry["dtype"] = draw.choice(
            ["F16", "BF16", "I16", "I32", "U8", "F64", "C64", "F8_E4M3", "BOOL", "f32", "F4", ""]
        )
    text, done = mutate.json_text(draw, header) if how == "json" else (json.dumps(header), how)
    raw = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(raw)) + raw + rest, done


def _size(entry):
    size = 1
    for each in entry["shape"]:
        size *= each
    return size


def _words(draw, text):
    """A text with a word replaced, put in, or a line moved or doubled."""
    lines = text.split("\n")
    place = draw.randrange(len(lines))
    how = draw.choice(["value", "value", "insert", "drop", "double", "key", "many"])
    word = draw.choice(WORDS)
    if how == "value":
        for mark in (" = ", ": ", ","):
            if mark in lines[place]:
                lines[place] = lines[place].split(mark, 1)[0] + mark + word
                break
    elif how == "key":
        lines[place] = word + lines[place].lstrip()[draw.randrange(3) :]
    elif how == "insert":
        at = draw.randrange(len(lines[place]) + 1)
        lines[place] = lines[place][:at] + word + lines[place][at:]
    elif how == "drop":
        del lines[place]
    elif how == "double":
        lines.insert(place, lines[place])
    else:
        deep = draw.choice(["[" * 2000 + "]" * 2000, "{a: " * 500, "a = " + "[" * 3000 + "]" * 3000, "- " * 3000 + "x"])
        lines.insert(place, deep)
    return "\n".join(lines).encode("utf-8", "surrogatepass"), f"{how} {word[:20]!r} in line {place + 1}"


def prepared(draw, kind: Kind, root: Path, place: Path, *, change=None):
    """A command line over a spoilt copy of the kind's base below `place`, and what was spoilt.

    `change`: a text and what is to stand in its place everywhere, instead of what `draw` spoils.
    """
    used = {role: root / name for role, name in DEFAULTS.items()}
    place.mkdir(parents=True)
    if kind.base == ".":
        target = place / kind.name
        shutil.copyfile(root / kind.name, target)
        used[kind.role] = target
    else:
        shutil.copytree(root / kind.base, place / kind.base)
        target = place / kind.base / kind.name
        used[kind.role] = target if (root / DEFAULTS[kind.role]).is_file() else place / kind.base
    if change is None:
        done = spoil(draw, kind, target)
    else:
        text, done = target.read_text(), change[1]
        assert change[0] in text
        target.write_text(text.replace(*change))
    line = draw.choice(kind.lines)
    return [each.format(**used, out=place / "out") if "{" in each else each for each in line], done
