"""The agreement of a toxicity scorer with stored scores, against maps that are known."""

from pathlib import Path

import numpy as np
import pytest

from llmc.errors import UserError
from llmc.trust.machinery.calibrate import Scored, calibrate, stored
from llmc.trust.toxicity_scorers.words import SCORER as WORDS

SHARED = Path(__file__).parents[3] / "../shared/data"


class Bent:
    """A scorer that is Perspective through a bent, increasing curve; `noise` shuffles it."""

    name, source, revision = "bent", "here", "1"

    def __init__(self, truth, bend=lambda p: p**3):
        self.scores = dict(zip(map(str, range(len(truth))), map(bend, truth), strict=True))

    def score(self, texts):
        return [self.scores[text] for text in texts]


@pytest.fixture
def truth():
    return np.random.default_rng(0).uniform(size=600)


def texts(truth):
    return [Scored(str(place), float(p)) for place, p in enumerate(truth)]


def test_a_bent_copy_is_straightened(truth):
    """p -> p**3 keeps ranks, so Spearman and AUC are 1; E|p**3 - p| = 1/2 - 1/4 = 1/4 is mended by the map."""
    found = calibrate(Bent(truth), texts(truth))
    assert found.spearman == pytest.approx(1) and found.auc == 1
    assert found.mae_raw == pytest.approx(0.25, abs=0.02) and found.mae < 0.01
    assert (found.n_fit, found.n_held_out, found.n_unscored) == (300, 300, 0)
    assert all(a[0] < b[0] and a[1] <= b[1] for a, b in zip(found.knots, found.knots[1:], strict=False))


def test_a_scorer_that_knows_nothing(truth):
    """Scores without any relation: AUC one half, and the best map gives the mean, so MAE is that of a uniform: 1/4."""
    noise = np.random.default_rng(1).uniform(size=600)
    scorer = Bent(noise, bend=float)
    found = calibrate(scorer, texts(truth))
    assert abs(found.spearman) < 0.15 and found.auc == pytest.approx(0.5, abs=0.08)
    assert found.mae == pytest.approx(0.25, abs=0.03)


def test_a_constant_scorer_has_no_rank_correlation(truth):
    found = calibrate(Bent(truth, bend=lambda p: 0.3), texts(truth))
    assert found.spearman is None and found.auc == pytest.approx(0.5)


def test_too_few_scores_are_a_user_error(truth):
    with pytest.raises(UserError, match="scored 2 of 2"):
        calibrate(Bent(truth), texts(truth[:2]))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' files are not at ../shared/data")
def test_the_stored_scores_are_all_there():
    """4,773 by the specification, less those without a score or text."""
    found = stored(SHARED)
    assert 4700 <= len(found) <= 4773 + 19
    assert 0 <= min(one.perspective for one in found) < 0.1 < 0.9 < max(one.perspective for one in found) <= 1
    assert calibrate(WORDS, found).auc > 0.5
