"""One compression by llmc in a process of its own; prints its times and peak memory as a line of JSON."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

START = time.perf_counter()

import torch  # noqa: E402
from process_cost import cpu_s, peak_rss  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from llmc.compress import run  # noqa: E402
from llmc.compress.plan import Job  # noqa: E402
from llmc.compress.recipe import build  # noqa: E402
from llmc.compress.walk.writer import ShardWriter  # noqa: E402
from llmc.data.calibration import Calibration  # noqa: E402
from llmc.models.checkpoint import Checkpoint  # noqa: E402

IMPORTED = time.perf_counter()


def main() -> None:
    """Runs the method with its settings, as the command line would."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("method")
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("tokens", type=Path)
    args = parser.parse_args()
    spent = {"read": 0.0, "write": 0.0}
    _time(Checkpoint, "read", spent, "read")
    _time(ShardWriter, "put", spent, "write")
    _time(ShardWriter, "join", spent, "write")
    calibration = Calibration(load_file(args.tokens)["tokens"], str(args.tokens), None)
    job = Job(
        model=args.model, out=args.out, stages=(build(args.method, args.settings),), calibration=calibration,
        overwrite=True,
    )  # fmt: skip
    busy = cpu_s()
    start = time.perf_counter()
    run.compress(job, lambda *_: None)
    whole = time.perf_counter() - start
    print(
        json.dumps(
            {
                "import_s": IMPORTED - START,
                "whole_s": whole,
                "core_s": whole - spent["read"] - spent["write"],
                "cpu_s": cpu_s() - busy,
                "peak_rss": peak_rss(),
                "threads": torch.get_num_threads(),
            }
        )
    )


def _time(owner: type, name: str, spent: dict[str, float], key: str) -> None:
    """Adds the time of every call of a method to `spent`."""
    plain = getattr(owner, name)

    def timed(*args: object, **kwargs: object) -> object:
        start = time.perf_counter()
        try:
            return plain(*args, **kwargs)
        finally:
            spent[key] += time.perf_counter() - start

    setattr(owner, name, timed)


if __name__ == "__main__":
    main()
