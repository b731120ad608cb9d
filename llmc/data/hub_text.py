"""Texts on the hub at one revision, read row by row; a machine without a network hears so at once."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.error import HTTPError, URLError

from llmc.errors import UserError

PATIENCE = 30
"""Seconds that a slow network has to answer the first request."""


@dataclass(frozen=True)
class HubText:
    """A dataset on the hub at one revision, read only when a user names it."""

    repository: str
    revision: str
    config: str | None
    split: str
    data_files: str | None = None


PINNED = {
    "c4": HubText(
        "allenai/c4", "1588ec454efa1a09f29cd18ddd04fe05fc8653a2", None, "train", "en/c4-train.00000-of-01024.json.gz"
    ),
    "wikitext2": HubText(
        "Salesforce/wikitext", "b08601e04326c79dfdd32d625aee71d232d685c3", "wikitext-2-raw-v1", "train"
    ),
}
"""What `--calibration NAME` fetches."""


def hub_text(name: str) -> Iterator[str]:
    """The rows of a pinned text; from the local cache where the hub can't be reached, else a `UserError`."""
    pinned = PINNED[name]
    why = _unreachable()
    try:
        with _offline(why is not None):
            from datasets import load_dataset

            rows = load_dataset(
                pinned.repository,
                pinned.config,
                split=pinned.split,
                revision=pinned.revision,
                data_files=pinned.data_files,
                streaming=True,
            )
            yield from (row["text"] for row in rows)
    except Exception as error:  # the hub library raises many kinds; all mean that the data are not at hand
        said = str(error).splitlines()[0][:120] if why is None else why
        raise UserError(
            f"the calibration text {name} ({pinned.repository}) can't be fetched: {said}",
            hint="give a local text, JSONL or Parquet file instead",
        ) from error


def _unreachable() -> str | None:
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


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    """Keep the hub's libraries from the network meanwhile; what they have in their cache they give."""
    from datasets import config
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    if offline:
        constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before
