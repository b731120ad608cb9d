"""The feedback factors of a layer's inputs, made once for all layers that share them, and what to say about them."""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor

from llmc.compress.method import LayerStats
from llmc.compress.walk.inputs import gram_matrix
from llmc.errors import UserError
from llmc.ops.factor import Feedback, feedback


class Prepared(NamedTuple):
    """Factors and the sentences that a person must read about them."""

    factors: Feedback
    warnings: tuple[str, ...]


def prepare(weight: Tensor, stats: LayerStats, damping: float, *, descending: bool = False) -> Prepared:
    """The factors of the layer's Gram matrix, from `stats.cache` where another layer has made them already."""
    gram = gram_matrix(weight, stats)
    key = f"feedback damping={damping!r} descending={descending}"
    if key not in stats.cache:
        factors = feedback(gram, damping, descending=descending)
        stats.cache[key] = Prepared(factors, _warnings(gram, factors, damping))
    return cast(Prepared, stats.cache[key])


def check_damping(damping: float) -> None:
    """`UserError` unless the damping is in [0, 1]."""
    if not 0 <= damping <= 1:
        raise UserError(f"damping must be in [0, 1], got {damping}", hint="0.01 adds a hundredth of the mean diagonal")


def _warnings(gram: Tensor, factors: Feedback, damping: float) -> tuple[str, ...]:
    said = []
    width = len(gram)
    n_unlit = int((gram.diagonal() == 0).sum())
    if n_unlit == width:
        return ("No calibration input of this layer was other than zero: no error could be made up for.",)
    if n_unlit:
        said.append(
            f"{n_unlit} of {width} input channels were zero in all calibration text: "
            "their weights got no correction, and were kept rather than zeroed."
        )
    if factors.damping != damping:
        said.append(
            f"The Gram matrix was not positive definite with damping {damping:g}: "
            f"{factors.damping:g} was used instead, which makes the correction weaker."
        )
    return tuple(said)
