"""Random trees of files, folders, links and leftovers, and what a tree holds, byte for byte."""

import os
import stat
from pathlib import Path

from hypothesis import strategies as st

NAMES = [
    "notes.txt", "config.json", "model.safetensors", "tokenizer.json", "manifest.json", "results.json", "report.html",
    "items.jsonl.gz", "journal.jsonl", "begun.tmp", "config.json.tmp", "manifest.json.tmp", "a.tmp", ".llmc", "parts",
    "baselines", "samples", "models", "runs", "report", ".hidden", "é", "a b", "*", "x" * 60, ".llmc-folder.json.tmp",
    "llmc_manifest.json", "journal.json", ".git", "\x1b[31m", "model-00001-of-00002.safetensors",
]  # fmt: skip
KINDS = ["file", "file", "file", "empty", "folder", "link", "loop", "dangling", "fifo"]
ENTRY = st.tuples(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), st.sampled_from(KINDS), st.binary(max_size=9)
)
TREES = st.lists(ENTRY, min_size=1, max_size=6)


def plant(folder: Path, tree, outside: Path) -> list[Path]:
    """Puts the tree into the folder where nothing is in the way; gives what was made. Links lead to `outside`."""
    made = []
    for names, kind, content in tree:
        path = folder.joinpath(*names)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path):
                continue
            if kind in ("file", "empty"):
                path.write_bytes(b"" if kind == "empty" else b"mine" + content)
            elif kind == "folder":
                path.mkdir()
            elif kind == "link":
                path.symlink_to(outside)
            elif kind == "loop":
                path.symlink_to(path)
            elif kind == "dangling":
                path.symlink_to(folder / "nowhere")
            else:
                os.mkfifo(path)
        except (FileExistsError, NotADirectoryError, FileNotFoundError, OSError):
            continue
        made.append(path)
    return made


def held(*folders: Path) -> dict[str, object]:
    """Everything below the folders: kind, mode, and bytes or where a link leads."""
    found: dict[str, object] = {}
    for top in folders:
        for directory, inner, files in os.walk(top):
            for name in [*inner, *files]:
                path = Path(directory) / name
                mode = path.lstat().st_mode
                what: object = None
                if stat.S_ISREG(mode):
                    what = path.read_bytes()
                elif stat.S_ISLNK(mode):
                    what = path.readlink()
                found[str(path)] = (stat.S_IFMT(mode), what)
    return found
