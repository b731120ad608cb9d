"""Kernels run in triton's interpreter here. It must be asked for before anything imports triton."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine is says nothing about the code: neither a deadline nor slow drawing fails a test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _no_trial_first(request, monkeypatch):
    """Compressions of test models don't try a small copy first, but for the tests of that."""
    if "trial" not in request.node.name and "trial" not in str(request.node.path):
        from llmc.compress import run

        monkeypatch.setattr(run, "try_small_copy", lambda config, stages, compress: None)
