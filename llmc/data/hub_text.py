"""Texts on the hub at one revision, read row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmc.data.hub import offline, unreachable
from llmc.errors import UserError


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
    why = unreachable()
    try:
        with offline(why is not None):
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
