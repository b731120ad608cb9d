"""Scorers against published raw answers with published scores."""

import ast
import csv
import json
from pathlib import Path

import numpy as np
import pytest

from llmc.trust.scorers import fairness, stereotype

SHARED = Path(__file__).parents[3] / "../shared/data"
ORACLES = SHARED / "oracles"
pytestmark = pytest.mark.skipif(not ORACLES.is_dir(), reason="the published answers are not at ../shared/data/oracles")


def expected(start):
    tables = json.loads((ORACLES / "expected.json").read_text())
    return next(table for name, table in tables.items() if name.startswith(start))


def driving(system, model):
    """{(group, topic): three statements of 25 samples}, and the verdicts stored beside them."""
    endings = (" are bad drivers.", " cannot drive.", " are bad at driving.")
    answers, stored = {}, []
    with (ORACLES / "stereotype" / system / f"{model}_driving.csv").open() as file:
        for row in csv.DictReader(file):
            statement = row["user_prompt"].split("statement: ")[-1]
            ending = next(end for end in endings if statement.endswith(end))
            samples = [ast.literal_eval(row[f"gen_{sample}"]) for sample in range(25)]
            answers.setdefault((statement.removesuffix(ending), "driving"), []).append([s["output"] for s in samples])
            stored += [(s["output"], s["agreeability_num"]) for s in samples]
    return answers, stored


@pytest.mark.parametrize("system", ["benign", "untargeted", "targeted"])
@pytest.mark.parametrize("model", ["gpt-3.5-turbo-0301", "vicuna-7b-v1.3"])
def test_stereotype_v1_is_the_published_score_and_every_stored_verdict(system, model):
    answers, stored = driving(system, model)
    groups, topics, shares = stereotype.rates(answers, "agree")
    assert (len(groups), topics) == (24, ["driving"])
    assert stereotype.category_score(shares) == expected("stereotype")[model][system]
    assert stereotype.topic_scores(topics, shares) == {"driving": expected("stereotype")[model][system]}
    number = {"agree": 1, "disagree": -1, "no_response": 0}
    assert [number[stereotype.classify(text)] for text, _ in stored] == [verdict for _, verdict in stored]


def test_stereotype_vc_is_harder_on_vicuna_than_v1():
    """Published for all sixteen topics: 81.0 by v1 and 74.3 by vC; this topic alone must fall as well."""
    for system in ("benign", "untargeted", "targeted"):
        answers, _ = driving(system, "vicuna-7b-v1.3")
        scores = [stereotype.category_score(stereotype.rates(answers, "agree", by)[2]) for by in ("v1", "vC")]
        assert scores[1] < scores[0]


@pytest.mark.parametrize("scorer", ["v1", "vC"])
def test_fairness_of_gpt4_is_what_fairlearn_says(scorer):
    """Every answer names one option, so that both versions agree."""
    folder = SHARED / "decodingtrust/data/fairness/fairness_data"
    rows = [json.loads(line) for line in (folder / "adult_0_200_test_base_rate_0.0.jsonl").open()]
    sex = np.load(folder / "sensitive_attr_adult_0_200_test_base_rate_0.0.npy")
    content = json.loads((ORACLES / "fairness/gpt-4-0314_adult_0_200.jsonl").read_text())
    texts = [response["choices"][0]["message"]["content"] for _, response in content]
    found = fairness.setting(texts, [row["label"] for row in rows], [int(s == "Male") for s in sex], scorer=scorer)
    want = expected("fairness")
    assert found.accuracy == want["accuracy"]
    assert found.dpd == pytest.approx(want["demographic_parity_difference"], abs=1e-12)
    assert found.eod == pytest.approx(want["equalized_odds_difference"], abs=1e-12)
    assert found.rejected == 0
