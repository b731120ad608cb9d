"""A table with a row a token that stays packed: looked up row by row, and multiplied with, some rows at a time."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from llmc.kernels.packed_linear import PackedLinear
from llmc.kernels.scratch import scratch
from llmc.ops.product import linear

WEIGHTS_AT_A_TIME = 1 << 23
"""Weights of a head that are unpacked together: 32 MB in float32, where the head of a vocabulary of 262,144 and a width
of 640 is 671 MB whole. Enough that each part is multiplied as the whole would be (`llmc.ops.product.LEAST`)."""


class PackedHead(PackedLinear):
    """x W^T + bias for many outputs: W is never unpacked whole.

    Each part of the outputs is bit for bit what a linear layer with these rows of the dequantised weight gives.
    """

    def forward(self, x: Tensor) -> Tensor:
        step = max(1, WEIGHTS_AT_A_TIME // self.in_features)
        if step >= self.out_features:
            return super().forward(x)
        y = x.new_empty((*x.shape[:-1], self.out_features))
        for start in range(0, self.out_features, step):
            outputs = slice(start, min(start + step, self.out_features))
            room = scratch((outputs.stop - outputs.start, self.in_features), x.dtype, self.codes.device)
            bias = None if self.bias is None else self.bias[outputs]
            y[..., outputs] = linear(x, self.unpacked(outputs, x.dtype, room), bias)
        return y


class PackedEmbedding(nn.Module):
    """What an embedding of class `like` gives for token ids, from rows that are unpacked when they are asked for.

    `table` holds the codes, (tokens, width); a tied head is the same module. `like` has no weight any more, only its
    class's own way with a row (Gemma's scale) and the settings for it.
    """

    def __init__(self, table: PackedLinear, like: nn.Embedding, dtype: torch.dtype) -> None:
        super().__init__()
        self.table, self.like = table, like
        self.num_embeddings, self.embedding_dim = like.num_embeddings, like.embedding_dim
        self.register_buffer("kind", torch.empty(0, dtype=dtype), persistent=False)
        self.weight = without_values(table, dtype)

    kind: Tensor
    """Nothing, in the dtype of the rows: it follows the model to another one."""

    def forward(self, ids: Tensor, *args: object, **kwargs: object) -> Tensor:
        """Shapes: ids (…) whole numbers; result (…, width)."""
        asked, places = torch.unique(ids, return_inverse=True)
        found: Tensor = looked_up(self.like, self.table.rows(asked, self.kind.dtype), places)
        return found


def looked_up(like: nn.Embedding, rows: Tensor, places: Tensor) -> Tensor:
    """What an embedding like this one gives for `places` if its table were `rows`. Nothing of `like` is changed."""
    reader = copy.copy(like)
    reader._parameters = {}
    reader.__dict__["weight"] = rows
    reader.padding_idx = None  # it matters for gradients alone
    found: Tensor = type(like).forward(reader, places)
    return found


def looks_up_alone(like: nn.Embedding) -> bool:
    """Whether an embedding's outputs depend on the rows asked for alone, and not on the number of a token or on others.

    Asked with eight made-up rows; where that fails in any way, it does not.
    """
    if like.max_norm is not None:
        return False
    rows = torch.randn((8, like.embedding_dim), generator=torch.Generator().manual_seed(0))
    order = torch.tensor([5, 0, 7, 2, 5])
    try:
        whole = looked_up(like, rows, order)
        return torch.equal(whole, looked_up(like, rows[order], torch.arange(len(order))))
    except Exception:  # whatever a class's own code raises
        return False


def without_values(table: PackedLinear, dtype: torch.dtype) -> Tensor:
    """A weight on the meta device: for code that asks a table's weight for its shape or dtype; its values raise."""
    return torch.empty((table.out_features, table.in_features), dtype=dtype, device="meta")
