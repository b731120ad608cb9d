"""The energy that a device has used so far, where it says so: NVIDIA's counter, or a CPU package's under Linux."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of CPU packages, often to the superuser alone."""

Joules = Callable[[], float | None]


def energy_counter(device: torch.device) -> Joules:
    """What gives the joules used since some point in the past: of the whole device, other work on it included.

    It gives None where the device reports nothing, which isn't 0.
    """
    if device.type == "cpu":
        packages = sorted(POWERCAP.glob("intel-rapl:?/energy_uj"))
        return lambda: _packages(packages)
    if device.type == "cuda":
        handle = _nvidia(device)
        if handle is not None:
            return handle
    return lambda: None


def _packages(counters: list[Path]) -> float | None:
    try:
        return sum(int(counter.read_text()) for counter in counters) / 1e6 if counters else None
    except (OSError, ValueError):
        return None


def _nvidia(device: torch.device) -> Joules | None:
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # the library is not there, or raises errors of its own for a card without a counter
        return None
    return lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
