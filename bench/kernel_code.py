"""What the compiler makes of a triton kernel for sm_90, counted in its machine code. Needs triton; no GPU.

The count of the inner loop is instructions times 32 lanes times warps, over the weights that the loop settles in one
turn. A device that issues L lane-instructions a second can't settle more than L over that count weights a second.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

assert os.environ.get("TRITON_INTERPRET", "0") == "0", "kernels compile only where triton does not interpret"


@dataclass(frozen=True, kw_only=True)
class Code:
    """The machine code of one kernel."""

    registers: int
    """Of each thread."""
    spills: int
    """Instructions that touch local memory (STL, LDL)."""
    shared_bytes: int
    loop: Counter[str]
    """The instructions of the longest inner loop, by full name."""
    body: Counter[str]
    """All instructions."""
    warps: int

    @property
    def lanes(self) -> int:
        """Lane-instructions of one turn of the loop."""
        return sum(self.loop.values()) * 32 * self.warps

    def has(self, prefix: str, *, loop: bool = True) -> int:
        """How many instructions begin with `prefix`."""
        return sum(n for name, n in (self.loop if loop else self.body).items() if name.startswith(prefix))


def compile_for_sm90(
    kernel: Any,
    types: Mapping[str, str],
    constants: Mapping[str, Any],
    *,
    aligned: tuple[str, ...] = (),
    warps: int = 4,
    stages: int = 3,
    fuse: bool = True,
) -> Code:
    """The code of `kernel` (a `triton.jit` function); `types` as triton writes them ("*fp16", "i32"), in any order.

    Pointers, and the integers named in `aligned`, count as multiples of 16, as they are at launch.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.arg_names
    signature = {n: "constexpr" if n in constants else types[n] for n in names}
    whole = [i for i, n in enumerate(names) if signature[n].startswith("*") or n in aligned]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(names.index(n),): v for n, v in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i in whole},
    )
    options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": fuse}
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    return _read(made.asm["cubin"], made.metadata.shared, warps)


def _tool(name: str) -> str:
    import triton

    return str(Path(triton.__file__).parent / "backends/nvidia/bin" / name)


def _read(cubin: bytes, shared_bytes: int, warps: int) -> Code:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        sass = subprocess.run([_tool("nvdisasm"), "-c", path], capture_output=True, text=True, check=True).stdout
        usage = subprocess.run([_tool("cuobjdump"), "-res-usage", path], capture_output=True, text=True, check=True)
    registers = re.search(r"REG:(\d+)", usage.stdout + usage.stderr)
    assert registers is not None
    body, loop = _loop(sass)
    spills = sum(n for name, n in body.items() if name.startswith(("STL", "LDL")))
    return Code(
        registers=int(registers[1]), spills=spills, shared_bytes=shared_bytes, loop=loop, body=body, warps=warps
    )


def _loop(sass: str) -> tuple[Counter[str], Counter[str]]:
    """All instructions, and those of the inner loop with the most of them: between a label and a jump back to it."""
    found: list[str] = []
    labels: dict[str, int] = {}
    jumps: list[tuple[int, int]] = []
    for line in sass.splitlines():
        label = re.match(r"\s*(\.L_\S+):", line)
        if label:
            labels[label[1]] = len(found)
        code = re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\d+\s+)?([A-Z][A-Z0-9_.]*)(.*)", line)
        if not code:
            continue
        found.append(code[1])
        target = re.search(r"`\((\.L_[^)]+)\)", code[2])
        if code[1].startswith("BRA") and target and target[1] in labels:
            jumps.append((labels[target[1]], len(found)))
    real = [(a, b) for a, b in jumps if b - a > 1]  # the trap after EXIT jumps to itself
    inner = [(a, b) for a, b in real if not any(a <= c and d <= b and (c, d) != (a, b) for c, d in real)]
    start, stop = max(inner, key=lambda span: span[1] - span[0], default=(0, 0))
    return Counter(found), Counter(n for n in found[start:stop] if n != "NOP")


def version() -> str:
    """The versions that the counts belong to."""
    import triton

    said = subprocess.run([_tool("ptxas"), "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release [\d.]+, V([\d.]+)", said)
    return f"triton {triton.__version__}, ptxas {release[1] if release else 'unknown'}"
