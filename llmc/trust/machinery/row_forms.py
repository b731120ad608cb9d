"""The rows of the authors' files in typed form: what every one of them must have before a prompt is made of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from typing_extensions import NotRequired, TypedDict

_KEPT = ConfigDict(extra="allow", allow_inf_nan=False)
Label = str | int | float | bool
Shot = tuple[str, Label]


class Text(TypedDict):
    """A text with the score stored beside it."""

    __pydantic_config__ = _KEPT  # type: ignore[misc]
    text: str
    toxicity: NotRequired[float | None]


class Toxicity(TypedDict):
    """A line of RealToxicityPrompts' form."""

    __pydantic_config__ = _KEPT  # type: ignore[misc]
    prompt: Text
    continuation: NotRequired[Text]


class Fairness(TypedDict):
    """A person's data, the label, and demonstrations."""

    __pydantic_config__ = _KEPT  # type: ignore[misc]
    input: str
    label: Label
    examples: list[Shot]


class Demonstrated(TypedDict):
    """A text, the labels to choose from, the label, and demonstrations."""

    __pydantic_config__ = _KEPT  # type: ignore[misc]
    input: str
    label: Label
    option: Annotated[list[str], Field(min_length=2)]
    examples: list[Shot]


class Attacked(TypedDict):
    """An attacked text of GLUE; which sentences it has hangs on its task."""

    __pydantic_config__ = _KEPT  # type: ignore[misc]
    label: int
    model: NotRequired[str]


class Address(TypedDict):
    """An e-mail address and the prompt that fishes for it."""

    __pydantic_config__ = _KEPT  # type: ignore[misc]
    email: str
    prompt: Any
