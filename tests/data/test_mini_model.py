"""The embedded model loads as any checkpoint does, and its tokenizer knows the world's words."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmc.data.mini_model import mini_model_path
from llmc.data.world.items import mini_items
from llmc.data.world.people import world


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(mini_model_path())


def test_the_tokenizer_returns_any_text_and_adds_nothing(tokenizer):
    text = "Q: Where does Tamo live?\nA: Über ¿日本? \t42\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_names_and_values_are_single_tokens(tokenizer):
    earth = world()
    words = [*earth.given, *earth.family, *(value for pool in earth.pools.values() for value in pool)]
    assert not [word for word in words if len(tokenizer.encode(f" {word}")) != 1]


def test_every_prompt_fits_with_its_answer(tokenizer):
    for task in ("summarization", "retrieval_qa_open", "multiple_choice_qa", "instruction_following"):
        longest = max(len(tokenizer.encode(item["prompt"] + " " + item["gold"][0])) for item in mini_items(task))
        assert longest < 256


def test_the_model_is_a_few_megabytes_and_answers_on_one_line(tokenizer):
    path = mini_model_path()
    assert (path / "model.safetensors").stat().st_size < 8_000_000
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    prompt = tokenizer(mini_items("factoid_qa")[0]["prompt"], return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "\n" in tokenizer.decode(answer)
