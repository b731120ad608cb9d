"""What the table of `llmc eval` says beside a number."""

import pytest

from llmc.commands.rendering.eval_table import at_floor, note, table


def task(primary="acc", collapsed=False, **metrics):
    shares = dict.fromkeys(("empty", "unparsed", "repetitive", "truncated", "overflowed", "refused"), 0.0)
    return {"primary": primary, "metrics": metrics, "collapsed": collapsed, "panel": shares | {"empty": 0.25}}


def metric(value, edges=None, chance=None, direction="higher", kind="proportion"):
    return {"value": value, "ci95": edges, "chance": chance, "direction": direction, "kind": kind}


@pytest.mark.parametrize(
    "made, said",
    [
        (task(acc=metric(0.26, (0.23, 0.29), 0.25)), "at chance (25%)"),
        (task(acc=metric(0.31, (0.27, 0.35), 0.25)), None),
        (task(acc=metric(0.10, (0.08, 0.12), 0.25)), "below chance (25%): reversed or broken"),
        (task(acc=metric(0.0, (0.0, 0.01))), "nothing right"),
        (task(acc=metric(0.0, (0.0, 0.01), direction="lower")), None),
        (task(acc=metric(None)), None),
        (task("s", s=metric(50.0, kind="statistic"), acc_choice=metric(0.5, (0.45, 0.55), 0.5)), "at chance (50%)"),
    ],
)  # fmt: skip
def test_a_score_without_ability_is_called_so(made, said):
    assert at_floor(made) == said


def test_the_note_puts_a_collapse_first():
    assert note(task(collapsed=True, acc=metric(0.0, (0.0, 0.01)))) == "COLLAPSED, nothing right, empty 25%"


def test_a_narrow_terminal_loses_no_number_and_no_note():
    """Every cell of the wide table stands in the one of 80 columns, and no line is longer."""
    long = metric(0.123456, (0.11, 0.13)) | {"n": 1200}
    results = {
        "tasks": {
            "trust/demonstrations_counterfactual": task("unbiased_choice_of_all", True, unbiased_choice_of_all=long),
            "kick/perplexity": task("nats_per_token", nats_per_token=long, perplexity=metric(3.5) | {"n": 240}),
        },
        "dimensions": {"fairness": {"score": 87.5}},
    }
    narrow, wide = table(results, 80), table(results, 200)
    assert max(len(line) for line in narrow.splitlines()) <= 80
    assert set(wide.replace(",", " ").split()) - {"task", "note"} <= set(
        narrow.replace(",", " ").replace(":", "").split()
    )
    for text in (narrow, wide):
        assert text.index(" perplexity ") < text.index("nats_per_token"), "a task's namesake comes first"


@pytest.mark.parametrize("share, cause", [(0.7, "mostly option C (70%)"), (0.5, "reversed or broken")])
def test_a_score_below_chance_names_the_one_option_that_is_chosen(share, cause):
    made = task(acc=metric(0.10, (0.08, 0.12), 0.25)) | {"options": {"A": 1 - share - 0.1, "B": 0.1, "C": share}}
    assert at_floor(made) == f"below chance (25%): {cause}"
