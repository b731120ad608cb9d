"""Inputs and statistics of made-up layers for the tests of methods."""

import torch

from llmc.compress.method import LayerStats


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlated(n_tokens: int, width: int, seed: int = 0) -> torch.Tensor:
    """Inputs whose channels depend on each other and differ in size."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator) / width**0.5
    spread = torch.rand(width, generator=generator) * 3
    return torch.randn(n_tokens, width, generator=generator) @ (torch.eye(width) + mix) * spread


def stats_of(x: torch.Tensor) -> LayerStats:
    x = x.float()
    return LayerStats(n_tokens=len(x), sq_norm=x.square().sum(0), abs_sum=x.abs().sum(0), gram=x.T @ x)
