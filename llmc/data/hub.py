"""Whether the hub can be reached, asked once: without a network its libraries wait half a minute to say so."""

from __future__ import annotations

import ssl
import urllib.request
from contextlib import AbstractContextManager, nullcontext
from urllib.error import HTTPError, URLError

from llmc.offline import network

PATIENCE = 30
"""Seconds that a slow network has to answer the first request."""


def unreachable() -> str | None:
    """Why the hub can't be reached, in words; None where it can be, or where its library has been told to stay offline.

    One request tells: the hub's library asks five times, and waits longer each time, before it says so.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return None
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):
            return None
    except HTTPError:
        return None
    except (URLError, OSError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        # Somebody answered; which certificates hold is for the hub's library to say.
        return None if isinstance(reason, ssl.SSLError) else f"{constants.ENDPOINT} can't be reached ({reason})"


def offline(yes: bool) -> AbstractContextManager[None]:
    """Keep this process from the network meanwhile, where `yes`; the hub's libraries give what their cache has."""
    return network(allowed=False) if yes else nullcontext()
