"""What is freed between tensors that stay leaves the process."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import contextlib, sys
import torch
from llmc.evaluate.speed.speed_process import process_bytes
from llmc.models.heap import freed_to_the_system

torch.set_num_threads(1)
with freed_to_the_system() if sys.argv[1] == "freed" else contextlib.nullcontext():
    before, kept = process_bytes(), []
    for _ in range(48):  # as when a layer is unpacked: large and short-lived, small and lasting, by turns
        large = [torch.ones(5 << 20, dtype=torch.uint8) for _ in range(3)]
        kept.append(torch.ones(1 << 20, dtype=torch.uint8))
        del large
print(process_bytes() - before, sum(each.numel() for each in kept))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_what_stays_is_held():
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", SCRIPT, "freed"], cwd=root, capture_output=True, text=True, check=True)
    held, stays = map(int, ran.stdout.split())
    assert stays == 48 << 20 and held <= 1.3 * stays + (8 << 20)
