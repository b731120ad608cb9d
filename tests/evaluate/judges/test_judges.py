"""Judges: what each must see in planted faults, what it can't, and how their marks reach a run."""

import json
import math
from pathlib import Path

import pytest
import torch

from llmc.catalog import catalog
from llmc.errors import UserError
from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.judge import Case, Judge, Turn, cases_of, judged
from llmc.evaluate.judges.dense_likelihood import DenseLikelihood
from llmc.evaluate.judges.kl import KL, kl_divergence
from llmc.evaluate.judges.nli import NLI, chunks, faithfulness, sentences
from llmc.evaluate.judges.pairwise import Pairwise, compare
from llmc.evaluate.judges.reference_likelihood import ReferenceLikelihood
from llmc.evaluate.judges.rouge import Rouge
from llmc.evaluate.task import Answer
from tests.evaluate import tiny

STORIES = Path(__file__).parents[3] / "../shared/models/stories260K"


@pytest.fixture(scope="module")
def engine():
    return Engine(tiny.model("llama"), tiny.tokenizer(), batch_tokens=256)


@pytest.mark.parametrize("name", catalog("llmc.evaluate.judges", "JUDGE"))
def test_every_judge_names_itself_and_what_it_gives(name):
    judge = catalog("llmc.evaluate.judges", "JUDGE")[name]("x")
    assert isinstance(judge, Judge) and judge.metrics and judge.source


@pytest.mark.parametrize("judge", [KL(), NLI(), Pairwise()])
def test_a_judge_without_its_model_says_what_it_needs(judge, engine):
    with pytest.raises(UserError, match=f"--judge {judge.name}="):
        judge.judge([], engine)


def test_likelihood_is_the_mean_over_the_answers_tokens(engine):
    case = Case(id="1", prompt="Q: x\nA:", answer="no", reference="abc", dense="de")
    (mark,) = ReferenceLikelihood().judge([case], engine)
    before, after = engine.encoder.pair("Q: x\nA:", " abc")
    logits = torch.log_softmax(engine.network.read([[*before, *after][:-1]], [4]).double(), -1)
    direct = sum(float(logits[i, token]) for i, token in enumerate(after)) / 4
    assert mark["nats_per_token"] == pytest.approx(direct, abs=1e-5)
    assert DenseLikelihood().judge([case], engine) != [mark]
    nothing = Case(id="2", prompt="p", answer="", dense=" ")
    assert DenseLikelihood().judge([nothing], engine) == [{"nats_per_token": None}]


def test_likelihood_sees_planted_faults():
    """A real trained model finds a story likelier than its shuffled words, with one wrong word, or in another place."""
    if not STORIES.is_dir():
        pytest.skip(f"the small trained model isn't at {STORIES}")
    from llmc.models.load import load_model, load_tokenizer

    model = Engine(load_model(STORIES), load_tokenizer(STORIES))
    prompt = "Once upon a time, there was a little girl named Lily. She loved to"
    clean = "play outside in the park with her friends."
    planted = {
        "shuffled": "park the her outside with friends in play.",
        "wrong word": "play outside in the park with her engines.",
        "another story": "The king sold gold ships and taxed iron.",
    }
    cases = [Case(id=name, prompt=prompt, answer="", reference=text) for name, text in planted.items()]
    best = ReferenceLikelihood().judge([Case(id="clean", prompt=prompt, answer="", reference=clean)], model)
    for mark in ReferenceLikelihood().judge(cases, model):
        assert mark["nats_per_token"] < best[0]["nats_per_token"]


def test_kl_is_its_definition_and_zero_against_itself():
    p, q = torch.log(torch.tensor([[0.5, 0.25, 0.25]])), torch.log(torch.tensor([[0.25, 0.5, 0.25]]))
    assert float(kl_divergence(p, q)) == pytest.approx(0.5 * math.log(2) + 0.25 * math.log(0.5))
    assert float(kl_divergence(p, p)) == 0.0


def test_kl_grows_with_the_damage_and_needs_the_same_tokenizer(engine, tmp_path):
    dense = tiny.model("llama")
    dense.save_pretrained(tmp_path / "dense")
    tiny.tokenizer().save_pretrained(tmp_path / "dense")
    case = Case(id="1", prompt="abc", answer="x", dense=" de fgh")
    judge = KL(str(tmp_path / "dense"))
    assert judge.judge([case], engine)[0]["nats_per_token"] == pytest.approx(0.0, abs=1e-9)
    assert "sha256" in judge.revision()

    def damaged(size):
        import copy

        model = copy.deepcopy(dense)
        torch.manual_seed(1)
        with torch.no_grad():
            for each in model.parameters():
                each.add_(size * each.std() * torch.randn_like(each))
        return Engine(model, tiny.tokenizer())

    small, large = (judge.judge([case], damaged(size))[0]["nats_per_token"] for size in (0.01, 0.1))
    assert 0 < small < large
    tiny.tokenizer(bos=True).save_pretrained(tmp_path / "dense")
    with pytest.raises(UserError, match="another tokenizer"):
        judge.judge([case], engine)


def test_rouge_has_no_opinion_without_a_reference(engine):
    marks = Rouge().judge(
        [Case(id="1", prompt="", answer="a b"), Case(id="2", prompt="", answer="", reference="a")], engine
    )
    assert marks == [{"rouge1_recall": None, "rougeL": None}, {"rouge1_recall": 0.0, "rougeL": 0.0}]


def test_faithfulness_is_the_mean_of_each_sentences_best_support():
    source = "Ana opened a bridge. It cost 40 million."

    def entails(pairs):
        """A perfect classifier for verbatim sentences."""
        return [1.0 if hypothesis in premise else 0.2 for premise, hypothesis in pairs]

    assert faithfulness(source, "Ana opened a bridge. It cost 40 million.", entails) == 1.0
    assert faithfulness(source, "Ana opened a bridge. It cost 70 million.", entails) == pytest.approx(0.6)
    assert faithfulness(source, " ", entails) == 0.0
    assert sentences("A b. C d!\nE f") == ["A b.", "C d!", "E f"]
    long = " ".join(map(str, range(400)))
    assert all(any(f" {n} {n + 1} " in f" {part} " for part in chunks(long)) for n in range(399))


def test_a_classifier_from_a_folder(tmp_path, engine):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=260, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=300, id2label={0: "contradiction", 1: "entailment"}, label2id={"entailment": 1},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    (mark,) = NLI(str(tmp_path)).judge([Case(id="1", prompt="abc def.", answer="abc. de.")], engine)
    assert 0 < mark["faithful"] < 1


class Scripted:
    """A judge model that decides by a rule on (answer A, answer B)."""

    name = "scripted"

    def __init__(self, rule):
        self.rule = rule

    def answers(self, asks, **_):
        texts = []
        for ask in asks:
            first, second = (
                ask.context.split("Answer A:\n")[1].split("\n\nThe better answer")[0].split("\n\nAnswer B:\n")
            )
            texts.append(Answer(text=self.rule(first, second)))
        return texts


CASES = [Case(id="1", prompt="p", answer="good answer", dense="bad"), Case(id="2", prompt="p", answer="x")]


def test_a_fair_judge_prefers_one_answer_in_both_orders():
    fair = Scripted(lambda a, b: " A" if "good" in a else "B.")
    assert compare(CASES, fair)[0] == {"win": 1.0, "flip": 0.0, "read": 1.0}
    assert compare(CASES, fair)[1]["win"] is None  # nothing to hold it against


def test_a_judge_that_always_takes_the_first_is_found_out():
    assert compare(CASES, Scripted(lambda a, b: "A"))[0] == {"win": 0.5, "flip": 1.0, "read": 1.0}
    assert compare(CASES, Scripted(lambda a, b: "C"))[0] == {"win": 0.5, "flip": 0.0, "read": 1.0}


def test_every_turn_of_a_conversation_is_judged_with_what_came_before_it():
    """Turn one is won in both orders, turn two is lost: half of each; the second duel shows both conversations."""
    seen = []

    def rule(first, second):
        seen.append(first)
        return "A" if first.endswith(("good", "fine later")) else "B"

    case = Case(id="1", prompt="p", answer="good", dense="bad", later=[Turn("more?", "poor", "fine later")])
    assert compare([case], Scripted(rule)) == [{"win": 0.5, "flip": 0.0, "read": 1.0}]
    assert seen[2] == "good\n\n[then asked: more?]\n\npoor" and len(seen) == 4
    only = Case(id="1", prompt="p", answer="good", dense="bad", later=[Turn("more?", "poor", None)])
    assert compare([only], Scripted(rule))[0]["win"] == 1.0


def test_the_turns_of_a_line_become_the_turns_of_a_case():
    dense = {"1": line(1, ["d1", "d2"], turns=["q1", "q2"])}
    (case,) = cases_of([line(1, ["a1", "a2"], turns=["q1", "q2"])], dense)
    assert (case.answer, case.dense, list(case.later)) == ("a1", "d1", [("q2", "a2", "d2")])
    (broken,) = cases_of([line(1, "a1", turns=["q1", "q2"])], dense)
    assert not broken.later


def test_a_verdict_that_cant_be_read_is_no_verdict():
    assert compare(CASES, Scripted(lambda a, b: "Because"))[0] == {"win": None, "flip": None, "read": 0.0}


def line(number, answer, **more):
    return {
        "id": str(number), "prompt": "p", "prompt_sha256": "h", "answer": answer, "gold": ["a b", "c"], "cluster": None,
        "request": {"kind": "generate_until"}, "marks": {"m": 1.0}, "kl": None, **more,
    }  # fmt: skip


def test_cases_take_the_first_answer_and_only_a_dense_answer_to_the_same_prompt():
    dense = {"1": line(1, "d"), "2": line(2, "d", prompt_sha256="other")}
    cases = cases_of([line(1, ["x", "y"]), line(2, "z"), line(3, None)], dense)
    assert [(c.answer, c.dense, c.reference) for c in cases] == [("x", "d", "a b"), ("z", None, "a b")]


def test_marks_reach_samples_results_and_the_judges_name_with_them(engine):
    task = {"metrics": {"m": {}}, "primary": "m"}
    result, lines = judged(Rouge(), task, [line(1, "a b"), line(2, "x"), line(3, None)], {}, engine)
    assert [each["marks"].get("rouge.rougeL") for each in lines] == [1.0, 0.0, None]
    assert result["metrics"]["rouge.rougeL"]["value"] == 0.5 and result["metrics"]["rouge.rougeL"]["n"] == 2
    assert result["judges"]["rouge"]["revision"].startswith("rouge-score ")
    assert task == {"metrics": {"m": {}}, "primary": "m"}
    json.dumps([result, lines], allow_nan=False)
