"""A model's chat template: messages as a prompt that is open for the answer, without a thought where it allows that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jinja2 import Environment, TemplateError, meta

from llmc.errors import UserError
from llmc.evaluate.prompting.thoughts import open_at_end

Messages = Sequence[Mapping[str, str]]
_PROBE: Messages = ({"role": "user", "content": "Is water wet?"},)
_MARK = "Zebra7"
_THINKING = re.compile("think|reason|thought", re.IGNORECASE)
_HISTORY = re.compile(
    "content|history|keep|clear|preserve|truncate|strip|prefix|token_|_start|_end|_tag", re.IGNORECASE
)
"""In the names of template variables that are about thoughts in earlier turns, or about how a thought is marked."""
_OFF_WORDS = ("none", "off", "disabled", "no_think", "nothink")
_ORDERS = ("/no_think", "/nothink", "detailed thinking off")
"""What some templates look for in a system message."""


@dataclass(frozen=True)
class Chat:
    """Renders conversations; what it found out about the template once stands in its fields."""

    tokenizer: Any
    switches: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the template that turn its thinking off, with their values."""
    order: str | None = None
    """What a system message must say to turn its thinking off."""

    @classmethod
    def of(cls, tokenizer: Any) -> Chat | None:
        """The tokenizer's chat template, asked for no thinking; None: it has no template."""
        source = template_of(tokenizer)
        if source is None:
            return None
        tried = list(_attempts(source))
        for switches, order in tried:
            made = cls(tokenizer, switches, order)
            try:
                if open_at_end(made(_PROBE)) is None:
                    return made
            except (UserError, TypeError, ValueError):  # a value that the template can't take
                continue
        return cls(tokenizer)

    def __call__(self, messages: Messages) -> str:
        """The prompt. A system message goes before the first question where the template knows no such role (Gemma's).

        A `UserError` with the template's own words where it refuses that too.
        """
        messages = list(messages) if self.order is None else _ordered(messages, self.order)
        tried = [messages]
        if len(messages) > 1 and messages[0]["role"] == "system" and messages[1]["role"] == "user":
            both = f"{messages[0]['content']}\n\n{messages[1]['content']}"
            tried.append([{**messages[1], "content": both}, *messages[2:]])
        refused: Exception | None = None
        for attempt in tried:
            try:
                return self._rendered(attempt, add_generation_prompt=True)
            except Exception as error:  # a template is a program of the model's, and can raise anything
                refused = refused or error
        reason = str(refused).splitlines()[0] if str(refused) else "no reason"
        raise UserError(
            f"the model's chat template refuses a prompt ({reason})",
            hint="mend the template, or add --no-chat to ask in plain text",
        ) from refused

    def _rendered(self, messages: Messages, **how: Any) -> str:
        return str(self.tokenizer.apply_chat_template(list(messages), tokenize=False, **how, **self.switches))

    def unfinished(self, messages: Messages) -> str:
        """A conversation whose last message, the assistant's, is to be gone on with."""
        return self._rendered(messages, continue_final_message=True)

    @cached_property
    def closing(self) -> str | None:
        """The mark that closes the thought which every prompt opens; None: prompts open none."""
        return open_at_end(self(_PROBE))

    @cached_property
    def glue(self) -> str:
        """White space that the template puts between an open prompt and the answer: " " after `[/INST]` or `USER:`."""
        prompt = self(_PROBE)
        try:
            answered = self._rendered([*_PROBE, {"role": "assistant", "content": _MARK}], add_generation_prompt=False)
        except Exception:  # as above; nothing is known of the glue then
            return ""
        before, found, _ = answered.partition(_MARK)
        between = before[len(prompt) :]
        return between if found and before.startswith(prompt) and between.isspace() else ""

    def facts(self) -> dict[str, Any]:
        """For the manifest: what was done about thoughts."""
        return {"switches": dict(self.switches), "order": self.order, "opens_thought": self.closing is not None}


def template_of(tokenizer: Any) -> str | None:
    """The source of the template for plain conversations; None: there is none."""
    found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, dict):
        found = found.get("default")
    return str(found) if found else None


def _attempts(source: str) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Ways to ask for no thinking, the surest first: all switches, each alone, an order in the system message."""
    switches = _switches(source)
    yield switches, None
    if len(switches) > 1:
        for name, value in switches.items():
            yield {name: value}, None
    if switches:
        yield {}, None
    for order in _ORDERS:
        if order in source:
            yield switches, order


def _switches(source: str) -> dict[str, Any]:
    """The variables of a template that are about thinking, each with the value that turns it off."""
    plain = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", source)  # transformers' own tag
    try:
        names = meta.find_undeclared_variables(Environment(extensions=["jinja2.ext.loopcontrols"]).parse(plain))
    except (TemplateError, RecursionError):
        names = set()
    named = ((name, _off(name, source)) for name in sorted(names) if _THINKING.search(name))
    return {name: value for name, value in named if value is not None}


def _off(name: str, source: str) -> Any:
    low = name.lower()
    if _HISTORY.search(low):
        return None
    if "budget" in low:
        return 0
    if re.search("effort|mode|level|type", low):
        return next((word for word in _OFF_WORDS if f"'{word}'" in source or f'"{word}"' in source), None)
    return bool(re.match("no_|non_|disable|skip|without", low))


def _ordered(messages: Messages, order: str) -> list[Mapping[str, str]]:
    first, *rest = messages
    if first["role"] == "system":
        return [{**first, "content": f"{first['content']}\n{order}"}, *rest]
    return [{"role": "system", "content": order}, first, *rest]
