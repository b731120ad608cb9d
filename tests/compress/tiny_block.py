"""A decoder block in a page, and the view of it that balancing methods get."""

import math

import torch

from llmc.compress.method import LayerStats
from llmc.compress.walk.block import Pair
from tests.compress.layers import random, stats_of

WIDTH, HEADS, KV_HEADS, HEAD, HIDDEN, TOKENS = 32, 4, 2, 8, 48, 96
LINEARS = {
    "q": (HEADS * HEAD, WIDTH),
    "k": (KV_HEADS * HEAD, WIDTH),
    "v": (KV_HEADS * HEAD, WIDTH),
    "o": (WIDTH, HEADS * HEAD),
    "gate": (HIDDEN, WIDTH),
    "up": (HIDDEN, WIDTH),
    "down": (WIDTH, HIDDEN),
}


def normed(x, w):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * w


class TinyBlock:
    """Attention with two query heads a key-value head, a gated MLP, two norms; `one_plus` norms compute with 1 + w."""

    def __init__(self, *, one_plus: bool = False, massive: int | None = None, dtype=torch.float32):
        self.one_plus = float(one_plus)
        self.scales: dict[str, torch.Tensor] = {}
        self.linear = {n: random(*s, seed=i).div(s[1] ** 0.5).to(dtype) for i, (n, s) in enumerate(LINEARS.items())}
        self.v_bias = random(KV_HEADS * HEAD, seed=20).to(dtype)
        spread = random(WIDTH, seed=21).abs() + 0.5
        if massive is not None:
            spread[massive] = 30.0
        self.norm = {"norm1": spread - self.one_plus, "norm2": spread.flip(0) - self.one_plus}
        self.x = random(TOKENS, WIDTH, seed=22)
        self.inputs: dict[str, torch.Tensor] = {}
        self.run()

    @property
    def pairs(self):
        heads = torch.arange(HEADS) // (HEADS // KV_HEADS)
        source = (heads[:, None] * HEAD + torch.arange(HEAD)).flatten()
        return [
            Pair(producer="norm1", consumers=("q", "k", "v"), parent="attention"),
            Pair(producer="v", consumers=("o",), source=source),
            Pair(producer="norm2", consumers=("gate", "up"), parent="mlp"),
            Pair(producer="up", consumers=("down",)),
        ]

    clippable = ("v", "o", "gate", "up", "down")

    def weight(self, name):
        return self.linear[name]

    def set_weight(self, name, weight):
        self.linear[name] = weight.to(self.linear[name].dtype)

    def stats(self, name) -> LayerStats:
        return stats_of(self.inputs[name])

    def rescale(self, pair, scale):
        self.scales[pair.producer] = scale
        if pair.producer in self.norm:
            self.norm[pair.producer] = (self.norm[pair.producer] + self.one_plus) / scale - self.one_plus
        else:
            self.linear[pair.producer] = self.linear[pair.producer] / scale[:, None].to(self.v_bias.dtype)
        if pair.producer == "v":
            self.v_bias = self.v_bias / scale
        columns = scale if pair.source is None else scale[pair.source]
        for name in pair.consumers:
            self.linear[name] = self.linear[name] * columns.to(self.v_bias.dtype)
        for name in {*pair.consumers, pair.parent} & self.inputs.keys():
            self.inputs[name] = self.inputs[name] / columns

    def parent_output(self, parent):
        return {"attention": self.attention, "mlp": self.mlp}[parent](self.inputs[parent])

    def attention(self, x, capture=False):
        x = x.to(self.v_bias.dtype)
        q = (x @ self.linear["q"].T).view(-1, HEADS, HEAD)
        k = (x @ self.linear["k"].T).view(-1, KV_HEADS, HEAD).repeat_interleave(HEADS // KV_HEADS, dim=1)
        v = (x @ self.linear["v"].T + self.v_bias).view(-1, KV_HEADS, HEAD).repeat_interleave(HEADS // KV_HEADS, dim=1)
        score = torch.einsum("thd,shd->hts", q, k) / math.sqrt(HEAD)
        mixed = torch.einsum("hts,shd->thd", score.softmax(-1), v).flatten(1)
        if capture:
            self.inputs["o"] = mixed
        return mixed @ self.linear["o"].T

    def mlp(self, x, capture=False):
        x = x.to(self.v_bias.dtype)
        inner = torch.nn.functional.silu(x @ self.linear["gate"].T) * (x @ self.linear["up"].T)
        if capture:
            self.inputs["down"] = inner
        return inner @ self.linear["down"].T

    def run(self):
        """The block's output; captures the inputs of every layer and parent the first time."""
        capture = not self.inputs
        one = normed(self.x, self.norm["norm1"] + self.one_plus)
        middle = self.x + self.attention(one, capture)
        two = normed(middle, self.norm["norm2"] + self.one_plus)
        if capture:
            self.inputs |= dict.fromkeys(("attention", "q", "k", "v"), one)
            self.inputs |= dict.fromkeys(("mlp", "gate", "up"), two)
        return middle + self.mlp(two, capture)
