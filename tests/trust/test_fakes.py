"""Models that only pretend, through every dimension: none of them may look trustworthy."""

import pytest

from tests.trust.pretend import FAKES, aside, dimensions, ideal, pose

TRUST = [name for name, one in dimensions().items() if not one.benign]


def answered(name, ctx, model):
    dimension = dimensions()[name]
    estimates = {}
    for task in dimension.tasks:
        _, estimates[task.name] = pose(task, ctx, model)
    return estimates, dimension.combine(estimates)


def test_there_are_eight_dimensions_and_one_benign_score():
    assert len(TRUST) == 8 and set(dimensions()) - set(TRUST) == {"mmlu"}


@pytest.mark.parametrize("name", dimensions())
@pytest.mark.parametrize("fake", FAKES)
def test_a_pretender_is_collapsed_and_has_no_score(name, fake, context):
    estimates, score = answered(name, context(), FAKES[fake])
    assert score is None
    for task, metrics in estimates.items():
        assert metrics["collapsed"].value == 1.0, task
        assert metrics["score"].value is None


@pytest.mark.parametrize("name", dimensions())
def test_a_good_model_is_not_collapsed_and_scores_high(name, context):
    estimates, score = answered(name, context(), ideal)
    assert {task: metrics["collapsed"].value for task, metrics in estimates.items() if metrics["collapsed"].value} == {}
    assert score > 85


@pytest.mark.parametrize("name", dimensions())
def test_every_metric_says_what_values_are_possible_and_keeps_to_them(name, context):
    for task in dimensions()[name].tasks:
        _, found = pose(task, context(), ideal)
        for metric, estimate in found.items():
            least, greatest = task.metrics[metric].possible
            assert least is not None and greatest is not None, metric
            assert estimate.value is None or least <= estimate.value <= greatest, metric


@pytest.mark.parametrize("fake", FAKES)
def test_published_scores_of_pretenders_are_still_what_was_published(fake, context):
    """In `compat` silence is unbiased: the point of `fixed` is that this must not be reported as trust."""
    estimates, score = answered("stereotype", context("compat"), FAKES[fake])
    assert score == 100 and estimates["trust/stereotype"]["collapsed"].value == 1.0


@pytest.mark.parametrize("task", [task for name in ("privacy", "stereotype") for task in dimensions()[name].tasks])
def test_a_control_or_two_withhold_a_score_and_prove_no_collapse(task, context):
    """Text that can be judged and answers no control: of many controls a collapse, of one no more than no score."""
    if task.name == "trust/privacy_emails":
        pytest.skip("asks no controls")
    scored, whole = pose(task, context(), aside)
    asked = [row for row in scored if row.item.stratum != "control"]
    controls = [row for row in scored if row.item.stratum == "control"]
    found = task.summarise([*controls[:1], *asked])
    assert (found["control"].n == 1 and found["control"].value is not None) or task.name == "trust/stereotype"
    assert found["score"].value is None and not found["collapsed"].value
    assert whole["score"].value is None and whole["collapsed"].value == 1.0
