"""What a model calls its cache, given and given back: `past_key_values`, or `cache` from transformers 5.24 on."""

from __future__ import annotations

import inspect
from typing import Any


def cache_name(model: Any) -> str:
    """The name of the argument, and of what `forward` gives back."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
