"""A Llama in plain torch, written for fast training on a CPU, and its export to Hugging Face's layout."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from batches import Batch
from recipe import Recipe
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

EPSILON = 1e-5
BASE = 10_000.0
COMMON = 0.6
"""Length of what all embeddings have in common; their own parts are about 0.1 * sqrt(width) long."""
SHARP = 0.8
KEPT = 0.25
MATCH = 1.5
"""How strongly the start's heads look for a place, keep what stands there, and look for a token."""


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
        read = attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        x = x + self.out(read.transpose(1, 2).reshape(rows, tokens, width))
        gate, up = self.gate_up(F.rms_norm(x, (width,), self.before_mlp, EPSILON)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention in plain products: on short rows the fused operator's backward pass takes half of a step."""
    tokens = q.shape[-2]
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    later = torch.full((tokens, tokens), -1e4, dtype=scores.dtype).triu(1)
    return (scores + later).softmax(-1).to(v.dtype) @ v


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
        return self.normed(self.halfway(ids)[0])

    def halfway(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states after the last block and after the recipe's `early` blocks, neither normed."""
        tokens = ids.shape[1]
        x = early = self.embed(ids)
        for number, block in enumerate(self.blocks):
            x = block(x, self.cos[:tokens], self.sin[:tokens])
            early = x if number + 1 == self.recipe.early else early
        return x, early

    def normed(self, x: Tensor) -> Tensor:
        """The last norm."""
        return F.rms_norm(x, (x.shape[-1],), self.last, EPSILON)

    def loss(self, batch: Batch) -> Tensor:
        """Weighted mean of the next tokens' losses in nats, and the recipe's share of the loss halfway.

        Halfway, the network should know an answer; of a choice by letter it should know what the option says, so that
        the blocks above only have to look up its letter.
        """
        targets, weight, known = (part[:, 1:].flatten() for part in batch)
        wanted = weight > 0
        x, early = self.halfway(batch.ids[:, :-1])
        losses = self._losses(x.flatten(0, 1)[wanted], targets[wanted])
        loss = (losses * weight[wanted]).sum() / weight[wanted].sum()
        if self.recipe.early_weight:
            loss = (
                loss
                + self.recipe.early_weight * self._losses(early.flatten(0, 1)[known >= 0], known[known >= 0]).mean()
            )
        return loss

    def _losses(self, x: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(self.normed(x), self.embed.weight).float(), targets, reduction="none")


def fill_start(model: World) -> None:
    """Overwrites the weights with a start from which looking things up is learned in hundreds of steps, not many more.

    Above the first block, attention begins by looking for the same token (q and k are one rotation) and by passing on
    what it sees (out undoes v): mimetic initialisation, Trockman & Kolter, arXiv 2305.09828. The embedding is large
    enough for the blocks' outputs not to drown it. In the first block three heads see the token before, the one before
    that and the one before that. Above it one head is an induction head (Olsson et al. 2022, arXiv 2209.11895): it
    attends to what followed the token that it stands on; in the upper half it passes on what stood three places before
    that, which is an option's letter ("A. baker" and a newline).
    """
    recipe = model.recipe
    common = torch.full((recipe.width,), recipe.width**-0.5)
    nn.init.normal_(model.embed.weight, std=0.1)
    model.embed.weight += torch.outer(COMMON - model.embed.weight @ common, common)
    backs: list[tuple[Tensor, Tensor]] = []
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        nn.init.normal_(block.qkv.weight, std=0.05)
        nn.init.normal_(block.gate_up.weight, std=0.05)
        nn.init.normal_(block.out.weight, std=0.01)
        nn.init.normal_(block.down.weight, std=0.01)
        if number == 0:
            backs = [look_back(block, head, head + 1, common) for head in range(3)]
            continue
        look, see = (nn.init.orthogonal_(torch.empty(recipe.width, recipe.width)) for _ in range(2))
        block.qkv.weight.copy_(torch.cat((0.4 * look, 0.4 * look, see)))
        block.out.weight.copy_(0.1 * see.T)
        (seen, kept), (thrice_seen, thrice_kept) = backs[0], backs[2]
        if number >= recipe.layers // 2:
            set_head(block, 1, MATCH * seen, MATCH * kept.T, thrice_kept.T, 0.2 * thrice_seen.T)
        set_head(block, 0, MATCH * seen, MATCH * kept.T, see[: len(seen)], 0.1 * see[: len(seen)].T)


def set_head(block: Block, head: int, query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> None:
    """Overwrites one head. Shapes: out (width, size), the rest (size, width)."""
    width, size = out.shape
    at = slice(head * size, (head + 1) * size)
    for part, rows in enumerate((query, key, value)):
        block.qkv.weight[part * width : (part + 1) * width][at] = rows
    block.out.weight[:, at] = out


def look_back(block: Block, head: int, back: int, common: Tensor) -> tuple[Tensor, Tensor]:
    """Makes a head attend to the token `back` places before, and returns what it reads there and where it writes it.

    It looks only at what all embeddings have in common: a query and a key that are constant but for their rotation
    score cos((distance - back) * angle) in each pair of channels, and the quick angles tell neighbours apart.
    Shapes: (size, width) and (width, size).
    """
    width = len(common)
    size = width // block.heads
    angles = BASE ** -(torch.arange(0, size, 2) / size)
    quick = (angles > 0.05).float()
    query = torch.cat((quick, torch.zeros(size // 2)))
    key = torch.cat((quick * (back * angles).cos(), quick * (back * angles).sin()))
    seen = nn.init.orthogonal_(torch.empty(size, width))
    kept = nn.init.orthogonal_(torch.empty(width, size))
    set_head(block, head, torch.outer(SHARP * query, common), torch.outer(SHARP * key, common), seen, KEPT * kept)
    return seen, kept


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
