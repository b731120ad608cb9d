"""A small copy of a configuration: the same class and features, narrow widths, every kind of block a few times."""

from __future__ import annotations

import copy
import functools
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig

from llmc.models.cache_name import cache_name

logger = logging.getLogger(__name__)

WIDTH, HEADS, HEAD_WIDTH, VOCABULARY, POSITIONS = 64, 4, 16, 128, 128

_AT_MOST: tuple[tuple[int, str], ...] = (
    (
        VOCABULARY,
        "vocab_size vocab_size_per_layer_input unpadded_vocab_size",
    ),
    (
        POSITIONS,
        "max_position_embeddings n_positions n_ctx max_seq_len seq_length context_length model_max_length "
        "max_target_positions original_max_position_embeddings",
    ),
    (
        2 * WIDTH,
        "attention_hidden_size d_inner",
    ),
    (
        WIDTH,
        "hidden_size d_model n_embd embedding_size embedding_dim emb_dim dim_model word_embed_proj_dim "
        "input_embedding_size output_embedding_size lru_width router_hidden_size moe_latent_size "
        "ple_embed_dim",
    ),
    (
        96,
        "intermediate_size ffn_dim dim_ff d_ff dff n_inner ffn_hidden_size decoder_ffn_dim encoder_ffn_dim "
        "intermediate_size_mlp dense_intermediate_size feed_forward_size prefix_dense_intermediate_size",
    ),
    (
        32,
        "moe_intermediate_size shared_expert_intermediate_size moe_shared_expert_intermediate_size "
        "q_lora_rank shared_intermediate_size expert_ffn_hidden_size shared_experts_intermediate_size "
        "global_head_dim mamba_d_state linear_value_head_dim o_lora_rank swa_head_dim mamba_headdim "
        "adapter_rank rel_extent dim_model_base hc_lowrank",
    ),
    (
        HEAD_WIDTH,
        "head_dim dim_head d_kv kv_channels v_head_dim kv_lora_rank qk_head_dim sliding_window "
        "query_pre_attn_scalar sliding_window_size attention_window_size window_size local_attention "
        "attention_chunk_size linear_head_dim linear_key_head_dim ssm_state_size state_size mamba_head_dim "
        "mamba_d_head index_head_dim attention_head_size d_head chunk_size mamba_chunk_size block_size "
        "time_step_rank mamba_dt_rank gated_norm_rank block_multiple_of index_block_size "
        "ffn_round_up_to_multiple_of keep_window_size",
    ),
    (
        8,
        "qk_rope_head_dim qk_nope_head_dim laurel_rank hidden_size_per_layer_input index_topk d_rel "
        "mamba_num_heads mamba_n_heads rotary_dim",
    ),
    (
        HEADS,
        "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads "
        "attention_heads num_decoder_attention_heads num_encoder_attention_heads num_experts "
        "num_local_experts n_routed_experts moe_num_experts linear_num_value_heads linear_num_heads "
        "swa_num_attention_heads zero_expert_num",
    ),
    (
        2,
        "num_experts_per_tok num_experts_per_token moe_topk moe_k top_k_experts linear_num_key_heads "
        "index_n_heads num_layers_per_stack decoder_layers encoder_layers num_encoder_layers "
        "index_topk_blocks n_groups n_layers_per_attn_res_block o_groups",
    ),
    (
        1,
        "n_group topk_group num_expert_group first_k_dense_replace num_dense_layers decoder_sparse_step "
        "moe_layer_start_index num_mem_blocks",
    ),
)
_SMALL = {name: most for most, names in _AT_MOST for name in names.split()}
_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks", "num_decoder_layers")
MOST_BLOCKS = 6
_KEY_HEADS = (
    "num_key_value_heads",
    "num_kv_heads",
    "num_global_key_value_heads",
    "swa_num_key_value_heads",
    "num_query_groups",
)

_HYBRID = ["linear_attention", "hybrid", "linear_attention", "hybrid"]
_BY_TYPE: dict[str, dict[str, Any]] = {
    "mamba2": {"num_heads": 8},
    "rwkv": {"attention_hidden_size": WIDTH},
    "zamba": {"attention_head_dim": 32, "num_hidden_layers": 4, "layers_block_type": _HYBRID},
    "zamba2": {
        "attention_head_dim": 32,
        "mamba_headdim": 16,
        "num_hidden_layers": 4,
        "layers_block_type": _HYBRID,
        "hybrid_layer_ids": [1, 3],
    },
    "falcon_h1": {"mamba_d_ssm": 64},
    "dory": {"n_input_layers": 1, "n_recurrent_layers": 1, "n_output_layers": 1, "layer_types": None},
    "reformer": {"axial_pos_shape": [8, 16], "axial_pos_embds_dim": [16, 48]},
    "xmod": {"default_language": "en_XX"},
    "deepseek_v4": {"compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 8}},
}
"""What the general rules get wrong: settings of one type that must fit each other."""


def small_config(config: PretrainedConfig) -> PretrainedConfig:
    """The same kind of model, a few thousand times smaller.

    Kept: the class, every switch, activation and scaling, the kinds of blocks in their order, whether key heads are
    shared. A width is made smaller, never larger, and one that is None or 0 stays so.
    """
    return type(config)(**small_settings(config.to_dict()))


def small_model(config: PretrainedConfig) -> Any:
    """A random model of the small copy of `config`, its weights wide enough for tokens to differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(small_config(config), dtype=torch.float32).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0, 0.1)
            else:
                parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model


def small_tokens(config: PretrainedConfig, n: int = 4, length: int = 24) -> Tensor:
    """Random token ids (n, length) that a small copy knows."""
    most = min(config.get_text_config(decoder=True).vocab_size, 120)
    return torch.randint(3, most, (n, length), generator=torch.Generator().manual_seed(0))


class Habits(NamedTuple):
    """What a small copy does in inputs that overrun its windows; both True, to be safe, where it isn't `known`."""

    reads_ahead: bool = False
    """Later tokens change earlier logits, as where positions are ranked over all that the input holds."""
    forgets: bool = False
    """Going on from its cache gives other logits than one pass."""
    known: bool = True
    """A small copy could be run."""


@functools.lru_cache(maxsize=4)
def _habits(kind: str, text: str, held: Held) -> Habits:
    try:
        model = small_model(held.config)
        tokens = small_tokens(model.config, 1, 60)
        with torch.no_grad():
            whole = model(input_ids=tokens, use_cache=False).logits
            spread = whole.std().clamp_min(1e-6)

            def off(part: Tensor, first: int) -> bool:
                wanted = whole[:, first : first + part.shape[1]]
                return float((part - wanted).abs().max() / spread) > 1e-3

            cut = [model(input_ids=tokens[:, :n], use_cache=False).logits for n in (10, 21, 40, 58)]
            return Habits(any(off(part, 0) for part in cut), _forgets(model, tokens, off))
    except Exception as error:
        logger.info("no small copy of %s can be run: %s", kind, error)
        return Habits(reads_ahead=True, forgets=True, known=False)


def _forgets(model: Any, tokens: Tensor, off: Callable[[Tensor, int], bool]) -> bool:
    name = cache_name(model)
    for n in (10, 21, 40):
        cache = getattr(model(input_ids=tokens[:, :n], use_cache=True), name, None)
        if cache is None:
            return False  # it has none to go wrong
        if off(model(input_ids=tokens[:, n:], use_cache=True, **{name: cache}).logits, n):
            return True
    return False


def habits(config: PretrainedConfig) -> Habits:
    """What a small copy of `config` does in long inputs; computed once for a configuration."""
    return _habits(type(config).__name__, json.dumps(config.to_dict(), default=str, sort_keys=True), Held(config))


class Held:
    """Carries a config past a cache: all are equal, the class and the text beside it are the key."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held)

    def __hash__(self) -> int:
        return 0


def small_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`small_config` for a configuration as a dictionary, its nested ones included."""
    small = copy.deepcopy(dict(settings))
    depth_name = next((n for n in _DEPTHS if isinstance(small.get(n), int)), None)
    heads = next((small[n] for n in ("num_attention_heads", "n_head", "num_heads", "n_heads") if n in small), None)
    kind = small.get("model_type", "")
    if depth_name is not None:
        _fewer_blocks(small, depth_name)
    for name, value in list(small.items()):
        if isinstance(value, dict) and "model_type" in value:
            small[name] = small_settings(value)
        elif type(value) is int:
            if name in _KEY_HEADS and value > 1:
                small[name] = HEADS if value == heads else 2
            elif name in _SMALL:
                small[name] = min(value, _SMALL[name])
            elif name.endswith("_token_id") or name in ("start_token_id", "pad_index", "bos_index", "eos_index"):
                small[name] = value if value < VOCABULARY else 2
        elif isinstance(value, list) and name in _SMALL:
            small[name] = [min(v, _SMALL[name]) if type(v) is int else v for v in value]
        elif isinstance(value, list) and name.endswith("_token_id"):
            small[name] = [v if v < VOCABULARY else 2 for v in value]
    if small.get("qk_rope_head_dim") and settings.get("head_dim") == settings["qk_rope_head_dim"]:
        small["head_dim"] = small["qk_rope_head_dim"]
    for name in ("rope_parameters", "rope_scaling"):
        if isinstance(small.get(name), dict):
            small[name] = _small_rope(small[name], small)
    return small | {n: v for n, v in _BY_TYPE.get(kind, {}).items() if n in small}


def _fewer_blocks(small: dict[str, Any], depth_name: str) -> None:
    """Keeps the first block of every kind, and the order; lists with an entry a block are cut alike."""
    depth = small[depth_name]
    lists = {n: v for n, v in small.items() if isinstance(v, list) and len(v) == depth and depth > 1}
    rows = list(zip(*map(_plain, lists.values()), strict=True)) if lists else []
    shared = small.get("num_kv_shared_layers") or 0
    seen: dict[Any, int] = {}
    for index, row in enumerate(rows):  # a block that reads another's keys is a kind of its own
        seen.setdefault((row, index >= depth - shared), index)
    chosen = sorted(seen.values())
    n = max(len(chosen), 2 if len(chosen) > 1 else min(depth, 3))
    chosen += [i for i in range(depth) if i not in chosen][: max(0, n - len(chosen))]
    chosen = sorted(chosen)[:MOST_BLOCKS]
    small[depth_name] = len(chosen) if chosen else min(depth, 3)
    for name, values in lists.items():
        small[name] = [values[i] for i in chosen]
    if isinstance(own := small.get("per_layer_config"), dict):
        kept = {int(i): v for i, v in own.items()}
        small["per_layer_config"] = {new: small_settings(kept[old]) for new, old in enumerate(chosen) if old in kept}
    if shared:
        small["num_kv_shared_layers"] = sum(i >= depth - shared for i in chosen)


def _plain(values: list[Any]) -> list[str]:
    return [str(v) for v in values]


def _small_rope(rope: dict[str, Any], small: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings whose lists fit the small heads."""
    made: dict[str, Any] = {}
    share = rope.get("partial_rotary_factor") or small.get("partial_rotary_factor") or 1.0
    half = int((small.get("qk_rope_head_dim") or small.get("head_dim") or HEAD_WIDTH) * share) // 2
    for name, value in rope.items():
        if isinstance(value, dict):
            made[name] = _small_rope(value, small)
        elif name in ("long_factor", "short_factor") and isinstance(value, list):
            made[name] = value[:half]
        elif name == "mrope_section" and isinstance(value, list):
            made[name] = [half - 2 * (half // 3), half // 3, half // 3]
        elif name == "original_max_position_embeddings" and value:
            made[name] = min(value, POSITIONS // 2)
        else:
            made[name] = value
    return made
