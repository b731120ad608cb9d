"""The engine against lm-eval's `hf` backend, which computes every request on its own."""

import copy
import math
import random

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from llmc.errors import UserError
from llmc.evaluate.engine.answer_text import Job
from llmc.evaluate.engine.engine import Engine, asked
from llmc.evaluate.engine.prefix_tree import Row
from llmc.evaluate.engine.prefixes import plan
from llmc.evaluate.journal import Journal
from llmc.evaluate.task import Ask
from tests.evaluate import tiny

ALL = list(tiny.CONFIGS)


def text(rng, n):
    return "".join(rng.choice("abc de") for _ in range(n)).strip() or "a"


def pairs():
    """Few-shot headers longer than a sliding window, contexts shared by endings, an empty and an overlong context."""
    rng = random.Random(0)
    head = text(rng, 60)
    made = [(head + text(rng, rng.randint(1, 30)), " " + text(rng, k)) for k in (1, 1, 5, 9) for _ in range(6)]
    # Endings under a context, and under a context that is itself under one of two headers.
    for before in ("", head, text(rng, 60)):
        for _ in range(6):
            context = before + text(rng, rng.randint(25, 40))
            made += [(context, " " + text(rng, rng.randint(2, 9))) for _ in range(4)]
    made += [("", "abc"), (text(rng, 300), "xyz"), ("ab ", "c"), ("<s>ab", " cd"), made[0]]
    # A head that all share up to its last token, so that some continuation begins inside the common part.
    return [*made, (head, " de"), (head[:-3], head[-3:])]


def test_the_pairs_are_shared_two_deep():
    encoder = Engine(tiny.model("llama"), tiny.tokenizer()).encoder
    rows = [Row(tuple(before + after)[:-1], len(after)) for before, after in (encoder.pair(*each) for each in pairs())]
    assert any(group.stems and len(group.prefixes) > 1 for group in plan(sorted(set(rows)), 256))


def test_logits_in_parts_are_the_models_own_where_it_scales_them(monkeypatch):
    from transformers import AutoModelForCausalLM, GraniteConfig

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GraniteConfig(**tiny.GROUPED, logits_scaling=8.0), dtype=torch.float32)
    network = Engine(model, tiny.tokenizer()).network
    rows = torch.randint(3, 260, (3, 9))
    with torch.no_grad():
        want = model(input_ids=rows).logits[:, -5:].flatten(0, 1)
    monkeypatch.setattr("llmc.evaluate.engine.network.LOGITS_AT_ONCE", 4 * 260)
    parts = list(network.read_parts(rows.tolist(), [5, 5, 5]))
    assert max(map(len, parts)) == 4
    torch.testing.assert_close(torch.cat(parts), want, atol=1e-5, rtol=1e-5)


def test_long_answers_run_in_fewer_rows_and_prompts_wait_for_half_of_them_at_most():
    engine = Engine(tiny.model("llama"), tiny.tokenizer(), batch_tokens=512)
    writer = engine._writer()
    assert writer.most_rows == 8
    assert writer._n_rows([Job((3,) * 8, 8)]) == 8
    assert writer._n_rows([Job((3,) * 8, 8), Job((3,) * 1000, 1000)]) == 16 * 512 // 2000
    prompts = [(k, 5, 6) for k in range(40)]
    (cohort,) = writer._cohorts(prompts, [[k] for k in range(40)], [Job(prompt, 8) for prompt in prompts])
    assert {len(unit.batch) for unit in cohort} == {4}


def requests(kind, arguments):
    return [Instance(kind, {}, each, 0) for each in arguments]


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_log_likelihoods_equal_lm_evals(name, bos, monkeypatch):
    if bos:  # several parts of a batch's logits
        monkeypatch.setattr("llmc.evaluate.engine.network.LOGITS_AT_ONCE", 7 * 260)
    model, tokenizer = tiny.model(name), tiny.tokenizer(bos=bos)
    asked_for = requests("loglikelihood", pairs())
    want = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4).loglikelihood(asked_for, disable_tqdm=True)
    engine = Engine(model, tokenizer, batch_tokens=256)
    assert engine.network.why_not_shared is None
    got = engine.loglikelihood(asked_for)
    for mine, theirs in zip(got, want, strict=True):
        assert mine[0] == pytest.approx(theirs[0], abs=1e-4)
        assert mine[1] == theirs[1]


@pytest.mark.parametrize("name", ALL)
def test_a_greedy_continuation_is_known_as_greedy(name):
    engine = Engine(tiny.model(name), tiny.tokenizer(), batch_tokens=64)
    tokens = engine.encoder.encode("abc de")
    for _ in range(3):
        logits = engine.network.read([tokens], [1])
        tokens.append(int(logits.argmax()))
    answer = engine.answers([Ask(kind="loglikelihood_rolling", context="", tokens=tuple(tokens[5:]))])[0]
    assert answer.is_greedy is not None and answer.n_tokens == 3
    whole = torch.log_softmax(engine.network.read([tokens[5:-1]], [3]).double(), -1)
    assert answer.loglikelihood == pytest.approx(sum(float(whole[i, tokens[6 + i]]) for i in range(3)), abs=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_rolling_log_likelihoods_equal_lm_evals(name):
    model, tokenizer = tiny.model(name), tiny.tokenizer()
    rng = random.Random(1)
    texts = requests("loglikelihood_rolling", [(text(rng, n),) for n in (5, 250, 256, 257, 600)])
    want = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2).loglikelihood_rolling(texts, disable_tqdm=True)
    got = Engine(model, tokenizer, batch_tokens=300).loglikelihood_rolling(texts)
    assert got == pytest.approx(want, abs=2e-3, rel=1e-6)  # lm-eval sums thousands of nats in float32


@pytest.mark.parametrize(("until", "n_new"), [(["-", "B"], 20), ([], 24), (["zq"], 7), ([], 1)])
@pytest.mark.parametrize("name", ALL)
def test_greedy_texts_equal_lm_evals(name, until, n_new):
    model, tokenizer = tiny.model(name), tiny.tokenizer(bos=True)
    rng = random.Random(2)
    head = text(rng, 40)
    prompts = [head + text(rng, rng.randint(1, 30)) for _ in range(10)]
    prompts += [text(rng, rng.randint(1, 90)) for _ in range(15)] + [text(rng, 300)]
    settings = {"until": until, "max_gen_toks": n_new, "do_sample": False}
    asks = requests("generate_until", [(prompt, {**settings, "until": list(until)}) for prompt in prompts])
    want = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4).generate_until(asks, disable_tqdm=True)
    assert Engine(model, tokenizer, batch_tokens=512).generate_until(asks) == want


@pytest.mark.parametrize("name", ["llama", "gemma3", "opt"])
def test_neither_batch_nor_order_nor_sharing_changes_an_answer(name):
    rng = random.Random(3)
    head = text(rng, 50)
    prompts = [head + text(rng, rng.randint(1, 40)) for _ in range(12)]
    asks = [
        Ask(kind="generate_until", context=prompt, max_new_tokens=12, temperature=t, top_p=0.9, sample=k, seed=7)
        for prompt in prompts
        for t, k in ((0.0, 0), (0.8, 0), (0.8, 1))
    ]
    asks += [Ask(kind="loglikelihood", context=prompt, continuation=" x y") for prompt in prompts]
    wide = Engine(tiny.model(name), tiny.tokenizer(), batch_tokens=2048)
    narrow = Engine(tiny.model(name), tiny.tokenizer(), batch_tokens=1)
    alone = Engine(tiny.model(name), tiny.tokenizer(), batch_tokens=300)
    alone.network.why_not_shared, alone.network.caches = "told so", False
    expected = wide.answers(asks)
    shuffled = rng.sample(asks, len(asks))
    for other in (narrow, alone):
        found = dict(zip([a.key() for a in shuffled], other.answers(shuffled), strict=True))
        for ask, answer in zip(asks, expected, strict=True):
            same = found[ask.key()]
            assert same.text == answer.text and same.n_tokens == answer.n_tokens
            if answer.loglikelihood is not None:
                assert same.loglikelihood == pytest.approx(answer.loglikelihood, abs=1e-4)


def test_samples_of_one_prompt_differ_and_repeat_with_the_seed():
    engine = Engine(tiny.model("llama"), tiny.tokenizer(), batch_tokens=256)

    def texts(seed):
        asks = [
            Ask(kind="generate_until", context="ab", max_new_tokens=8, temperature=2.0, sample=k, seed=seed)
            for k in range(5)
        ]
        return [answer.text for answer in engine.answers(asks)]

    assert texts(0) == texts(0) != texts(1)
    assert len(set(texts(0))) > 1


def test_equal_requests_are_computed_once(monkeypatch):
    engine = Engine(tiny.model("llama"), tiny.tokenizer(), batch_tokens=256)
    seen = []
    read = engine.network.read_parts
    monkeypatch.setattr(
        engine.network, "read_parts", lambda rows, n, past=None: seen.extend(rows) or read(rows, n, past)
    )
    engine.answers([Ask(kind="loglikelihood", context="ab", continuation=c) for c in (" A", " B", " A", " C")])
    # The three continuations split as a space and a letter: contexts "ab", read up to the space.
    assert len(seen) == 1


def test_a_state_space_model_runs_without_sharing(caplog):
    from transformers import AutoModelForCausalLM, MambaConfig

    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=260,
        hidden_size=32,
        num_hidden_layers=2,
        state_size=8,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    tokenizer = tiny.tokenizer()
    engine = Engine(model, tokenizer, batch_tokens=200)
    assert engine.network.why_not_shared and "not shared" in caplog.text
    asks = requests("loglikelihood", [("abcabc", " d"), ("ab", " cde"), ("abcabcabc", " d")])
    want = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=256).loglikelihood(asks)
    assert [a for a, _ in engine.loglikelihood(asks)] == pytest.approx([a for a, _ in want], abs=1e-4)
    settings = {"until": [], "max_gen_toks": 5, "do_sample": False}
    asks = requests("generate_until", [("abcabc", settings), ("ab", settings)])
    want = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=256).generate_until(asks)
    assert engine.generate_until(asks) == want


def test_a_setting_that_the_engine_lacks_is_refused():
    with pytest.raises(UserError, match="repetition_penalty"):
        asked("x", {"until": ["\n"], "repetition_penalty": 1.2})
    plain = asked("x", {"until": "\n", "max_gen_toks": 5, "temperature": 0.0, "do_sample": False})
    assert plain == Ask(kind="generate_until", context="x", until=("\n",), max_new_tokens=5)


def test_lm_evals_own_samples_of_one_prompt_get_different_numbers():
    engine = Engine(tiny.model("llama"), tiny.tokenizer(), batch_tokens=256)
    settings = {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 2.0}
    assert len(set(engine.generate_until(requests("generate_until", [("ab", settings)] * 4)))) > 1


def test_logits_that_are_no_numbers_give_no_likelihood_and_can_be_stored(tmp_path):
    """A model that compression broke is to be judged as collapsed: its evaluation must not end as a bug of ours."""
    model = copy.deepcopy(tiny.model("llama"))
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(float("nan"))
    engine, journal = Engine(model, tiny.tokenizer()), Journal(tmp_path / "journal.jsonl")
    asks = [Ask(kind="loglikelihood", context="abc", continuation=each) for each in (" d", " e")]
    asks += [
        Ask(kind="loglikelihood_rolling", context="abc", tokens=(3, 4, 5)),
        Ask(kind="generate_until", context="a"),
    ]
    answers = engine.answers(asks, store=journal.store)
    assert [answer.loglikelihood for answer in answers[:3]] == [None] * 3
    assert Journal(tmp_path / "journal.jsonl").known[asks[0].key()] == answers[0]
    assert math.isnan(engine.loglikelihood([Instance("loglikelihood", {}, ("abc", " d"), 0)])[0][0])
