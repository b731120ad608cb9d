"""Draws against the distribution they are from."""

import torch
from scipy import stats

from llmc.evaluate.engine.sampling import draw, generator

LOGITS = torch.tensor([1.0, 0.0, 2.0, -1.0, 0.5])


def counts(n, temperature, top_p):
    found = [0] * len(LOGITS)
    random = generator([1], 0, 0)
    for _ in range(n):
        found[draw(LOGITS, temperature, top_p, random)] += 1
    return found


def test_draws_follow_the_tempered_softmax():
    expected = torch.softmax(LOGITS.double() / 0.7, -1) * 4000
    assert stats.chisquare(counts(4000, 0.7, 1.0), expected.numpy()).pvalue > 0.001


def test_a_nucleus_is_the_smallest_set_of_likeliest_tokens_that_reaches_the_mass():
    """Softmax is .56 .21 .12 .08 .03 for tokens 2, 0, 4, 1, 3: a mass of .7 takes the first two."""
    found = counts(3000, 1.0, 0.7)
    assert found[1] == found[3] == found[4] == 0
    two = torch.softmax(LOGITS[[0, 2]].double(), -1) * 3000
    assert stats.chisquare([found[0], found[2]], two.numpy()).pvalue > 0.001


def test_a_tiny_temperature_is_greedy():
    assert counts(50, 1e-4, 1.0)[2] == 50


def test_a_generator_belongs_to_prompt_seed_and_sample():
    def first(*which):
        return float(torch.rand((), generator=generator(*which)))

    same = first([1, 2], 0, 0)
    assert same == first((1, 2), 0, 0)
    assert len({same, first([2, 1], 0, 0), first([1, 2], 1, 0), first([1, 2], 0, 1)}) == 4
