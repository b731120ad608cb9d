from pathlib import Path

import pytest

from llmc.evaluate.task import Answer, TaskContext

SHARED = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture
def shared():
    if not SHARED.is_dir():
        pytest.skip(f"the development data aren't at {SHARED}")
    return SHARED


@pytest.fixture
def ctx(shared):
    """A context with a byte tokenizer on the real data."""

    def make(**fields):
        return TaskContext(**{"data_root": shared, "scale": "full", **fields})

    return make


@pytest.fixture
def say():
    """An answer of text."""
    return lambda text, **fields: Answer(text=text, **fields)
