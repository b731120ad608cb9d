"""Small compression jobs for the tests."""

from pathlib import Path

import torch

from llmc.compress.plan import Job
from llmc.compress.recipe import build
from llmc.data.calibration import Calibration

TOKENS = torch.randint(3, 128, (6, 24), generator=torch.Generator().manual_seed(0))


def job(tmp_path, out="out", method="wanda", **options):
    stages = options.pop("stages", None) or (build(method, options.pop("settings", {})),)
    calibration = options.pop("calibration", Calibration(TOKENS, "random", None))
    return Job(model=tmp_path / "dense", out=tmp_path / out, stages=stages, calibration=calibration, **options)


def quiet(done, total, doing):
    pass


def weights(directory):
    return {p.name: p.read_bytes() for p in sorted(Path(directory).glob("*.safetensors"))} | {
        "config.json": (Path(directory) / "config.json").read_bytes()
    }
