"""Random small models of six architectures and a byte tokenizer, made in milliseconds without a network."""

import functools

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

SHAPE = {
    "vocab_size": 260,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2, "intermediate_size": 48}
CONFIGS = {
    "llama": lambda: LlamaConfig(**GROUPED),
    "gpt2": lambda: GPT2Config(
        vocab_size=260, n_embd=32, n_head=4, n_layer=2, n_positions=256, bos_token_id=0, eos_token_id=1
    ),
    "opt": lambda: OPTConfig(**SHAPE, ffn_dim=48, word_embed_proj_dim=32),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=8),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=12),
    "gemma3": lambda: Gemma3TextConfig(
        **{**GROUPED, "num_hidden_layers": 4},
        head_dim=8,
        sliding_window=12,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        query_pre_attn_scalar=8,
    ),
}


@functools.cache
def model(name):
    """A random model, sharp enough that its greedy choices don't hang on rounding."""
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(CONFIGS[name](), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    made.generation_config = transformers.GenerationConfig(bos_token_id=0, eos_token_id=1, pad_token_id=2)
    return made


@functools.cache
def tokenizer(*, bos: bool = False):
    """One token a byte, three special ones before; `bos` puts the first of them before every text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", "<pad>", "<unk>", *letters])}
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=256,
    )
