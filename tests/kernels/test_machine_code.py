"""The compiled kernels for sm_90, without a GPU: no spills, no conversions, and no more instructions than specified."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the compiler comes with triton")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """Compiled in a process of its own: in this one triton interprets."""
    found = tmp_path_factory.mktemp("code") / "lines.json"
    command = [sys.executable, "-m", "bench.kernel_table", "--gated", "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"TRITON_INTERPRET": "0"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(found.read_text())


def test_every_kernel_needs_no_more_instructions_than_specified(lines):
    assert len(lines) >= 8
    assert {line["name"]: line["lanes_per_unit"] for line in lines if line["lanes_per_unit"] > line["limit"]} == {}
    assert all(line["lanes_per_unit"] > 0.5 for line in lines), "a loop was not found"


def test_no_kernel_spills_its_registers(lines):
    assert {line["name"]: line["spills"] for line in lines if line["spills"]} == {}


def test_matrix_kernels_run_on_tensor_cores_without_conversions_and_load_widely(lines):
    products = [line for line in lines if line["wants_tensor_cores"]]
    assert len(products) >= 5
    for line in products:
        assert line["tensor_core_instructions"] > 0, line["name"]
        assert line["int_to_float_in_loop"] == 0, line["name"]
        assert line["widest_load_bits"] >= 64, line["name"]


def test_the_column_sweep_exchanges_nothing_between_lanes(lines):
    sweeps = [line for line in lines if line["name"].startswith("column sweep")]
    assert sweeps and all(line["shuffles"] == 0 and line["shared_bytes"] == 0 for line in sweeps)
