"""The plan: every row once, nothing read that is shared, nothing over budget, and as little computed as can be."""

import itertools
import random

import pytest

from llmc.evaluate.engine.prefix_tree import SMALL_FAMILY, Row, common_length
from llmc.evaluate.engine.prefixes import READ_TOKENS, n_alike, plan


def n_computed(groups, rows):
    """Tokens that the plan runs through the model, padding left out."""
    total = 0
    before = ()
    for group in groups:
        total += sum(map(len, group.stems[n_alike(before, group.stems) :]))
        total += sum(map(len, group.prefixes))
        total += sum(len(rows[row].tokens) - group.prefix_length for batch in group.batches for row, _ in batch)
        before = group.stems
    return total


def random_rows(seed):
    """Rows from a random tree of common beginnings, some of which contain others."""
    rng = random.Random(seed)
    stems = [tuple(rng.randrange(5) for _ in range(rng.randint(1, 60))) for _ in range(4)]
    rows = set()
    while len(rows) < 60:
        tokens = rng.choice(stems)[: rng.randint(1, 60)] + tuple(rng.randrange(5) for _ in range(rng.randint(1, 25)))
        rows.add(tokens)
    return [Row(tokens, rng.randint(1, min(5, len(tokens)))) for tokens in sorted(rows, key=lambda _: rng.random())]


@pytest.mark.parametrize("budget", [1, 64, 100_000])
@pytest.mark.parametrize("seed", range(6))
def test_a_plan_covers_every_row_once_within_the_budget(seed, budget):
    rows = random_rows(seed)
    groups = plan(rows, budget)
    seen = [row for group in groups for batch in group.batches for row, _ in batch]
    assert sorted(seen) == list(range(len(rows)))
    for group in groups:
        assert len({len(prefix) for prefix in group.prefixes}) <= 1
        assert len(set(group.prefixes)) == len(group.prefixes)
        for batch in group.batches:
            widths = [len(rows[row].tokens) - group.prefix_length for row, _ in batch]
            assert len(batch) == 1 or max(widths) * len(batch) <= budget
            for row, prefix in batch:
                shared = (*itertools.chain(*group.stems), *(group.prefixes[prefix] if group.prefixes else ()))
                assert rows[row].tokens[: len(shared)] == shared
                assert len(rows[row].tokens) - len(shared) >= rows[row].n_read


def test_a_header_is_computed_once():
    header = tuple(range(50))
    rows = [Row((*header, 100 + i, *[i] * 9), 1) for i in range(40)]
    assert n_computed(plan(rows, 1000), rows) == 50 + 40 * 10


def test_small_groups_of_nearly_equal_depth_share_a_batch():
    """Contexts of 40 to 47 tokens with four endings each are all cut at 40, and go together."""
    rows = [Row((1000 + i, *range(39 + i), *[500 + k] * 5), 4) for i in range(8) for k in range(4)]
    groups = plan(rows, 100_000)
    assert len(groups) == 1 and len(groups[0].prefixes) == 8 and groups[0].prefix_length == 40


def test_a_saving_smaller_than_a_pass_costs_isnt_taken():
    rows = [Row((1, 2, 3, i), 1) for i in range(3)]
    assert [(group.stems, group.prefixes) for group in plan(rows, 100)] == [((), ())]


def test_the_plan_takes_the_better_of_a_wide_and_deep_common_beginning():
    """Two families of 30 with 40 own tokens in common beat the 5 tokens that all 60 share."""
    rows = [Row((*range(5), *[family] * 40, 1000 + i), 1) for family in (7, 8) for i in range(30)]
    assert sorted(group.prefix_length for group in plan(rows, 10_000)) == [45, 45]
    assert all(len(batch) > SMALL_FAMILY for group in plan(rows, 10_000) for batch in group.batches)


def least_cost(rows, overhead, nested):
    """By trying every set of beginnings that two rows share; without `nested` none may continue another."""
    read = [row.tokens[: len(row.tokens) - row.n_read] for row in rows]
    shared = sorted({a[: common_length(a, b)] for a, b in itertools.combinations(read, 2)} - {()}, key=len)

    def known(tokens, chosen):
        """The longest chosen beginning of these tokens, in tokens."""
        return max((len(stem) for stem in chosen if tokens[: len(stem)] == stem), default=0)

    costs = []
    for n in range(len(shared) + 1):
        for chosen in itertools.combinations(shared, n):
            before = [known(stem, set(chosen) - {stem}) for stem in chosen]
            if nested or not any(before):
                stems = sum(len(stem) - start + overhead for stem, start in zip(chosen, before, strict=True))
                costs.append(stems + sum(len(r.tokens) - known(t, chosen) for r, t in zip(rows, read, strict=True)))
    return min(costs)


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_the_plan_computes_as_little_as_any_choice_of_beginnings(seed, nested, monkeypatch):
    if nested:
        monkeypatch.setattr("llmc.evaluate.engine.prefix_tree.SMALL_FAMILY", 0)
        monkeypatch.setattr("llmc.evaluate.engine.prefixes.SMALL_FAMILY", 0)
        monkeypatch.setattr("llmc.evaluate.engine.prefix_tree.OVERHEAD", 16)
    monkeypatch.setattr("llmc.evaluate.engine.prefix_tree.ROUND_TO", 1)
    rng = random.Random(seed)
    stem = tuple(rng.randrange(3) for _ in range(60))
    rows = [Row((*stem[: rng.randint(1, 60)], 9, i, *[0] * rng.randint(1, 30)), rng.randint(1, 20)) for i in range(7)]
    rows = [row._replace(n_read=min(row.n_read, len(row.tokens))) for row in rows]
    groups = plan(rows, 10_000)
    assert n_computed(groups, rows) + 16 * n_prefills(groups) == least_cost(rows, 16, nested)


def test_savings_smaller_than_a_pass_are_left_where_rows_are_many():
    rows = [Row((*range(5), *[9] * 3, 100 + i), 1) for i in range(20)]
    assert [group.stems for group in plan(rows, 1000)] == [()]


def n_prefills(groups):
    """Stems and prefixes that are computed on their own, by walking the plan as the engine does."""
    total, chain = 0, []
    for group in groups:
        while chain and tuple(chain) != group.stems[: len(chain)]:
            chain.pop()
        total += len(group.stems) - len(chain) + len(group.prefixes)
        chain = list(group.stems)
    return total


def n_different_beginnings(rows):
    """What no plan can beat: each different beginning of a row is a token computed once."""
    return len({row.tokens[: i + 1] for row in rows for i in range(len(row.tokens))})


def test_questions_under_a_header_and_choices_under_a_question_are_both_shared():
    header = tuple(range(50))
    rows = [Row((*header, *[100 + q] * 25, *[200 + c] * 7), 6) for q in range(30) for c in range(4)]
    groups = plan(rows, 10_000)
    assert [group.stems for group in groups] == [(header,)] and len(groups[0].prefixes) == 30
    # Questions end at 75, and are cut to a multiple of 8.
    assert n_computed(groups, rows) == 50 + 30 * 22 + 120 * (3 + 7)


def test_families_of_questions_under_two_headers_of_one_instruction_are_shared_three_deep():
    rows = [
        Row((*range(40), *[100 + h] * 40, *[1000 + h * 100 + q] * 16, c), 1)
        for h in range(2)
        for q in range(20)
        for c in range(4)
    ]
    groups = plan(rows, 10_000)
    assert {len(group.prefixes) for group in groups} == {20}
    assert n_computed(groups, rows) <= 2 * 80 + 40 * 16 + 160


def test_rows_with_a_long_past_come_in_smaller_batches():
    rows = [Row((*range(1000), 2000 + i), 1) for i in range(100)]
    assert max(len(batch) for group in plan(rows, 1000) for batch in group.batches) == 1000 * READ_TOKENS // 1001
