"""The toxicity scorers: each finds its way out when it can't work, and none scores a text twice."""

import io
import json
import socket
import urllib.error
import urllib.request

import pytest
import torch
from huggingface_hub import constants
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from llmc.catalog import catalog
from llmc.errors import UserError
from llmc.trust.machinery.toxicity_classifier import Classifier
from llmc.trust.machinery.toxicity_scorer import Remembered, ToxicityScorer, identity, resolve
from llmc.trust.toxicity_scorers import perspective
from llmc.trust.toxicity_scorers.words import Words

NAMES = list(catalog("llmc.trust.toxicity_scorers", "SCORER"))


@pytest.mark.parametrize("name", NAMES)
def test_every_scorer_says_who_it_is(name):
    scorer = resolve(name)
    assert isinstance(scorer, ToxicityScorer) and scorer.name == name and scorer.source and scorer.revision
    assert identity(scorer).startswith(f"{name}@")


def test_names_settings_and_mistakes(tmp_path):
    assert resolve(None).name == "unbiased_roberta"
    file = tmp_path / "words.txt"
    file.write_text("grob\nSnurl\n")
    scorer = resolve(f"words:{file}")
    assert scorer.score(["a snurl, a GROB", "fine", " "]) == [0.75, 0.0, None]
    assert identity(scorer) != identity(resolve("words"))
    with pytest.raises(UserError, match="did you mean 'words'"):
        resolve("wrods")
    with pytest.raises(UserError, match="no file"):
        resolve(f"words:{tmp_path}/none").check()
    with pytest.raises(UserError, match="no folder"):
        resolve("unbiased_roberta:/nowhere").check()


def classifier(folder, *, safe):
    """A tiny RoBERTa with the label that is read, stored as safetensors or as a pickle."""
    config = RobertaConfig(
        vocab_size=300, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        id2label={0: "toxicity", 1: "insult"}, label2id={"toxicity": 0, "insult": 1},
    )  # fmt: skip
    model = RobertaForSequenceClassification(config)
    model.save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def test_a_classifier_is_read_from_safetensors_alone(tmp_path):
    resolve(f"unbiased_roberta:{classifier(tmp_path / 'good', safe=True)}").check()
    with pytest.raises(UserError, match="no classifier as safetensors"):
        resolve(f"unbiased_roberta:{classifier(tmp_path / 'bad', safe=False)}").check()


def test_weights_that_are_not_here_are_missed_before_any_work(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="not on this machine") as told:
        resolve("unbiased_roberta:someone/never-downloaded").check()
    assert "--online" in told.value.hint


class Counting:
    name, source, revision = "counting", "here", "1"

    def __init__(self):
        self.asked = []

    def score(self, texts):
        self.asked += texts
        return [None if "fail" in text else len(text) / 100 for text in texts]


def test_no_text_is_scored_twice_not_even_by_another_process(tmp_path):
    scorer = Counting()
    first = Remembered(scorer, tmp_path)
    assert first.score(["ab", "abc", "ab", "  ", "fail"]) == [0.02, 0.03, 0.02, None, None]
    assert first.score(["abc"]) == [0.03] and scorer.asked == ["ab", "abc", "fail"]
    again = Counting()
    assert Remembered(again, tmp_path).score(["ab", "fail"]) == [0.02, None]
    assert again.asked == ["fail"]  # a failure is no score
    again.revision = "2"
    Remembered(again, tmp_path).score(["ab"])
    assert again.asked == ["fail", "ab"]


def test_a_torn_last_line_of_the_store_is_scored_again(tmp_path):
    Remembered(Counting(), tmp_path).score(["ab"])
    file = next(tmp_path.iterdir())
    file.write_text(file.read_text()[:-4])
    scorer = Counting()
    assert Remembered(scorer, tmp_path).score(["ab"]) == [0.02] and scorer.asked == ["ab"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "you", "are", "nice", "rude"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
        id2label={0: "insult", 1: "Toxicity", 2: "threat"},
        label2id={"insult": 0, "Toxicity": 1, "threat": 2},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_a_classifier_reads_its_label_whatever_the_batch(weights, link):
    """Padding must not change a score: alone and beside a longer text it is the probability by hand."""
    scorer = Classifier(name="x", source="here", model=str(weights), label="toxicity", link=link)
    scorer.check()
    alone = scorer.score(["you rude"])[0]
    beside = scorer.score(["you are nice you are nice", "you rude"])[1]
    model = BertForSequenceClassification.from_pretrained(weights).eval()
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[2, 5, 8, 3]])).logits[0]
    by_hand = {"sigmoid": 1 / (1 + (-logits[1]).exp()), "softmax": logits.exp()[1] / logits.exp().sum()}[link]
    assert alone == pytest.approx(float(by_hand), abs=1e-6) == pytest.approx(beside, abs=1e-5)


def test_a_classifier_without_the_label_says_which_it_has(weights):
    with pytest.raises(UserError, match="insult, threat, toxicity"):
        Classifier(name="x", source="here", model=str(weights), label="rude", link="sigmoid").score(["you"])


def test_without_a_network_a_classifier_by_name_is_looked_for_in_the_cache_alone(monkeypatch):
    """The hub's library would ask five times and wait 23 s, twice."""
    offline = []

    def from_pretrained(name, **_):
        offline.append(constants.HF_HUB_OFFLINE)
        raise OSError("not in the cache")

    def no_network(*_, **__):
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
    with pytest.raises(UserError, match="weights of someone/toxic can't be loaded"):
        Classifier(name="x", source="here", model="someone/toxic", label="toxicity", link="sigmoid").score(["you"])
    assert offline == [True] and not constants.HF_HUB_OFFLINE


def test_perspective_waits_when_busy_and_gives_up_on_a_refused_text(monkeypatch):
    monkeypatch.setenv(perspective.KEY, "k")
    answers = [429, {"attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.25}}}}, 400]
    asked = []

    def urlopen(request, timeout):
        asked.append(json.loads(request.data)["comment"]["text"])
        answer = answers.pop(0)
        if isinstance(answer, int):
            raise urllib.error.HTTPError(request.full_url, answer, "", {}, io.BytesIO())
        return io.BytesIO(json.dumps(answer).encode())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    scorer = perspective.Perspective(first_wait_s=0.0)
    assert scorer.score(["a", "b"]) == [0.25, None] and asked == ["a", "a", "b"]


def test_perspective_needs_a_key_and_takes_no_setting(monkeypatch):
    monkeypatch.delenv(perspective.KEY, raising=False)
    with pytest.raises(UserError, match=perspective.KEY):
        perspective.SCORER.score(["a"])
    with pytest.raises(UserError, match="no setting"):
        resolve("perspective:x")


def test_words_leave_no_doubt():
    assert Words().score(["how stupid and ugly", "stupidity"]) == [0.75, 0.0]
