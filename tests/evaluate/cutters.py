"""Tokenizers of every kind of beginning and end, and a model that says what it is told to; made without a network."""

import copy

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tests.evaluate import tiny

FRAMES = {
    "none": (None, (), ()),
    "bos": ("<s> $A", (0,), ()),
    "eos": ("$A </s>", (), (1,)),
    "both": ("<s> $A </s>", (0,), (1,)),
    "two": ("<unk> <s> $A", (3, 0), ()),
}
"""What each puts around a text: the template, and the tokens before and behind."""


def framed(kind: str, template: str | None = None) -> PreTrainedTokenizerFast:
    """One token a byte, with the frame `kind` and a chat template."""
    made = copy.deepcopy(tiny.tokenizer())
    single = FRAMES[kind][0]
    if single is not None:
        names = [(name, i) for i, name in enumerate(("<s>", "</s>", "<pad>", "<unk>"))]
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=names)
    made.chat_template = template
    return made


def sentencepiece(scheme: str) -> PreTrainedTokenizerFast:
    """Words with the space before them as a letter and bytes for what is unknown, as Llama's and Gemma's."""
    inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=scheme)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    words = ["the", "river", "is", "wide", "Answer:", "yes", "no", "not", "wrong", "Question", "A", "B", "C", "D"]
    lines = [" ".join(words[i % len(words)] for i in range(k, k + 9)) for k in range(200)]
    inner.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False))
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def saying(tokens: list[int], after: int, *, ends: object = 1) -> GPT2LMHeadModel:
    """A model that writes `tokens` after a prompt of `after` tokens, whatever the prompt says."""
    torch.manual_seed(0)
    size = {"vocab_size": 270, "n_embd": 256, "n_head": 4, "n_layer": 1, "n_positions": 256}
    model = GPT2LMHeadModel(GPT2Config(**size, tie_word_embeddings=False, bos_token_id=0, eos_token_id=1)).eval()
    with torch.no_grad():
        for parameter in model.transformer.h.parameters():
            parameter.zero_()
        model.transformer.wte.weight.zero_()
        model.transformer.wpe.weight.copy_(torch.linalg.qr(torch.randn(256, 256))[0])
        model.lm_head.weight.zero_()
        states = model.transformer.ln_f(model.transformer.wpe.weight)
        for place, token in enumerate(tokens):
            model.lm_head.weight[token] += states[after - 1 + place]
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=ends, pad_token_id=2)
    return model
