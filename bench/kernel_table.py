"""Compiles every GPU kernel for sm_90 and says what it takes: `python -m bench.kernel_table [--write | --json FILE]`.

Counted from machine code, nothing is timed and no GPU is needed. --write renews the table in docs/kernels-gpu.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.kernel_code import Code, compile_for_sm90, version
from llmc.kernels.lut_triton import bcq_kernel, table_kernel
from llmc.kernels.pack import step_size
from llmc.kernels.select_triton import lowest_kernel, n_of_m_kernel
from llmc.kernels.sparse_triton import gap_dense_kernel, gap_matvec_kernel
from llmc.kernels.sweep_triton import sweep_block_kernel
from llmc.kernels.wq_triton import wq_narrow_kernel
from llmc.kernels.wq_wide_triton import wq_wide_kernel

DOC = Path(__file__).parents[1] / "docs/kernels-gpu.md"
H200_LANES = 29.7e12
"""Lane-instructions a second: 132 multiprocessors x 4 issues x 32 lanes x 1.755 GHz."""
H200_BYTES = 4.3e12
"""Bytes a second that an H200's memory is assumed to leave at."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """One kernel as it is launched, and what its count must not pass."""

    name: str
    unit: str
    """What the count is per: "weight", "stored value", …"""
    kernel: Any
    types: Mapping[str, str]
    constants: Mapping[str, Any]
    per: Callable[[Code], float]
    limit: float
    """The most lane-instructions a unit: the specification's count and 5 %, or our own where it has none."""
    gated: bool = False
    """Whether the tests compile it: one of each kind, for time."""
    aligned: tuple[str, ...] = ("n_in", "n_out", "n_padded", "ld_gain", "start")
    warps: int = 4
    fuse: bool = True
    bytes_per_unit: float | None = None
    tensor_cores: bool = field(default=True)


def _narrow(bits: int, words: int, limit: float, **other: Any) -> Build:
    gated, magic, columns, group = (
        other.get(k, d) for k, d in (("gated", False), ("magic", False), ("columns", 8), ("group", 128))
    )
    step = step_size(bits, words)
    return Build(
        name=f"W{bits} A16, rows of x to {columns}, {step} columns a step" + (", magic" if magic else ""),
        unit="weight",
        kernel=wq_narrow_kernel,
        types=_types("x:h words:i scale:h zero:h xsum:f out:h partial:f arrived:i gain:s"),
        constants={
            "BITS": bits, "KW": words, "SUBS": max(1, step // group), "BN": 128, "BM": columns, "SPLIT": 4,
            "GROUP_STEPS": max(1, group // step), "HAS_ZERO": True, "MAGIC": magic, "ASM": True, "STAGES": 3,
        },
        per=lambda code: code.lanes / (128 * step),
        limit=limit,
        gated=gated,
        bytes_per_unit=(bits + 32 / group) / 8,
    )  # fmt: skip


def _wide(bits: int, words: int, limit: float, columns: int, gated: bool = False) -> Build:
    step = step_size(bits, words)
    return Build(
        name=f"W{bits} A16, {columns} rows of x a tile, {step} columns a step",
        unit="weight",
        kernel=wq_wide_kernel,
        types=_types("x:h words:i scale:h zero:h out:h partial:f arrived:i gain:s"),
        constants={
            "BITS": bits, "KW": words, "SUBS": max(1, step // 128), "BN": 128, "BM": columns, "SPLIT": 1,
            "GROUP_STEPS": 1, "HAS_ZERO": True, "ASM": True, "STAGES": 3,
        },
        per=lambda code: code.lanes / (128 * step),
        limit=limit,
        gated=gated,
        bytes_per_unit=(bits + 32 / 128) / 8,
    )  # fmt: skip


def _sweep(name: str, limit: float, *, gated: bool = False, **constants: Any) -> Build:
    settings = {"BITS": 4, "SYMMETRIC": True, "HAS_KEEP": False, "KEEP": 0, "OF": 0, "N_SUBS": 8, "SB": 16, "RB": 32}

    def per(code: Code) -> float:
        # 8 sub-blocks, each the code around the inner loop, and 28 turns of that loop, for 128 pivots of a lane's row.
        turn = sum(code.loop.values())
        return ((sum(code.body.values()) - turn) * 8 + turn * 28) / 128

    return Build(
        name=f"column sweep, {name}",
        unit="row and pivot",
        kernel=sweep_block_kernel,
        types=_types("current:f short:f gain:f cost:f keep:u scale:f inverse:f lowest:f group:i"),
        constants=settings | constants,
        per=per,
        limit=limit,
        gated=gated,
        warps=1,
        fuse=False,
        tensor_cores=False,
    )


def _types(pointers: str) -> dict[str, str]:
    """Triton's names of types: "x:h" is a pointer to halves; every other argument is an i32."""
    names = {"h": "*fp16", "i": "*i32", "f": "*fp32", "u": "*u8", "s": "fp32"}
    return {name: names[kind] for name, kind in (item.split(":") for item in pointers.split())}


BUILDS = [
    _narrow(8, 32, 2.41 * 1.05, gated=True),
    _narrow(4, 32, 1.78 * 1.05, gated=True),
    _narrow(4, 16, 2.33 * 1.05),
    _narrow(3, 8, 2.79 * 1.05, gated=True),
    _narrow(2, 16, 1.81 * 1.05, gated=True),
    _narrow(4, 32, 2.52 * 1.05, columns=16),
    _narrow(4, 32, 3.0, magic=True),
    _wide(4, 32, 3.1 * 1.05, 64, gated=True),
    _wide(4, 32, 3.1 * 1.05, 32),
    _wide(8, 32, 3.5, 64),
    _wide(3, 8, 4.1, 64),
    _wide(2, 16, 3.7, 64),
    Build(
        name="4-bit tables, rows of x to 8", unit="weight", kernel=table_kernel,
        types=_types("x:h words:i table:h out:h partial:f arrived:i"),
        constants={"KW": 16, "BN": 128, "BM": 8, "SPLIT": 4, "GROUP_STEPS": 0, "STAGES": 3},
        per=lambda code: code.lanes / (128 * 128), limit=5.53 * 1.05, bytes_per_unit=0.5,
    ),
    Build(
        name="3 binary planes (BCQ), rows of x to 8", unit="weight", kernel=bcq_kernel,
        types=_types("x:h words:i alpha:h offset:f xsum:f out:h partial:f arrived:i"),
        constants={"Q": 3, "KW": 8, "SUBS": 2, "BN": 128, "BM": 8, "SPLIT": 4, "ASM": True, "STAGES": 3},
        per=lambda code: code.lanes / (128 * 256), limit=4.77 * 1.05,
        bytes_per_unit=(3 + (3 * 16 + 32) / 128) / 8,
    ),
    _sweep("4 bits, symmetric", 310, gated=True),
    _sweep("4 bits, zero points", 310, SYMMETRIC=False),
    _sweep("2:4", 325, BITS=0, KEEP=2, OF=4),
    _sweep("2:4 and 4 bits", 395, KEEP=2, OF=4),
    _sweep("a mask given", 310, BITS=0, HAS_KEEP=True),
    Build(
        name="k lowest of a row of 16384", unit="weight", kernel=lowest_kernel,
        types=_types("score:h cost:f keep:u"), constants={"HAS_COST": True, "BK": 16384},
        per=lambda code: sum(code.body.values()) * 32 * 16 / 16384, limit=157 * 1.05, warps=16,
        aligned=("width", "row_stride"), tensor_cores=False, bytes_per_unit=3,
    ),
    Build(
        name="2:4", unit="weight", kernel=n_of_m_kernel, types=_types("score:h cost:f keep:u"),
        constants={"HAS_COST": True, "KEEP": 2, "OF": 4, "BLOCK": 256},
        per=lambda code: sum(code.body.values()) * 32 * 4 / 1024, limit=61, gated=True, aligned=("width",),
        tensor_cores=False, bytes_per_unit=3,
    ),
    Build(
        name="gap-coded sparse, a row of x", unit="stored value", kernel=gap_matvec_kernel,
        types=_types("x:h values:i gaps:i starts:i out:h"), constants={"LANES": 32, "STAGES": 1}, warps=1,
        per=lambda code: code.lanes / 256, limit=16.1 * 1.05, gated=True, aligned=(), tensor_cores=False,
        bytes_per_unit=2.5,
    ),
    Build(
        name="gap-coded sparse, written out", unit="stored value", kernel=gap_dense_kernel,
        types=_types("values:i gaps:i starts:i out:h"), constants={"LANES": 32, "STAGES": 1}, warps=1,
        per=lambda code: code.lanes / 256, limit=14.3, gated=True, aligned=(), tensor_cores=False,
    ),
]  # fmt: skip


def measured(build: Build) -> dict[str, Any]:
    """One line of the table."""
    arguments = [n for n in build.kernel.arg_names if n not in build.constants]
    types = {n: build.types.get(n, "i32") for n in arguments}
    aligned = tuple(n for n in build.aligned if n in arguments)
    code = compile_for_sm90(build.kernel, types, build.constants, aligned=aligned, warps=build.warps, fuse=build.fuse)
    wide = max((n for n in code.body if n.startswith(("LDGSTS", "LDG"))), key=_width, default="")
    return {
        "name": build.name,
        "unit": build.unit,
        "lanes_per_unit": round(build.per(code), 2),
        "limit": round(build.limit, 2),
        "registers": code.registers,
        "spills": code.spills,
        "shared_bytes": code.shared_bytes,
        "tensor_core_instructions": code.has("HGMMA"),
        "wants_tensor_cores": build.tensor_cores,
        "int_to_float_in_loop": code.has("I2F"),
        "widest_load_bits": _width(wide),
        "bytes_per_unit": build.bytes_per_unit,
        "shuffles": code.has("SHFL", loop=False),
    }


def _width(name: str) -> int:
    return 128 if ".128" in name else 64 if ".64" in name else 16 if ".U16" in name else 8 if ".U8" in name else 32


def table(lines: list[dict[str, Any]]) -> str:
    """The lines as Markdown, with the floors that memory and issue set for the specification's shapes."""
    head = (
        "| kernel | lane-instructions | per | limit | registers | spills | widest load, bits | bytes per | "
        "issue over memory |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    rows = []
    for line in lines:
        ratio = size = "–"
        if line["bytes_per_unit"]:
            size = f"{line['bytes_per_unit']:.3g}"
            ratio = f"{line['lanes_per_unit'] / H200_LANES * H200_BYTES / line['bytes_per_unit']:.2f}"
        cells = [line["name"], line["lanes_per_unit"], line["unit"], line["limit"], line["registers"], line["spills"]]
        rows.append("| " + " | ".join(map(str, [*cells, line["widest_load_bits"], size, ratio])) + " |")
    shapes = [(4096, 4096), (12288, 4096), (22016, 4096), (4096, 11008), (8192, 8192), (28672, 8192)]
    floors = ["| out × in | bf16 | W8 | W4 | W3 | W2 |", "| --- | --- | --- | --- | --- | --- |"]
    for n, k in shapes:
        times = [2 * n * k / H200_BYTES] + [n * k * (b + 32 / 128) / 8 / H200_BYTES for b in (8, 4, 3, 2)]
        floors.append(f"| {n} × {k} | " + " | ".join(f"{t * 1e6:.1f}" for t in times) + " |")
    said = f"Counted from machine code, **not timed: no GPU was at hand**. sm_90, {version()}.\n\n"
    floor_text = "\n\nThe floor in µs: bytes (groups of 128, float16 scales and zeros) over 4.3 TB/s.\n\n"
    return said + head + "\n".join(rows) + floor_text + "\n".join(floors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew the table in docs/kernels-gpu.md")
    parser.add_argument("--json", type=Path, help="write the lines there")
    parser.add_argument("--gated", action="store_true", help="only what the tests compile")
    options = parser.parse_args()
    lines = []
    for build in BUILDS:
        if build.gated or not options.gated:
            lines.append(measured(build))
            print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(lines))
    if options.write:
        start, end = "<!-- kernel table -->\n", "\n<!-- end of kernel table -->"
        text = DOC.read_text()
        before, after = text.split(start)[0], text.split(end)[1]
        DOC.write_text(before + start + table(lines) + end + after)
    elif not options.json:
        print(table(lines))


if __name__ == "__main__":
    main()
