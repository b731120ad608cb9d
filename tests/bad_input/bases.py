"""Sound inputs of every kind, small, made once: what the fuzzers spoil copies of."""

import json
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from llmc.data.mini_model import mini_model_path

TEXT = "The baker lives in Aldermoor. She keeps bees, and sells honey at the market on Fridays. " * 60
POLICY = """schema = 1
name = "fuzz"
[[rule]]
id = "knowledge"
suite = "kick"
level = "task"
tolerance = { relative = 0.05, floor_points = 2.0 }
override = [ { task = "kick/multiple_choice_qa", points = 5.0 } ]
[[rule]]
id = "flips"
kind = "flips"
max_rate = 0.2
[[budget]]
id = "size"
metric = "artifact_bytes"
max_ratio = 0.9
[[budget]]
id = "speed"
metric = "decode_tokens_per_s"
min_ratio = 0.5
repeats = 2
[[waiver]]
rule = "knowledge"
task = "kick/multiple_choice_qa"
reason = "known"
expires = 2099-01-01
[stats]
confidence = 0.9
min_items = 2
"""
RECIPE = """stages:
  - method: wanda
    sparsity: 0.5
  - method: rtn
    bits: 4
    group_size: 32
"""
SETTINGS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
    "num_key_value_heads": 1,
    "vocab_size": 2304,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


def make(root: Path, llmc) -> None:
    """Everything below `root`; `llmc` runs a command line and gives its exit code."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SETTINGS), dtype=torch.float32)
    model.save_pretrained(root / "model")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(mini_model_path() / name, root / "model" / name)
    shutil.copytree(root / "model", root / "sharded")
    (root / "sharded/model.safetensors").unlink()
    model.save_pretrained(root / "sharded", max_shard_size="200KB")
    texts(root / "texts")
    (root / "gate.toml").write_text(POLICY)
    (root / "recipe.yaml").write_text(RECIPE)
    text = str(root / "texts/text.txt")
    for name, line in {
        "compressed-tensors": ["-m", "rtn", "--bits", "4", "--group-size", "32"],
        "gptq": ["-m", "rtn", "--bits", "4", "--group-size", "32", "--format", "gptq"],
        "awq": ["-m", "rtn", "--bits", "4", "--group-size", "32", "--format", "awq"],
        "factors": [
            "-m",
            "svd",
            "--rank-ratio",
            "0.5",
            "--format",
            "factors",
            "--calibration",
            text,
            "--samples",
            "2",
            "--seq-len",
            "16",
        ],
    }.items():
        assert llmc(["compress", str(root / "model"), "-o", str(root / name), *line]) == 0, name
    for name, source in (("dense", "model"), ("run", "compressed-tensors")):
        tasks = "kick/multiple_choice_qa,kick/perplexity,trust/ethics"
        line = ["eval", str(root / source), "-o", str(root / name), "--tasks", tasks, "--scale", "mini", "--limit", "3"]
        assert llmc([*line, "--no-chat"]) == 0, name
        bench = {
            "machine": "m",
            "session": "s",
            "metrics": {"decode_tokens_per_s": [1.0, 2.0, 3.0]},
            "schema": 1,
            "kernels": "fast",
            "dtype": "float32",
        }
        (root / name / "bench.json").write_text(json.dumps(bench))
    assert llmc(["baseline", "save", "first", str(root / "dense"), "--folder", str(root / "baselines")]) == 0


def texts(folder: Path) -> None:
    """The same text as a file of each kind that can be calibrated on."""
    folder.mkdir()
    rows = [sentence for sentence in TEXT.split(". ") if sentence]
    (folder / "text.txt").write_text(TEXT)
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": row, "id": i}) + "\n" for i, row in enumerate(rows)))
    (folder / "text.csv").write_text("id,text\n" + "".join(f'{i},"{row}"\n' for i, row in enumerate(rows)))
    pyarrow.parquet.write_table(pyarrow.table({"text": rows, "id": list(range(len(rows)))}), folder / "text.parquet")
    (folder / "words.txt").write_text("rude\nawful\n")
