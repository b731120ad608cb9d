"""A folder that says two things is refused in one sentence, by the evaluation and by a compression alike."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmc.compress.plan import plan
from llmc.compress.run import compress
from llmc.errors import UserError
from llmc.models.folder import companions
from llmc.models.load import load_model
from llmc.models.tiny import save_tiny
from tests.compress.jobs import job, quiet


def change(directory, **settings):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def rewrite(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def both(folder):
    save_tiny("llama", folder, shard_size="60KB")
    save_tiny("llama", folder.parent / "other", seed=1)
    shutil.copy(folder.parent / "other/model.safetensors", folder)


def adapter(folder):
    save_tiny("llama", folder)
    (folder / "adapter_config.json").write_text("{}")


def dtype(folder):
    save_tiny("llama", folder, dtype=torch.bfloat16)
    change(folder, dtype="float16")


def twice(folder):
    save_tiny("llama", folder, shard_size="60KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    name, tensor = next(iter(load_file(shards[0]).items()))
    rewrite(shards[1], lambda t: t.update({name: tensor + 1}))


def elsewhere(folder):
    save_tiny("llama", folder, shard_size="60KB")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    names = sorted(set(index["weight_map"].values()))
    index["weight_map"]["model.norm.weight"] = next(n for n in names if n != index["weight_map"]["model.norm.weight"])
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def ties(folder):
    save_tiny("llama", folder)
    change(folder, tie_word_embeddings=True)


def depth(folder):
    save_tiny("llama", folder)
    change(folder, num_hidden_layers=3)


def fewer(folder):
    save_tiny("llama", folder)
    change(folder, num_hidden_layers=1)


def width(folder):
    save_tiny("llama", folder)
    change(folder, hidden_size=32)


def vocabulary(folder):
    save_tiny("llama", folder)
    change(folder, vocab_size=130)


SAYS = {
    both: "two sets of weights",
    adapter: "an adapter beside the model",
    dtype: "config.json says float16 and the weights are bfloat16",
    twice: "twice: in model-00001",
    elsewhere: "another place than the shards for 1 tensors, the first is model.norm.weight",
    ties: "ties lm_head.weight to model.embed_tokens.weight",
    depth: r"(9 parameters|parameters without values), .*the first is model\.layers\.2|lacks 9 parameters",
    fewer: r"9 tensors that a LlamaForCausalLM has no place for, the first is model\.layers\.1",
    width: "another shape",
    vocabulary: "another shape",
}


@pytest.mark.parametrize("made", SAYS, ids=lambda f: f.__name__)
def test_it_is_refused_in_one_sentence(tmp_path, made):
    made(tmp_path / "dense")
    with pytest.raises(UserError, match=SAYS[made]):
        load_model(tmp_path / "dense")
    with pytest.raises(UserError, match=SAYS[made]):
        plan(job(tmp_path))


def test_an_index_of_the_single_file_and_equal_ties_are_no_contradiction(tmp_path):
    save_tiny("llama-tied", tmp_path / "dense")
    rewrite(
        tmp_path / "dense/model.safetensors", lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 0})
    )
    names = dict.fromkeys(load_file(tmp_path / "dense/model.safetensors"), "model.safetensors")
    (tmp_path / "dense/model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    load_model(tmp_path / "dense")
    plan(job(tmp_path))


def test_everything_that_a_loader_reads_is_carried_along_and_nothing_that_runs(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    carried = [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt", "tokenizer.model", "chat_template.jinja", "additional_chat_templates/tool_use.jinja",
        "generation_config.json", "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json",
        "qwen.tiktoken", "LICENSE", "NOTICE.txt", "USE_POLICY.md",
    ]  # fmt: skip
    left = [
        "modeling_own.py",
        "training_args.bin",
        "optimizer.pt",
        "state.pkl",
        "README.md",
        ".gitattributes",
        "x.gguf",
    ]
    for name in carried + left:
        path = tmp_path / "dense" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{{"what": "{name}"}}')
    change(tmp_path / "dense", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    assert [str(path) for path in companions(tmp_path / "dense")] == sorted(carried)
    for overwrite in (False, True):
        compress(job(tmp_path, overwrite=overwrite), quiet)
        out = tmp_path / "out"
        assert all((out / name).read_text() == (tmp_path / "dense" / name).read_text() for name in carried)
        files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
        assert files == {*carried, "config.json", "model.safetensors", "llmc_manifest.json", ".llmc-folder.json"}
        assert "auto_map" not in json.loads((out / "config.json").read_text())
