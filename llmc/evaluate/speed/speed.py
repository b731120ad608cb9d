"""How fast a model reads and writes tokens, and what it takes in memory: one model, measured once."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llmc.errors import UserError, quoted
from llmc.evaluate.speed.energy import energy_counter
from llmc.models.cache_name import cache_name
from llmc.reading.seed import check_seed

Now = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class SpeedSettings:
    """What is measured, the same for every model of a bench."""

    batches: tuple[int, ...] = (1, 8, 32)
    """Sequences at a time."""
    prompt_tokens: int = 512
    """Tokens that a sequence's prompt has."""
    new_tokens: int = 32
    """Tokens that are written after it, one at a time."""
    repeats: int = 5
    """Turns of all models; a figure is the median over them."""
    seed: int = 0
    """Decides the prompts' tokens."""

    def __post_init__(self) -> None:
        for name, most in (("prompt_tokens", 10**7), ("new_tokens", 10**7), ("repeats", 10**6)):
            if not 1 <= getattr(self, name) <= most:
                said = f"{name} must be at least 1 and at most {most}, got {quoted(getattr(self, name))}"
                raise UserError(said)
        check_seed(self.seed)
        if not self.batches or not 1 <= min(self.batches) <= max(self.batches) <= 10**5:
            raise UserError(f"batches must be numbers from 1 on, got {self.batches}", hint="e.g. --batch 1,8,32")
        if len(set(self.batches)) != len(self.batches):
            raise UserError(f"a batch size stands twice in {','.join(map(str, self.batches))}")


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One prompt read and continued at one batch size."""

    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    """New tokens of all sequences a second, the prompt's time left out."""
    decode_joules_per_token: float | None
    """None: the device doesn't report energy."""


def check_room(model: Any, settings: SpeedSettings, name: Path) -> None:
    """Raises `UserError` if the model's window is too short for the prompt and what follows it."""
    text = getattr(model.config, "text_config", None) or model.config
    window = getattr(text, "max_position_embeddings", None)
    asked = settings.prompt_tokens + settings.new_tokens
    if window is not None and asked > window:
        raise UserError(
            f"{settings.prompt_tokens} + {settings.new_tokens} tokens don't fit {name}, whose window has {window}",
            hint=f"lower --prompt-tokens to {max(1, window - settings.new_tokens)} or less",
        )


@torch.no_grad()
def measure(model: Any, batch: int, settings: SpeedSettings, now: Now = time.perf_counter) -> Pass:
    """Reads `batch` random prompts and continues them greedily, with the model's own cache of keys and values."""
    device = torch.device(model.device)
    draws = torch.Generator().manual_seed(settings.seed)
    vocabulary = int((getattr(model.config, "text_config", None) or model.config).vocab_size)
    tokens = torch.randint(vocabulary, (batch, settings.prompt_tokens), generator=draws).to(device)
    last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    cache = cache_name(model)
    used = energy_counter(device)
    _settle(device)
    start = now()
    found = model(input_ids=tokens, use_cache=True, **last)
    following = found.logits[:, -1].argmax(-1, keepdim=True)
    _settle(device)
    read, joules = now(), used()
    for _ in range(settings.new_tokens):
        found = model(input_ids=following, use_cache=True, **{cache: getattr(found, cache)}, **last)
        following = found.logits[:, -1].argmax(-1, keepdim=True)
    _settle(device)
    written, after = now(), used()
    n_written = batch * settings.new_tokens
    known = joules is not None and after is not None and after >= joules  # counters start again at their limit
    return Pass(
        prefill_tokens_per_s=batch * settings.prompt_tokens / (read - start),
        decode_tokens_per_s=n_written / (written - read),
        decode_joules_per_token=(after - joules) / n_written if known else None,  # type: ignore[operator]
    )


def _settle(device: torch.device) -> None:
    """Waits for what an accelerator still computes."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
