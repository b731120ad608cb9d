"""What the benches of compressed random Llamas share: their options, a folder to work in, and `llmc` itself."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from random_llama import Shape, write_llama


def parser(doc: str | None, *, prompt_tokens: int, new_tokens: int, repeats: int) -> argparse.ArgumentParser:
    """A parser with the options of shape and timing."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    # TinyLlama's and Llama 3.2 1B's class: 16 blocks of 60.8 million weights, and 2 x 65.5 million around them.
    made.add_argument("--layers", type=int, default=16)
    made.add_argument("--width", type=int, default=2048)
    made.add_argument("--intermediate", type=int, default=7168)
    made.add_argument("--heads", type=int, default=16)
    made.add_argument("--vocabulary", type=int, default=32000)
    made.add_argument("--batch", default="1")
    made.add_argument("--prompt-tokens", type=int, default=prompt_tokens)
    made.add_argument("--new-tokens", type=int, default=new_tokens)
    made.add_argument("--repeats", type=int, default=repeats)
    made.add_argument("--threads", type=int, default=torch.get_num_threads())
    made.add_argument("--work", type=Path, help="keep the checkpoints here, and use those that are there")
    return made


def shape_of(args: argparse.Namespace) -> Shape:
    """The Llama that the options describe."""
    sizes = ("layers", "width", "intermediate", "heads", "vocabulary")
    return Shape(**{name: getattr(args, name) for name in sizes})


@contextmanager
def workplace(args: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """A folder for the checkpoints and the dense one in it, in bfloat16; kept where `--work` names one."""
    with tempfile.TemporaryDirectory() as name:
        work = args.work or Path(name)
        work.mkdir(parents=True, exist_ok=True)
        dense = work / "dense-bf16"
        if not (dense / "config.json").exists():
            write_llama(dense, shape_of(args), torch.bfloat16)
        yield work, dense


def llmc(*words: object) -> None:
    """Runs the command line."""
    subprocess.run([sys.executable, "-m", "llmc", *map(str, words)], check=True)


def compressed(dense: Path, out: Path, *how: object) -> Path:
    """`dense` compressed into `out`, unless it is there."""
    if not (out / "llmc_manifest.json").exists():
        llmc("compress", dense, *how, "--out", out)
    return out


def timing(args: argparse.Namespace) -> list[object]:
    """The options of `llmc bench` that both share."""
    names = ("batch", "prompt_tokens", "new_tokens", "repeats", "threads")
    pairs = [(f"--{name.replace('_', '-')}", getattr(args, name)) for name in names]
    return [*(word for pair in pairs for word in pair), "--device", "cpu"]
