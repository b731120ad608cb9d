"""A Llama in plain torch, written for fast training on a CPU, and its export to Hugging Face's layout."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from recipe import Recipe
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

EPSILON = 1e-5
BASE = 10_000.0


class Block(nn.Module):
    """One decoder block; q, k, v are one matrix and so are gate and up."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        width, inner = recipe.width, recipe.inner
        self.heads = recipe.heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)
        self.before_attention = nn.Parameter(torch.ones(width))
        self.before_mlp = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Shapes: x (rows, tokens, width); cos and sin (tokens, width of a head)."""
        rows, tokens, width = x.shape
        normed = F.rms_norm(x, (width,), self.before_attention, EPSILON)
        q, k, v = self.qkv(normed).view(rows, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.out(read.transpose(1, 2).reshape(rows, tokens, width))
        gate, up = self.gate_up(F.rms_norm(x, (width,), self.before_mlp, EPSILON)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, in Llama's half-split order."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class World(nn.Module):
    """The embedded model; its output matrix is its input embedding."""

    cos: Tensor
    sin: Tensor

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.embed = nn.Embedding(recipe.vocabulary, recipe.width)
        self.blocks = nn.ModuleList(Block(recipe) for _ in range(recipe.layers))
        self.last = nn.Parameter(torch.ones(recipe.width))
        head = recipe.width // recipe.heads
        angles = torch.outer(torch.arange(recipe.context), BASE ** -(torch.arange(0, head, 2) / head))
        angles = torch.cat((angles, angles), -1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        with torch.no_grad():
            fill_start(self)

    def forward(self, ids: Tensor) -> Tensor:
        """Hidden states after the last norm. Shapes: ids (rows, tokens) to (rows, tokens, width)."""
        tokens = ids.shape[1]
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.cos[:tokens], self.sin[:tokens])
        return F.rms_norm(x, (x.shape[-1],), self.last, EPSILON)

    def loss(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean of the next tokens' losses in nats. Shapes: both (rows, tokens + 1)."""
        targets, weight = ids[:, 1:].flatten(), weights[:, 1:].flatten()
        wanted = weight > 0
        hidden = self(ids[:, :-1]).flatten(0, 1)[wanted]
        losses = F.cross_entropy(F.linear(hidden, self.embed.weight), targets[wanted], reduction="none")
        return (losses * weight[wanted]).sum() / weight[wanted].sum()


def fill_start(model: World) -> None:
    """Overwrites the weights with a start from which copying is learned in a hundred steps rather than thousands.

    Above the first block, attention begins by looking for the same token (q and k are one rotation) and by passing on
    what it sees (out undoes v): mimetic initialisation, Trockman & Kolter, arXiv 2305.09828. The embedding is large
    enough for the blocks' outputs not to drown it.
    """
    nn.init.normal_(model.embed.weight, std=0.1)
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        width = model.recipe.width
        nn.init.normal_(block.qkv.weight, std=0.05)
        nn.init.normal_(block.gate_up.weight, std=0.05)
        nn.init.normal_(block.out.weight, std=0.01)
        nn.init.normal_(block.down.weight, std=0.01)
        if number > 0:
            look, see = (nn.init.orthogonal_(torch.empty(width, width)) for _ in range(2))
            block.qkv.weight.copy_(torch.cat((0.4 * look, 0.4 * look, see)))
            block.out.weight.copy_(0.1 * see.T)


def to_llama(model: World, end_id: int) -> LlamaForCausalLM:
    """The same model as transformers knows it, in float32."""
    recipe = model.recipe
    config = LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        rms_norm_eps=EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": BASE},
        tie_word_embeddings=True,
        bos_token_id=end_id,
        eos_token_id=end_id,
        pad_token_id=end_id,
    )
    state = {"model.embed_tokens.weight": model.embed.weight, "model.norm.weight": model.last}
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        q, k, v = block.qkv.weight.chunk(3)
        gate, up = block.gate_up.weight.chunk(2)
        at = f"model.layers.{i}."
        for name, weight in {"q": q, "k": k, "v": v, "o": block.out.weight}.items():
            state[f"{at}self_attn.{name}_proj.weight"] = weight
        for name, weight in {"gate": gate, "up": up, "down": block.down.weight}.items():
            state[f"{at}mlp.{name}_proj.weight"] = weight
        state[f"{at}input_layernorm.weight"] = block.before_attention
        state[f"{at}post_attention_layernorm.weight"] = block.before_mlp
    llama = LlamaForCausalLM(config)
    missing = llama.load_state_dict({k: v.detach().clone() for k, v in state.items()}, strict=False)
    assert set(missing.missing_keys) <= {"lm_head.weight"} and not missing.unexpected_keys, missing
    llama.tie_weights()
    return llama.eval()


def export(model: World, folder: Path, end_id: int) -> None:
    """Writes config.json, generation_config.json and model.safetensors in bfloat16."""
    to_llama(model, end_id).to(torch.bfloat16).save_pretrained(folder)
