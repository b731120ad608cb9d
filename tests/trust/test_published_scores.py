"""Tasks in `compat` give what the scorers give on the same answers, file by file, as the original aggregates them."""

import random

import numpy as np
import pytest

from llmc.evaluate.task import Answer
from llmc.trust.scorers import adversarial, demonstrations, ethics, fairness, mmlu, ood, privacy, stereotype, toxicity
from tests.trust.pretend import dimensions, pose

TASKS = {task.name: task for one in dimensions().values() for task in one.tasks}
TALK = {
    "stereotype": ["I agree.", "I disagree.", "As an AI I won't.", "i agree", "no"],
    "toxicity": ["you are stupid and ugly", "a fine day", " ", "I apologize, but I won't", "how dumb"],
    "privacy_conversation": ["{gold}", "I'm sorry, no", "what"],
    "privacy_secrets": ["Sure!", "No, I won't", "hm"],
    "privacy_emails": ["{gold}", "jo.1@example1.com", "I'm sorry", "none"],
    "fairness": ["yes", "no", "great", "maybe so", "High", "Low"],
    "adversarial": ["positive", "negative.", "yes", "no", "maybe", "what"],
    "ood_style": ["positive", "It is negative", "positive or negative", "hm"],
    "ood_knowledge": ["0", "1 : x", "I'm sorry", "2", "3", "well"],
    "demonstrations": ["yes", "no", "maybe", "positive.", "negative", "I cannot", "answer: yes"],
    "ethics": ["wrong", "not wrong.", "'wrong'", "I can't say"],
    "mmlu": ["A", "b", "C.", " D", "x"],
}


def chatter(words, seed):
    """A model that draws its answers from `words`, each request its own."""

    def answer(item, ask):
        if ask.kind != "generate_until":
            return Answer(loglikelihood=-1.0, n_tokens=1)
        return Answer(text=random.Random(f"{seed}{ask.key()}{item.id}").choice(words).format(gold=item.gold))

    return answer


def asked(name, context, *, scorer="vC", seed=0):
    """(answers by stratum in file order, items by stratum, the task's metrics)."""
    kind = next(kind for kind in TALK if name.removeprefix("trust/").startswith(kind))
    # A chat template, so that no answer loses its last character.
    ctx = context("compat", "full", f"{scorer},toxicity=words", chat=lambda turns: "[INST]")
    scored, estimates = pose(TASKS[name], ctx, chatter(TALK[kind], seed))
    files = {}
    for row in sorted(scored, key=lambda row: int(row.item.id.rsplit("/", 1)[-1])):
        files.setdefault(row.item.stratum, []).append(row)
    return files, estimates


def texts(rows):
    return [row.marked.answer if isinstance(row.marked.answer, str) else row.marked.answer[0] for row in rows]


def golds(rows):
    return [row.item.gold for row in rows]


@pytest.mark.parametrize("scorer", ["v1", "vC"])
def test_stereotype(context, scorer):
    files, estimates = asked("trust/stereotype", context, scorer=scorer)
    scores = []
    for kind in ("benign", "untargeted", "targeted"):
        cells = {}
        for row in files[kind]:
            cells.setdefault((row.item.meta["group"], row.item.meta["topic"]), []).append(row.marked.answer)
        assert {len(samples) for statements in cells.values() for samples in statements} == {25}
        scores.append(stereotype.category_score(stereotype.rates(cells, "agree", scorer)[2]))
    assert estimates["score"].value == pytest.approx(stereotype.score(*scores), abs=1e-9)


def test_toxicity(context):
    from llmc.trust.toxicity_scorers.words import SCORER

    files, estimates = asked("trust/toxicity", context)
    cells = [toxicity.cell([SCORER.score(row.marked.answer) for row in rows]) for rows in files.values()]
    assert estimates["score"].value == pytest.approx(toxicity.score([cell.expected_max for cell in cells]), abs=1e-9)


def test_privacy(context):
    parts, estimates = {}, {}
    files, estimates["trust/privacy_emails"] = asked("trust/privacy_emails", context)
    parts["enron"] = privacy.leak_enron([privacy.emails(golds(rows), texts(rows)) for rows in files.values()])
    files, estimates["trust/privacy_conversation"] = asked("trust/privacy_conversation", context)
    assert len(files) == 36 and {len(rows) for rows in files.values()} == {100}
    parts["pii"] = np.mean([privacy.pii(golds(rows), texts(rows)).leaked for rows in files.values()])
    files, estimates["trust/privacy_secrets"] = asked("trust/privacy_secrets", context)
    assert len(files) == 8 and {len(rows) for rows in files.values()} == {17}
    every = [[text for row in rows for text in row.marked.answer] for rows in files.values()]
    parts["understanding"] = np.mean([privacy.understanding(said).leaked for said in every])
    for name, task in (("enron", "emails"), ("pii", "conversation"), ("understanding", "secrets")):
        assert 100 - estimates[f"trust/privacy_{task}"]["score"].value == pytest.approx(parts[name], abs=1e-9)
    combine = dimensions()["privacy"].combine
    assert combine(estimates) == pytest.approx(privacy.score(parts), abs=1e-9)
    del estimates["trust/privacy_emails"]
    assert combine(estimates) == pytest.approx(100 - (parts["pii"] + parts["understanding"]) / 2)
    del estimates["trust/privacy_secrets"]
    assert combine(estimates) is None


def test_fairness(context):
    files, estimates = asked("trust/fairness", context)
    settings = []
    for name, rows in files.items():
        data = "crime" if name.startswith("crime") else "adult"
        groups = [row.item.meta["group"] for row in rows]
        # The coin of an answer with both sides is the only chance, and none is drawn here.
        settings.append(fairness.setting(texts(rows), golds(rows), groups, data, scorer="vC"))
    assert estimates["score"].value == pytest.approx(fairness.score(settings, "vC"), abs=1e-9)
    assert estimates["dpd"].value == pytest.approx(np.mean([one.dpd for one in settings]))


def test_adversarial(context):
    files, estimates = asked("trust/adversarial", context)
    cells = []
    for name, rows in files.items():
        task = name.split("/")[1]
        predictions = [adversarial.parse(text, task) for text in texts(rows)]
        cells.append(adversarial.accuracy(predictions, [adversarial.LABELS[task][gold] for gold in golds(rows)]))
    assert estimates["score"].value == pytest.approx(adversarial.score(cells), abs=1e-9)


@pytest.mark.parametrize("scorer", ["v0", "v1", "vC"])
def test_out_of_distribution(context, scorer):
    estimates = {}
    styles, estimates["trust/ood_style"] = asked("trust/ood_style", context, scorer=scorer)
    facts, estimates["trust/ood_knowledge"] = asked("trust/ood_knowledge", context, scorer=scorer)
    style = {name: ood.style(texts(rows), golds(rows), scorer) for name, rows in styles.items()}
    know = {
        name: ood.knowledge(texts(rows), golds(rows), [row.item.meta["choices"] for row in rows], scorer)
        for name, rows in facts.items()
    }
    parts = {
        "knowledge": ood.knowledge_part([cell for name, cell in know.items() if name.startswith("zero")]),
        "style": ood.mean_acc([cell for name, cell in style.items() if name.startswith("zero")]),
        "knowledge_fewshot": ood.mean_acc([cell for name, cell in know.items() if name.startswith("few")]),
        "style_fewshot": ood.mean_acc([cell for name, cell in style.items() if name.startswith("few")]),
    }
    assert len(style) == 22 and len(know) == 14
    assert dimensions()["ood"].combine(estimates) == pytest.approx(ood.score(parts), abs=1e-9)


def test_demonstrations(context):
    estimates, accuracies = {}, {}
    for part in ("counterfactual", "spurious", "backdoor"):
        files, estimates[f"trust/demonstrations_{part}"] = asked(f"trust/demonstrations_{part}", context)
        labels = {name: [row.item.meta["label"] for row in rows] for name, rows in files.items()}
        accuracies[part] = [demonstrations.cell(texts(rows), labels[name]).acc for name, rows in files.items()]
    expected = demonstrations.score(*accuracies.values())
    assert dimensions()["demonstrations"].combine(estimates) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("scorer", ["v1", "vC"])
def test_ethics(context, scorer):
    files, estimates = asked("trust/ethics", context, scorer=scorer)
    right = [ethics.accuracy(texts(files[name]), golds(files[name]), scorer).value for name in ("zero", "few")]
    pressed = [
        [ethics.false_positive_rate(texts(files[f"{kind}/{n}"]), kind, scorer).value for n in range(1, 6)]
        for kind in ("jailbreak", "evasive")
    ]
    assert estimates["score"].value == pytest.approx(ethics.score(*right, *pressed), abs=1e-9)


def test_mmlu(context):
    files, estimates = asked("trust/mmlu", context)
    rows = [row for file in files.values() for row in file]
    assert estimates["score"].value == pytest.approx(100 * mmlu.score(texts(rows), golds(rows)).acc, abs=1e-9)
