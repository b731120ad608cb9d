"""What a method that balances the layers of a block against each other is shown of the block.

The walk makes the view; a method with a `balance(block)` gets it once a block, before any layer of the block is
compressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from llmc.compress.method import LayerStats


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """A producer and every layer that reads what it makes: dividing the one and multiplying the others changes nothing.

    Listed only where that is exactly so: nothing but a linear map or a per-channel product (never a norm, a rotation or
    a GELU) may stand between them.
    """

    producer: str
    """A norm, or a linear layer of which the rows that make these channels are meant."""

    consumers: tuple[str, ...]
    """Linear layers that read the producer's channels and are going to be compressed."""

    followers: tuple[str, ...] = ()
    """Linear layers that read them too and won't be compressed (a router): they are only multiplied."""

    parent: str | None = None
    """The module whose output tells how well a scale does (attention, MLP); None: the one consumer itself."""

    source: Tensor | None = None
    """(in,) int64: the producer's channel that each input channel of the consumers carries. None: its own.

    Under grouped-query attention v has fewer channels than o reads: channel d of query head h is channel d of
    key-value head h // repeats.
    """


@runtime_checkable
class BlockView(Protocol):
    """One decoder block as a balancing method may see and change it. Names are those of the block's modules."""

    @property
    def pairs(self) -> Sequence[Pair]:
        """The pairs of this block in the order of computation."""
        ...

    @property
    def clippable(self) -> Sequence[str]:
        """The layers to be compressed, but for those that make queries or keys, whose products are too sensitive."""
        ...

    def weight(self, name: str) -> Tensor:
        """The present weight (out, in) of a linear layer, in the model's dtype; not to be written to."""
        ...

    def set_weight(self, name: str, weight: Tensor) -> None:
        """Replace the weight of a linear layer, keeping its dtype and device."""
        ...

    def stats(self, name: str) -> LayerStats:
        """Statistics (`abs_sum`, `gram`) of the inputs of a linear layer, as every `rescale` so far has made them.

        After a rescale by s of its inputs: abs_sum / s, sq_norm / s**2, gram / (s s^T), and an empty cache. The walk
        then hands the same statistics to `compress`.
        """
        ...

    def parent_output(self, parent: str) -> Tensor:
        """What the parent makes of the calibration inputs captured for it, with the present weights.

        The captured inputs too are divided when a rescale changes what the parent reads, so that after every
        rescale the output is as before. A sample of the calibration tokens will do, the same at every call.
        """
        ...

    def rescale(self, pair: Pair, scale: Tensor) -> None:
        """Divide the producer's channels by `scale` and multiply the columns of consumers and followers by it.

        Shapes: scale (channels of the producer,) float32, positive; a consumer's column c is multiplied by
        scale[source[c]]. A norm that computes with 1 + w becomes (1 + w) / scale - 1; biases of a norm or a
        linear producer are divided too, those of the consumers are left.
        """
        ...
