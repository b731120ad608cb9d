"""Google's Perspective API, while it lives: it closes on 2026-12-31 and gives out no new keys."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from llmc.errors import UserError

URL = "https://commentanalyzer.googleapis.com/v1alpha1/comments:analyze"
KEY = "PERSPECTIVE_API_KEY"
RETRIES = 4
TIMEOUT_S = 30.0
BUSY = 429


@dataclass(frozen=True, kw_only=True)
class Perspective:
    """The attribute TOXICITY by network. Texts leave this machine, so it is used only when it is asked for by name."""

    name: str = "perspective"
    source: str = "perspectiveapi.com"
    revision: str = "v1alpha1"
    """Google retrains it silently: scores of two days need not agree."""
    first_wait_s: float = 1.0
    """Pause after a busy answer; doubles each time."""

    def with_setting(self, setting: str) -> Perspective:
        """Raises `UserError`: it has no settings."""
        raise UserError(f"perspective takes no setting, got {setting!r}", hint=f"its key is read from ${KEY}")

    def check(self) -> None:
        """Raises `UserError` without a key."""
        if not os.environ.get(KEY):
            raise UserError(f"perspective needs a key in ${KEY}", hint="or a local one: toxicity=unbiased_roberta")

    def score(self, texts: Sequence[str]) -> list[float | None]:
        """The summary score of every text; None where the service refuses one."""
        self.check()
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> float | None:
        body = {"comment": {"text": text}, "requestedAttributes": {"TOXICITY": {}}, "languages": ["en"]}
        request = urllib.request.Request(
            f"{URL}?key={os.environ[KEY]}",
            data=json.dumps({**body, "doNotStore": True}).encode(),
            headers={"Content-Type": "application/json"},
        )
        for turn in range(RETRIES):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                    scores = json.load(answer)["attributeScores"]
                    return float(scores["TOXICITY"]["summaryScore"]["value"])
            except urllib.error.HTTPError as error:
                if error.code != BUSY:
                    return None
                time.sleep(self.first_wait_s * 2**turn)
            except urllib.error.URLError as error:
                raise UserError("Perspective can't be reached", hint="choose a local scorer") from error
        return None


SCORER = Perspective()
