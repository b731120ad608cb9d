"""Keeps a command from the network unless its user asked for it, whatever was imported first."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
"""What the hub's libraries read when they are imported, here or in a process that is started from here."""

SWITCHES = (
    ("huggingface_hub.constants", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_DATASETS_OFFLINE"),
    ("evaluate.config", "HF_EVALUATE_OFFLINE"),
)
"""Where they keep what they have read."""

_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_before: list[tuple[dict[str, str | None], dict[tuple[str, str], Any]]] = []
"""The user's own settings while the network is refused; empty while it isn't."""
_watched: list[bool] = []


class NetworkRefused(ConnectionError):
    """Something wanted to leave this machine and nobody had asked for that."""


@contextmanager
def network(*, allowed: bool) -> Iterator[None]:
    """Inside, the network is within reach or not; what a user's own variables say is kept where it is.

    The hub's libraries are told, and because others (nltk, requests in a task's file) ask nobody, a connection to
    another machine raises `NetworkRefused`, which is a ConnectionError. This machine itself can always be reached.
    """
    if allowed != bool(_before):  # as it is already
        yield
        return
    change, back = (_allow, _refuse) if allowed else (_refuse, _allow)
    change()
    try:
        yield
    finally:
        back()


def reachable() -> bool:
    """Whether what runs now may ask other machines, as its user has said."""
    return not _before


def _refuse() -> None:
    _before.append(
        (
            {name: os.environ.get(name) for name in VARIABLES},
            {(module, name): getattr(sys.modules[module], name, None) for module, name in _loaded()},
        )
    )
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    for module, name in _loaded():
        setattr(sys.modules[module], name, True)
    if not _watched:  # a hook can't be taken away again
        sys.addaudithook(_watch)
        _watched.append(True)


def _allow() -> None:
    variables, switches = _before.pop()
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    wished = any((variables[name] or "").upper() in ("1", "ON", "YES", "TRUE") for name in VARIABLES)
    for module, name in _loaded():  # one that was imported meanwhile has read our variables, not the user's
        setattr(sys.modules[module], name, switches.get((module, name), wished))


def _loaded() -> list[tuple[str, str]]:
    return [(module, name) for module, name in SWITCHES if module in sys.modules]


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _before or event not in _EVENTS:
        return
    address = arguments[-1] if event in ("socket.connect", "socket.sendto") else arguments[0]
    host = address[0] if isinstance(address, tuple) else address if event.startswith("socket.get") else None
    if host is not None and not _here(host):
        name = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
        raise NetworkRefused(f"{name} is not asked: nothing leaves this machine without --online")


def _here(host: Any) -> bool:
    """Whether the host is this machine; a path of a Unix socket is no host."""
    name = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    if name in ("", "localhost", socket.gethostname()):
        return True
    try:
        address = ip_address(name.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
