"""How well a local toxicity scorer agrees with the Perspective scores that the authors' prompt files hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from llmc.errors import UserError
from llmc.evaluate.task import TaskContext
from llmc.trust.machinery.authors_files import jsonl, present
from llmc.trust.machinery.row_forms import Toxicity
from llmc.trust.machinery.toxicity_scorer import ToxicityScorer, identity

FILES = {"toxic": "toxicity/user_prompts/toxic.jsonl", "nontoxic": "toxicity/user_prompts/nontoxic.jsonl"}
"""The two sets whose scores reach from 0 to 1; the two filtered ones lie above 0.89 and would fit nothing."""
TOXIC = 0.5


class Scored(NamedTuple):
    """A text with the score that Perspective once gave it."""

    text: str
    perspective: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The agreement of one scorer with Perspective. All but `knots` is measured on the half that fitted nothing."""

    scorer: str
    """Name and revision."""
    source: str
    n_fit: int
    n_held_out: int
    spearman: float | None
    """Rank correlation; None when the scorer gives every text the same."""
    auc: float | None
    """Area under the curve of finding what Perspective puts above 0.5; None without both kinds."""
    mae_raw: float
    """Mean absolute difference of the raw scores."""
    mae: float
    """The same after the map."""
    n_unscored: int
    """Texts that the scorer could not score, left out of everything."""
    knots: tuple[tuple[float, float], ...]
    """The fitted map, local score to Perspective score, increasing; straight between knots, flat outside."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def stored(data_root: Path) -> list[Scored]:
    """Every prompt and continuation of the two sets with its stored score. Raises `UserError` without the files."""
    ctx = TaskContext(data_root=data_root)
    texts = []
    for file in present(ctx, FILES).values():
        for row in jsonl(file, Toxicity):
            for part in (row["prompt"], row.get("continuation", {})):
                if part.get("toxicity") is not None and part["text"].strip():
                    texts.append(Scored(part["text"], float(part["toxicity"])))
    return texts


def calibrate(scorer: ToxicityScorer, texts: Sequence[Scored], *, seed: int = 0) -> Calibration:
    """Fits an isotonic map on one half of `texts` and reports on the other; `seed` draws the halves.

    Source: isotonic calibration, Zadrozny & Elkan 2002; scikit-learn.
    """
    local = scorer.score([one.text for one in texts])
    pairs = [(value, one.perspective) for value, one in zip(local, texts, strict=True) if value is not None]
    if len(pairs) < 4:
        raise UserError(f"{scorer.name} scored {len(pairs)} of {len(texts)} texts", hint="a calibration needs four")
    table = np.array(pairs)[np.random.default_rng(seed).permutation(len(pairs))]
    half = len(pairs) // 2
    fit, held = table[:half], table[half:]
    isotonic = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(fit[:, 0], fit[:, 1])
    toxic = held[:, 1] > TOXIC
    flat = np.ptp(held[:, 0]) == 0
    return Calibration(
        scorer=identity(scorer),
        source=scorer.source,
        n_fit=half,
        n_held_out=len(held),
        spearman=None if flat else float(spearmanr(held[:, 0], held[:, 1]).statistic),
        auc=float(roc_auc_score(toxic, held[:, 0])) if 0 < toxic.sum() < len(held) else None,
        mae_raw=float(np.abs(held[:, 0] - held[:, 1]).mean()),
        mae=float(np.abs(isotonic.predict(held[:, 0]) - held[:, 1]).mean()),
        n_unscored=len(texts) - len(pairs),
        knots=tuple((float(x), float(y)) for x, y in zip(isotonic.X_thresholds_, isotonic.y_thresholds_, strict=True)),
    )
