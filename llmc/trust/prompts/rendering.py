"""Which of the two renderings a run wants."""

from __future__ import annotations

from dataclasses import dataclass

from llmc.evaluate.task import Mode
from llmc.trust.prompts import compat, fixed
from llmc.trust.prompts.messages import Messages, user


@dataclass(frozen=True)
class Rendering:
    """How messages become a prompt in one run."""

    mode: Mode
    chat: fixed.Chat | None
    """The model's own chat template; None: it has none."""

    @property
    def template(self) -> compat.Template:
        """The published template that `compat` uses for this model."""
        return compat.guess(None if self.chat is None else self.chat((user("question"),)))

    @property
    def glue(self) -> str | None:
        """What stands between a prompt of this rendering and an answer; None: what plain text needs."""
        return None if self.mode == "compat" else getattr(self.chat, "glue", None)

    def prompt(self, messages: Messages, *, cue: bool = True) -> str:
        """The text that the model reads. `cue` is for the plain form alone."""
        if self.mode == "compat":
            return compat.render(messages, self.template)
        return fixed.render(messages, self.chat, cue=cue)
