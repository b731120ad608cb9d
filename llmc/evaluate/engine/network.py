"""A causal language model as the engine runs it: rows in, logits out, only at the positions that are read."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from llmc.errors import UserError
from llmc.evaluate.engine.caches import frozen, shareable, slides
from llmc.models.cache_name import cache_name
from llmc.models.shrink import habits
from llmc.models.third_party import their_code

logger = logging.getLogger(__name__)

LOGITS_AT_ONCE = 6_000_000
"""Logits held at a time where many positions are read: 24 MB in float32, which the allocator keeps for the next."""
PROBE_TOLERANCE = 1e-2
"""Largest change of a logit, over the spread of the logits, that a split at a prefix may make in the probe."""


class Network:
    """A transformers causal model, without gradients, in evaluation mode.

    `why_not_shared` is None when a prefix can be computed once and read by many rows, and a reason otherwise. `caches`:
    its memory is keys and values of tokens. `slides`: some of its layers forget what is outside a window.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.device = torch.device(model.device)
        self._cache = cache_name(model)
        self.takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._head = model.get_output_embeddings()
        text = getattr(model.config, "text_config", None) or model.config
        self.vocabulary = int(text.vocab_size)
        self.caches = False
        self.slides = False
        self._refuse_reading_ahead()
        self._head_is_last = self._gives_what_the_head_gives()
        seen = habits(model.config)
        self.alone, self._forgets, self._known = seen
        """Each row is computed by itself, since padding would change its logits."""
        self.why_not_shared = self._why_not_shared(text)
        if self.why_not_shared:
            logger.warning("prefixes are not shared for this model: %s; plain batches instead", self.why_not_shared)

    def _probe(self) -> Tensor:
        return (torch.arange(12) * 7919 % self.vocabulary).view(2, 6).to(self.device)

    @torch.no_grad()
    def _gives_what_the_head_gives(self) -> bool:
        """Whether the logits are the output layer's as they are: not scaled, not capped."""
        at = torch.tensor([0, 1])
        logits, hidden = self._run(self._probe(), at, at, None)
        return len(hidden) > 0 and torch.equal(logits, self._head(hidden))

    @torch.no_grad()
    def _refuse_reading_ahead(self) -> None:
        """A `UserError` for a model whose logits depend on what comes after: they are no likelihoods."""
        tokens = self._probe()
        with their_code(f"the {type(self.model).__name__}", "run", hint="check that config.json fits the weights"):
            whole = self.model(input_ids=tokens, use_cache=False).logits[:, :4].float()
            alone = self.model(input_ids=tokens[:, :4], use_cache=False).logits.float()
        change = float((whole - alone).abs().max() / whole.std().clamp_min(1e-6))
        limit = PROBE_TOLERANCE if self.model.dtype == torch.float32 else 30 * PROBE_TOLERANCE
        if change > limit:  # logits that are no numbers are not our business here
            raise UserError(
                f"{type(self.model).__name__} reads tokens that come after: "
                f"two more change the logits before them by {change:.2g} standard deviations",
                hint="only a model that predicts from what is before has likelihoods (see is_decoder in config.json)",
            )

    def _why_not_shared(self, config: Any) -> str | None:
        if not self._known:
            return "no small copy of it can be run to see what long inputs do, so each row runs alone"
        if self.alone:
            return "what it attends to depends on the length of the whole input, so each row runs alone"
        if self._forgets:
            return "going on from its cache changes its logits"
        tokens = self._probe()
        try:
            cache = self.prefill(tokens[:, :4])
        except (
            TypeError,
            ValueError,
            AttributeError,
            NotImplementedError,
            IndexError,
            KeyError,
            RuntimeError,
        ) as error:
            return f"it gives no cache ({error})"
        if not shareable(cache):
            return "its cache is not only keys and values of attention"
        self.caches, self.slides = True, slides(cache)
        rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
        kinds = {part.get("rope_type") for part in (rope, *rope.values()) if isinstance(part, dict)}
        if moving := kinds & {"dynamic", "longrope"}:
            return f"its {moving.pop()} position scaling depends on the length of the whole input"
        rows, columns = torch.tensor([0, 1]), torch.tensor([5, 5])
        whole = self.logits(tokens, rows, columns)
        split = self.logits(tokens[:, 4:], rows, columns - 4, past=frozen(cache, torch.tensor([0, 1])))
        change = float((whole - split).abs().max() / whole.float().std().clamp_min(1e-6))
        limit = PROBE_TOLERANCE if whole.dtype == torch.float32 else 30 * PROBE_TOLERANCE
        return None if change <= limit else f"a shared prefix changes its logits by {change:.2g} standard deviations"

    @torch.no_grad()
    def prefill(self, tokens: Tensor, past: Any = None) -> Any:
        """The cache after `tokens` (rows, tokens), which all rows fill without padding.

        With `past`, a cache of one row, all rows continue that; the result then stores it once for all of them.
        """
        how = {}
        if past is not None:
            how = {self._cache: frozen(past, torch.zeros(len(tokens), dtype=torch.long), extends=True)}
        with _reading(self._head, tokens.new_zeros(1), tokens.new_zeros(1)):
            return getattr(self.model(input_ids=tokens.to(self.device), use_cache=True, **how), self._cache)

    @torch.no_grad()
    def open(self, tokens: Tensor, past: Any, **how: Any) -> tuple[Any, Tensor]:
        """The cache after left-padded `tokens` (rows, tokens), and the logits (rows, vocabulary) that follow."""
        rows = torch.arange(len(tokens), device=self.device)
        with _reading(self._head, rows, rows * 0 + tokens.shape[1] - 1) as seen:
            how[self._cache] = past
            found = self.model(input_ids=tokens.to(self.device), use_cache=True, **how)
        return getattr(found, self._cache), found.logits[0] if seen else found.logits[:, -1]

    def logits(self, tokens: Tensor, rows: Tensor, columns: Tensor, past: Any = None, **how: Any) -> Tensor:
        """The logits (reads, vocabulary) after token `columns[i]` of row `rows[i]`.

        Shapes: tokens (rows, tokens), right-padded unless `how` brings a mask. Nothing but attention to earlier tokens
        connects positions, so right padding needs no mask.
        """
        return self._run(tokens, rows, columns, past, **how)[0]

    @torch.no_grad()
    def _run(
        self, tokens: Tensor, rows: Tensor, columns: Tensor, past: Any, at_most: int | None = None, **how: Any
    ) -> tuple[Tensor, Tensor]:
        """The logits at the first `at_most` places, and the hidden states before the output layer at all of them.

        Both at all where the output layer isn't called as a module; then there are no hidden states.
        """
        rows, columns = rows.to(self.device), columns.to(self.device)
        cache = {"use_cache": False} if past is None else {self._cache: past, "use_cache": True}
        with _reading(self._head, rows, columns, at_most) as seen:
            found: Tensor = self.model(input_ids=tokens.to(self.device), **cache, **how).logits
        return (found[0], seen[0]) if seen else (found[rows, columns], found.new_empty(0))

    def read(self, suffixes: Sequence[Sequence[int]], n_read: Sequence[int], past: Any = None) -> Tensor:
        """All of `read_parts` in one: (sum of n_read, vocabulary)."""
        return torch.cat(list(self.read_parts(suffixes, n_read, past)))

    @torch.no_grad()
    def read_parts(
        self, suffixes: Sequence[Sequence[int]], n_read: Sequence[int], past: Any = None
    ) -> Iterator[Tensor]:
        """The logits at the last `n_read[i]` positions of each suffix, row after row, in parts (reads, vocabulary).

        Parts are made as they are asked for, so that the logits of all positions are never in memory together, where
        the model does nothing to them after its output layer.
        """
        tokens = padded_right(suffixes)
        rows = torch.repeat_interleave(torch.arange(len(suffixes)), torch.tensor(n_read))
        columns = torch.cat(
            [torch.arange(len(suffix) - n, len(suffix)) for suffix, n in zip(suffixes, n_read, strict=True)]
        )
        n = max(1, LOGITS_AT_ONCE // self.vocabulary)
        if len(rows) <= n or not self._head_is_last:
            yield from torch.split(self.logits(tokens, rows, columns, past), n)
            return
        first, hidden = self._run(tokens, rows, columns, past, at_most=n)
        yield first
        for part in torch.split(hidden[n:], n):
            yield self._head(part)


def most_likely(logits: Tensor) -> Tensor:
    """The token of the highest logit of each row, on the CPU. Shapes: logits (rows, vocabulary) -> (rows,) int64."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return torch.from_numpy(logits.numpy().argmax(-1))  # a fifth of the time of torch's
    return logits.argmax(-1).cpu()


def padded_right(rows: Sequence[Sequence[int]]) -> Tensor:
    """The rows as one tensor (rows, longest), filled up at the right with token 0."""
    tokens = torch.zeros((len(rows), max(len(row) for row in rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row, dtype=torch.long)
    return tokens


def padded_left(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """The rows as one tensor (rows, longest), filled up at the left with token 0, and the mask of what is real."""
    tokens = torch.zeros((len(rows), max(len(row) for row in rows)), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for i, row in enumerate(rows):
        tokens[i, tokens.shape[1] - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[i, tokens.shape[1] - len(row) :] = 1
    return tokens, mask


@contextmanager
def _reading(head: Any, rows: Tensor, columns: Tensor, at_most: int | None = None) -> Iterator[list[Tensor]]:
    """Inside, the output layer sees only the hidden states at the first `at_most` of (rows, columns), as one row.

    What a model does to its logits afterwards (scaling, soft caps) still happens. The list gets the hidden states at
    all places; it stays empty where the model doesn't call its output layer as a module.
    """
    seen: list[Tensor] = []

    def select(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(inputs[0][rows, columns])
        return (seen[0][:at_most].unsqueeze(0), *inputs[1:])

    handle = head.register_forward_pre_hook(select) if head is not None else None
    try:
        yield seen
    finally:
        if handle is not None:
            handle.remove()
