"""What every test of the trust suite shares."""

import pytest

from llmc.evaluate.task import TaskContext
from tests.trust import made_up


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    made_up.write(root)
    return root


@pytest.fixture
def context(data_root):
    def make(mode="fixed", scale="quick", scorer="toxicity=words", **more):
        return TaskContext(scale=scale, mode=mode, data_root=data_root, scorer=scorer, **more)

    return make
