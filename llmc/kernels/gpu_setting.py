"""Whether the GPU kernels are used: not unless asked for, until their gates have passed on a device."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal

import torch

from llmc.errors import UserError

VARIABLE = "LLMC_GPU_KERNELS"
LEAST_CAPABILITY = (8, 0)

Mode = Literal["off", "on", "magic"]


def mode() -> Mode:
    """What the environment asks for: `off` (also when it is not set), `on`, or `magic`.

    `magic` is for devices whose tensor cores flush subnormal float16 numbers; `bench/gpu.py` finds out.
    """
    said = os.environ.get(VARIABLE, "off").lower()
    if said in ("off", "0", ""):
        return "off"
    if said in ("on", "1"):
        return "on"
    if said == "magic":
        return "magic"
    raise UserError(f"{VARIABLE} must be off, on or magic, got {said!r}", hint="leave it unset for off")


def in_use(device: torch.device) -> bool:
    """Whether work on `device` goes through the kernels: asked for, triton installed, tensor cores new enough."""
    return device.type == "cuda" and why_not(device) is None


def why_not(device: torch.device) -> str | None:
    """Why a CUDA device doesn't use the kernels, as a clause without a full stop; None if it does."""
    if mode() == "off":
        return f"the GPU kernels are off until their gates have passed on a device ({VARIABLE}=on turns them on)"
    if importlib.util.find_spec("triton") is None:
        return "the GPU kernels need triton, which is not installed (pip install triton)"
    if torch.version.hip is not None:
        return "the GPU kernels are for NVIDIA devices, and this is one of AMD"
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return f"the GPU kernels need compute capability {'.'.join(map(str, LEAST_CAPABILITY))} or later"
    return None


def interpreting() -> bool:
    """Whether kernels run in triton's interpreter, on the CPU: TRITON_INTERPRET=1 when triton was imported."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"
