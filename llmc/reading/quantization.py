"""`quantization_config` of a config.json: the settings of the packed formats in typed form, and no others unasked."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from llmc.errors import UserError, quoted, unknown
from llmc.offline import reachable

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from sre_parse import parse

RANKS = "llmc_factor_ranks"
"""The key that holds {layer: rank} where layers are stored as two thin matrices."""
REPEATS = 6
"""Endless repeats (`.*`) in a pattern at most: more can take minutes on the name of a layer."""


def check_pattern(text: str) -> str:
    """`text`, if it is a regular expression that is quickly decided on any name of a layer."""
    try:
        repeats = _repeats(parse(text), inside=False)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{quoted(text)} is no pattern ({error})") from None
    if repeats > REPEATS or len(text) > 500:
        raise ValueError(f"the pattern {quoted(text)} could take minutes to decide")
    return text


def _repeats(parsed: Any, *, inside: bool) -> int:
    """How many endless repeats a parsed pattern has; any number for one inside another, or a choice in one."""
    found = 0
    for operator, argument in parsed:
        name = str(operator)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            endless = int(argument[1]) > 64
            found += (REPEATS + 1 if inside else 1) if endless else 0
            found += _repeats(argument[2], inside=inside or endless)
        elif name == "BRANCH":
            found += REPEATS + 1 if inside else 0
            found += sum(_repeats(each, inside=inside) for each in argument[1])
        elif name in ("GROUPREF", "GROUPREF_EXISTS"):
            found += REPEATS + 1
        elif isinstance(argument, tuple):  # a group, or a look ahead or behind
            found += sum(_repeats(each, inside=inside) for each in argument if hasattr(each, "data"))
    return found


def _target(text: str) -> str:
    return f"re:{check_pattern(text[3:])}" if text.startswith("re:") else text


class _Form(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


Target = Annotated[str, AfterValidator(_target)]
Bits = Annotated[int, Field(ge=1, le=32)]
GroupSize = Annotated[int, Field(ge=-1, le=2**20)]


class GPTQ(_Form):
    """Of optimum, GPTQModel and AutoGPTQ."""

    bits: Bits
    group_size: GroupSize = 128
    desc_act: bool | None = None
    sym: bool | None = None
    checkpoint_format: str | None = None
    format: str | None = None
    pack_dtype: str = "int32"
    dynamic: dict[str, Any] | None = None
    block_name_to_quantize: str | None = None
    modules_in_block_to_quantize: list[list[str]] | None = None


class AWQ(_Form):
    """Of AutoAWQ."""

    bits: Bits = 4
    group_size: GroupSize = 128
    zero_point: bool | None = None
    version: str = "gemm"
    modules_to_not_convert: list[str] | None = None


class Scheme(_Form):
    """How compressed-tensors stores numbers."""

    num_bits: Bits = 8
    type: str = "int"
    strategy: str | None = None
    group_size: GroupSize | None = None
    symmetric: bool = True
    dynamic: bool | str = False


class Group(_Form):
    """Layers that compressed-tensors stores alike."""

    targets: list[Target]
    weights: Scheme | None = None
    input_activations: Scheme | None = None
    output_activations: Scheme | None = None
    format: str | None = None


class CompressedTensors(_Form):
    """Of compressed-tensors."""

    config_groups: dict[str, Group] | None = None
    format: str | None = None
    ignore: list[Target] | None = None
    kv_cache_scheme: dict[str, Any] | None = None
    sparsity_config: dict[str, Any] | None = None
    transform_config: dict[str, Any] | None = None


class Factors(_Form):
    """Our own low-rank pairs."""

    llmc_factor_ranks: dict[str, Annotated[int, Field(ge=1, le=10**7)]]


FORMS: Mapping[str, type[_Form]] = {"gptq": GPTQ, "awq": AWQ, "compressed-tensors": CompressedTensors}


def check_quantization(settings: Mapping[str, Any], path: Path) -> None:
    """Raises `UserError` for settings of another form, and for a kind that only transformers reads.

    Such a kind makes transformers load code of another package, or fetch it: allowed where the network is.
    """
    method = settings.get("quant_method")
    if RANKS in settings:
        form: type[_Form] = Factors
    elif isinstance(method, str) and method in FORMS:
        form = FORMS[method]
    elif isinstance(method, str) and reachable():
        return
    else:
        hint = "dequantise it first, or add --online where the command has it: transformers may fetch code for it"
        problem = f"{path}: llmc does not read quantization_config's quant_method {quoted(method)}"
        near = unknown("", method, FORMS).hint if isinstance(method, str) else None
        raise UserError(problem, hint=near if near is not None and near.startswith("did") else hint)
    try:
        form.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("quantization_config", *first["loc"]))
        raise UserError(
            f"{path}: {where} is {quoted(first['input'])}: {first['msg'].lower()}",
            hint="was it written by another llmc?",
        ) from None
