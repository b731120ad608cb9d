"""Texts of the hub on machines without a network: one request, one sentence, and the cache where there is one."""

import contextlib
import io
import socket
import ssl
from urllib.error import HTTPError, URLError

import datasets
import pytest
from datasets import config
from huggingface_hub import constants

from llmc.data import hub as module
from llmc.data.hub_text import hub_text
from llmc.errors import UserError

NO_NAME = URLError(socket.gaierror(-2, "Name or service not known"))


@pytest.fixture
def hub(monkeypatch):
    """What the first request meets, how often it is asked, and what the library then finds and is told."""
    state = {"first": None, "asked": [], "rows": [{"text": "1 2 3"}], "offline": []}

    def first(request, timeout):
        state["asked"].append((request.full_url, timeout))
        if state["first"] is not None:
            raise state["first"]
        return contextlib.nullcontext()

    def load(*_, **__):
        state["offline"].append((constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE))
        if isinstance(state["rows"], Exception):
            raise state["rows"]
        return state["rows"]

    monkeypatch.setattr(module.urllib.request, "urlopen", first)
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    return state


@pytest.mark.parametrize(
    "answer",
    [None, HTTPError("https://hub", 503, "busy", None, io.BytesIO()), URLError(ssl.SSLCertVerificationError("no"))],
)
def test_a_hub_that_answers_anything_is_asked_as_ever(hub, answer):
    hub["first"] = answer
    assert list(hub_text("wikitext2")) == ["1 2 3"] and hub["offline"] == [(False, False)]


@pytest.mark.parametrize("failure", [NO_NAME, URLError(ConnectionRefusedError(111, "refused")), TimeoutError("slow")])
def test_without_a_network_the_library_asks_nothing_and_its_cache_serves(hub, failure):
    hub["first"] = failure
    assert list(hub_text("c4")) == ["1 2 3"]
    assert len(hub["asked"]) == 1 and hub["asked"][0][1] >= 30, "a slow network isn't none"
    assert hub["offline"] == [(True, True)]
    assert not constants.HF_HUB_OFFLINE and not config.HF_HUB_OFFLINE, "only meanwhile"


def test_without_network_and_cache_one_sentence_names_the_network(hub):
    hub["first"], hub["rows"] = NO_NAME, ConnectionError("OfflineModeIsEnabled\nand more")
    with pytest.raises(UserError, match=r"can't be reached .*Name or service not known") as caught:
        list(hub_text("c4"))
    assert "OfflineMode" not in str(caught.value)
    assert not constants.HF_HUB_OFFLINE and not config.HF_HUB_OFFLINE


def test_a_library_told_to_stay_offline_is_not_gone_around(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert list(hub_text("c4")) == ["1 2 3"] and not hub["asked"]
