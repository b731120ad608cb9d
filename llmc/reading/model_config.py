"""`config.json` of a model: its values have the kinds and sizes that a decoder's have, and none loads code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmc.errors import UserError, quoted
from llmc.reading.bounded import MB
from llmc.reading.json_text import json_object, kind_of
from llmc.reading.quantization import check_quantization

AGAIN = "download it again, or mend this value"
LONGEST = 10 * MB
LARGEST = 2**40
"""No number of a decoder's config is larger, but for infinity, which some have."""

ATTENTIONS = ("eager", "sdpa", "flex_attention")
"""What transformers computes attention with by its own code; of other names it fetches code."""
EXPERTS = ("eager", "grouped_mm", "batched_mm")
_CODE = (
    "custom_generate", "use_pretrained_backbone", "use_timm_backbone", "transformers_weights", "compression_config",
    "use_kernels", "kernel_config", "trust_remote_code", "gguf_file", "adapter_file",
)  # fmt: skip
"""Names whose values make transformers read other weights or other code than the folder's plain ones."""

Fault = str | None
Check = Callable[[Any], Fault]


def model_config(path: Path) -> dict[str, Any]:
    """The object in a config.json. Raises `UserError` naming the first value that no decoder can have."""
    config = json_object(path, at_most=LONGEST, hint="download it again", lenient=True)
    for where, name, value in _values(config):
        if (why := _fault(name, value)) is not None:
            raise UserError(f"{path}: {where} is {quoted(value)}, and {why}", hint=AGAIN)
    for part in (config, *(each for key, each in config.items() if key.endswith("_config") and isinstance(each, dict))):
        if (why := _heads(part)) is not None:
            raise UserError(f"{path}: {why}", hint=AGAIN)
        if stored := part.get("quantization_config"):
            check_quantization(stored, path)
    return config


def _values(part: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every value of an object and of those in it: where it stands, its name, itself; those of a list as `name[]`."""
    for name, value in part.items():
        yield f"{inside}{name}", name, value
        for at, each in enumerate(value if isinstance(value, list) else [value]):
            listed = f"[{at}]" if isinstance(value, list) else ""
            if isinstance(each, dict):
                yield from _values(each, f"{inside}{name}{listed}.")
            elif listed:
                yield f"{inside}{name}{listed}", f"{name}[]", each


def _fault(name: str, value: Any) -> Fault:
    """What is wrong with a value under this name; None where nothing is known to be."""
    if type(value) is int and abs(value) > LARGEST:
        return "no number of a model's is as large"
    if name in _CODE and value not in (None, False, {}, []):
        return "it would make transformers load something else than this folder's weights with its own code"
    bare = name.removesuffix("[]")
    for pattern, check in _CHECKS:
        if pattern.fullmatch(bare):
            # Some models have a list with a value a layer: its values come by themselves.
            passed = check not in _BY_LAYER if bare != name else check in _BY_LAYER and isinstance(value, list)
            return None if value is None or passed else check(value)
    return None


def _count(least: int, most: int) -> Check:
    def check(value: Any) -> Fault:
        if type(value) is not int:
            return f"must be a whole number, not {kind_of(value)}"
        return None if least <= value <= most else f"must lie between {least:,} and {most:,}"

    return check


def _number(least: float, most: float) -> Check:
    def check(value: Any) -> Fault:
        if type(value) not in (int, float):
            return f"must be a number, not {kind_of(value)}"
        return None if least <= value <= most else f"must lie between {least:g} and {most:g}"

    return check


def _truth(value: Any) -> Fault:
    return None if isinstance(value, bool) else f"must be true or false, not {kind_of(value)}"


def _text(value: Any) -> Fault:
    return None if isinstance(value, str) else f"must be a text, not {kind_of(value)}"


def _texts(value: Any) -> Fault:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return None
    return "must be a list of texts"


def _mapping(value: Any) -> Fault:
    return None if isinstance(value, dict) else f"must be an object, not {kind_of(value)}"


def _yes(value: Any) -> Fault:
    return None if value is True else "must be true: nothing reads a model's outputs otherwise"


def _one_of(known: tuple[str, ...]) -> Check:
    def check(value: Any) -> Fault:
        chosen = list(value.values()) if isinstance(value, dict) else [value]
        if all(each is None or (isinstance(each, str) and each in known) for each in chosen):
            return None
        return f"of names other than {', '.join(known)} transformers fetches or loads code"

    return check


_SIZE, _LAYERS, _HEADS, _WINDOW = _count(1, 10**7), _count(1, 10**4), _count(1, 10**5), _count(1, 10**9)
_SOME, _ID, _SHARE, _TINY = _count(0, 10**6), _count(-1, 10**9), _number(0, 1), _number(0, 1)
_BY_LAYER: frozenset[Check] = frozenset({_SIZE, _HEADS, _SOME, _ID, _SHARE, _WINDOW})
_CHECKS: tuple[tuple[re.Pattern[str], Check], ...] = tuple(
    (re.compile(names), check)
    for names, check in (
        (r"hidden_size|n_embd|d_model|word_embed_proj_dim|intermediate_size|ffn_dim|n_inner|head_dim|d_ff", _SIZE),
        (r"moe_intermediate_size|shared_expert_intermediate_size|embedding_size", _SIZE),
        (r"num_hidden_layers|n_layers?|num_layers|decoder_layers|num_decoder_layers", _LAYERS),
        (r"num_attention_heads|n_heads?|num_key_value_heads|decoder_attention_heads", _HEADS),
        (r"vocab_size", _count(1, 10**8)),
        (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_sequence_length", _WINDOW),
        (r"sliding_window|attention_chunk_size", _count(0, 10**9)),
        (r"(bos|eos|pad|sep|cls|mask|unk|image|audio|video)_token_id|decoder_start_token_id", _ID),
        (r"(rms_norm|layer_norm|layernorm|norm|ln)_(eps|epsilon)|layer_norm_epsilon|epsilon", _TINY),
        (r"(attention|attn|hidden|resid|embd|embed|activation|classifier)_(dropout|pdrop)(_prob)?|dropout", _SHARE),
        (r"partial_rotary_factor|rotary_pct", _number(1e-6, 1)),
        (r"rope_theta|rope_local_base_freq|rotary_emb_base", _number(1e-6, 1e15)),
        (r"initializer_range", _number(0, 1e6)),
        (r"tie_word_embeddings|use_cache|is_decoder|is_encoder_decoder|output_attentions|output_hidden_states", _truth),
        (r"return_dict", _yes),
        (r"model_type|hidden_act|activation_function|hidden_activation", _text),
        (r"architectures|layer_types|mlp_layer_types", _texts),
        (r"_?attn_implementation(_internal)?", _one_of(ATTENTIONS)),
        (r"_?experts_implementation(_internal)?", _one_of(EXPERTS)),
        (r"text_config|rope_parameters|rope_scaling|quantization_config|id2label|label2id", _mapping),
        (r"num_labels|(num|n)_[a-z_]*(experts|predict_layers|mtp_layers|groups|heads|layers|blocks)", _SOME),
    )
)


def _heads(part: Mapping[str, Any]) -> Fault:
    """Why heads and width don't go together; None where they do or aren't named."""
    heads, groups = part.get("num_attention_heads"), part.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(groups, int) and heads % groups:
        return f"{heads} attention heads can't share {groups} heads of keys and values"
    return None
