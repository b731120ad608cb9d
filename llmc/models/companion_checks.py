"""The small files beside the weights: plain and of bounded size before a library opens them, and sound once it has."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from llmc.errors import UserError, quoted
from llmc.models.third_party import their_code
from llmc.reading.json_text import json_object, kind_of
from llmc.reading.tokenizer_file import check_tokenizer_file

LONGEST = 500 * 10**6
"""Bytes of a tokenizer's or settings' file at most; the largest known has 40 million."""
_READ = (".json", ".jinja", ".txt", ".model", ".tiktoken")
SAMPLE = "Every cat, 7 of them."


def check_companions(directory: Path) -> None:
    """Raises `UserError` for a file that a loader would open and never finish: a pipe, a device, one without end."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{directory} can't be read: {(error.strerror or str(error)).lower()}") from None
    for entry in entries:
        if not entry.name.endswith(_READ):
            continue
        try:
            found = Path(entry.path).stat()
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            raise UserError(f"{entry.path} can't be read: {said}", hint="take it away, or give its file") from None
        if stat.S_ISDIR(found.st_mode):
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_size > LONGEST:
            why = "is no plain file" if not stat.S_ISREG(found.st_mode) else f"has more than {LONGEST:,} bytes"
            raise UserError(f"{entry.path} {why}", hint="take it away, or give the file that the model was given with")
    check_generation(directory / "generation_config.json")
    if (tokens := directory / "tokenizer.json").is_file():
        check_tokenizer_file(tokens)


def check_generation(path: Path) -> None:
    """Raises `UserError` for generation settings whose end tokens are none."""
    if not path.is_file():
        return
    settings = json_object(path, at_most=10**6, hint="mend it, or take it away", lenient=True)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = settings.get(name)
        ids = value if isinstance(value, list) else [value]
        if not all(each is None or (type(each) is int and -1 <= each < 2**31) for each in ids):
            raise UserError(f"{path}: {name} is {quoted(value)}, and must be a token's number", hint="mend it")
    if settings.get("custom_generate") is not None:
        raise UserError(f"{path} names code of its own (custom_generate)", hint="take it out: llmc decodes by itself")


def check_tokenizer(tokenizer: Any, directory: Path) -> None:
    """Raises `UserError` for a tokenizer whose settings are of another kind, or that can't cut a short text."""
    longest = getattr(tokenizer, "model_max_length", None)
    if longest is not None and (type(longest) not in (int, float) or not longest > 0):
        raise UserError(
            f"{directory}: the tokenizer's model_max_length is {quoted(longest)}, and must be a number above 0",
            hint="mend tokenizer_config.json",
        )
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(tokenizer, name, None)
        if value is not None and (type(value) is not int or not 0 <= value < 2**31):
            raise UserError(
                f"{directory}: the tokenizer's {name} is {quoted(value)}", hint="mend tokenizer_config.json"
            )
    template = getattr(tokenizer, "chat_template", None)
    if template is not None and not isinstance(template, str | dict):
        raise UserError(
            f"{directory}: the tokenizer's chat_template is {kind_of(template)} and no text", hint="mend the template"
        )
    with their_code(directory, "read by its tokenizer", hint="copy the model's tokenizer files beside it anew"):
        ids = tokenizer(SAMPLE, verbose=False)["input_ids"]
        tokenizer.decode(ids)
        bare = tokenizer(SAMPLE, add_special_tokens=False, verbose=False)["input_ids"]
    if not bare or not all(type(each) is int and 0 <= each < 2**31 for each in [*ids, *bare]):
        raise UserError(
            f"{directory}: the tokenizer makes {quoted(bare)} of a sentence", hint="copy the model's own tokenizer here"
        )
