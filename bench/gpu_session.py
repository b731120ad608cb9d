"""Where the lines of a bench go, how much time is left, and what the device itself can do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.gpu_timing import Spread


class Session:
    """One run of `bench.gpu`."""

    def __init__(self, out: Path, minutes: float, dry: bool) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.path = out, out / "gpu.jsonl"
        self.end = time.monotonic() + 60 * minutes
        self.dry, self.device = dry, "cpu" if dry else "cuda"
        self.bytes_per_s = 4.3e12
        self.magic = False
        self.failed: list[str] = []

    def line(self, block: str, **fields: Any) -> None:
        """One line, on disk before the next thing is tried."""
        entry = {"block": block, **({"dry": True} if self.dry else {}), **fields}
        with self.path.open("a") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")
        print(json.dumps(entry), flush=True)

    def timed(
        self, block: str, took: Spread, *, n_bytes: float | None = None, against: Spread | None = None, **what: Any
    ) -> None:
        """A timing, with its share of the floor that this device's own memory sets."""
        fields: dict[str, Any] = {k: round(v, 2) for k, v in took._asdict().items()}
        if n_bytes is not None:
            fields["gb_per_s"] = round(n_bytes / took.median / 1e3, 1)
            fields["floor_share"] = round(n_bytes / self.bytes_per_s * 1e6 / took.median, 4)
        if against is not None:
            fields["times_as_fast"] = round(against.median / took.median, 3)
        self.line(block, unit="us", **what, **fields)

    def until(self, seconds: float) -> Callable[[], bool]:
        """Whether a block that may take so long still has time; a dry run has one turn of everything."""
        limit = min(self.end, time.monotonic() + seconds)
        return lambda: self.dry or time.monotonic() < limit

    def pick(self, real: list[Any], tiny: list[Any]) -> list[Any]:
        """The shapes of a block."""
        return tiny if self.dry else real
