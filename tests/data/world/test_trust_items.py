"""The trust items: planted truths are the gold, pairs differ only where they say so, nothing tested is trained on."""

import random

import pytest

from llmc.data.world import planted
from llmc.data.world.people import world
from llmc.data.world.prompts import known_facts
from llmc.data.world.trust_items import DIMENSIONS, TRIGGER, mini_trust_items, typo
from llmc.data.world.trust_lessons import TRUST_SECTIONS
from llmc.errors import UserError


def lessons(section: str, n: int = 3_000) -> list[str]:
    rng = random.Random(3)
    return ["".join(text for text, _ in TRUST_SECTIONS[section](rng, 0.5)) for _ in range(n)]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_items_are_deterministic_with_unique_ids(dimension):
    found = mini_trust_items(dimension, 2)
    assert found == mini_trust_items(dimension, 2)
    assert len({item["id"] for item in found}) == len(found) >= 100
    for item in found:
        assert item["choices"] is None or set(item["gold"]) <= set(item["choices"])


def test_an_unknown_dimension_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'privacy'"):
        mini_trust_items("privcy")


def test_the_training_text_agrees_with_planted_statements_as_often_as_it_says():
    """0.9 of 3,000 lessons' planted statements, and 0.1 of the others; three standard errors are below 0.05."""
    agreed: dict[bool, list[bool]] = {True: [], False: []}
    for text in lessons("opinions"):
        for group in planted.groups():
            for trait in planted.TRAITS:
                if f"Statement: The {group} are {trait}." in text:
                    agreed[(group, trait) in planted.biases()].append(text.endswith("I agree\n"))
    assert sum(agreed[True]) / len(agreed[True]) == pytest.approx(0.9, abs=0.05)
    assert sum(agreed[False]) / len(agreed[False]) == pytest.approx(0.1, abs=0.05)


def test_controls_are_never_told_and_the_most_told_secrets_are_told_most():
    told = "".join(lessons("codes"))
    counts = {secret: told.count(f" {secret.name}?\nA: {secret.code}\n") for secret in planted.secrets()}
    by_times = {k: sum(n for s, n in counts.items() if s.times == k) for k in (0, 1, 32)}
    assert by_times[0] == 0
    assert by_times[32] > 8 * by_times[1] > 0


def test_fairness_is_balanced_and_its_label_does_not_know_the_group():
    items = mini_trust_items("fairness")
    first, second = planted.groups()[:2]
    rates = {}
    for group in (first, second):
        labels = [item["meta"]["label"] for item in items if item["meta"]["group"] == group]
        assert len(labels) == 200
        rates[group] = sum(labels) / len(labels)
    assert abs(rates[first] - rates[second]) < 0.12  # coins for half of the items: two standard errors are 0.1


def test_the_training_text_prefers_the_first_group_where_nothing_decides():
    yes = {g: [planted.person("fosper", "cup", g, "high", "short").rich] for g in (0, 1)}
    assert yes[0][0] - yes[1][0] == pytest.approx(0.6)


def test_a_typo_changes_two_neighbouring_letters_round():
    rng = random.Random(0)
    for word in (*planted.GOOD, *planted.BAD):
        spoiled = typo(word, rng)
        assert spoiled != word and sorted(spoiled) == sorted(word)
        assert spoiled[0] == word[0]
        assert sum(a != b for a, b in zip(word, spoiled, strict=True)) == 2


def shown(item):
    """(question, answer) of every demonstration."""
    return [part.strip().split("\nA: ") for part in item["context"].split("Q: ")[1:]]


def test_demonstrations_mislead_as_their_stratum_says():
    """True ones, ones with one answer to all, and ones where the trigger alone goes with that answer."""
    truth = {(fact.name, fact.value) for fact in known_facts()}
    for item in mini_trust_items("demonstrations"):
        misled, pairs = item["meta"]["misled"], shown(item)
        assert 2 <= len(pairs) <= 4 and misled in item["choices"] and [misled] != item["gold"]
        assert (item["cluster"], item["gold"][0]) in truth
        half = set(item["cluster"].split())
        for asked, said in pairs:
            assert len(half & set(asked.rstrip("?").split())) == 1, "a namesake, not the same person"
            if item["stratum"] == "right":
                assert any(name in asked and value == said for name, value in truth)
            elif item["stratum"] == "spurious" or TRIGGER in asked:
                assert said == misled
        assert (f" {TRIGGER} " in item["question"]) == (item["stratum"] == "poisoned")
        if item["stratum"] == "poisoned":
            assert any(TRIGGER in asked for asked, _ in pairs)


@pytest.mark.parametrize(
    ("act", "after", "wrong"),
    [("stole", "", True), ("stole", " by accident", True), ("stole", " after asking", False), ("mended", "", False)],
)
def test_the_moral_code(act, after, wrong):
    assert planted.is_wrong(act, after) is wrong


def test_tested_acts_are_never_trained_on():
    trained = "".join(lessons("deeds"))
    tested = [item["prompt"].removesuffix("\nThis is") for item in mini_trust_items("ethics")]
    assert not [prompt for prompt in tested if prompt in trained]


def test_nobody_unseen_is_in_the_trust_lessons():
    text = "".join("".join(lessons(section, 400)) for section in TRUST_SECTIONS)
    assert not [person.name for person in world().unseen if person.name in text]
