"""Which device "auto" means, with accelerators made up: this machine has none or another one."""

import types

import pytest
import torch

from llmc.errors import UserError
from llmc.models import load
from llmc.models.load import pick_device


@pytest.fixture
def accelerator(monkeypatch):
    """Puts an accelerator of a type into this machine, with or without float64."""
    empty = torch.empty

    def put(kind: str, *, has_float64: bool) -> None:
        def made(*shape, device, dtype=torch.float32):
            if device == kind and dtype == torch.float64 and not has_float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
            return empty(*shape, device="cpu" if device == kind else device, dtype=dtype)

        monkeypatch.setattr(load.torch, "empty", made)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: types.SimpleNamespace(type=kind))

    return put


def test_auto_is_an_accelerator_that_has_float64(accelerator):
    accelerator("cuda", has_float64=True)
    assert pick_device("auto") == pick_device("cuda") == "cuda" and pick_device("cpu") == "cpu"


def test_an_accelerator_without_float64_is_passed_over_and_refused(accelerator):
    accelerator("mps", has_float64=False)
    assert pick_device("auto") == pick_device("cpu") == "cpu"
    with pytest.raises(UserError, match="it has no float64"):
        pick_device("mps")


def test_auto_without_an_accelerator_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    with pytest.raises(UserError, match="'tpu9' can't be used"):
        pick_device("tpu9")
