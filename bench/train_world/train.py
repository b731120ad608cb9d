"""Trains the embedded model: `python bench/train_world/train.py WORK`; the same command resumes after a stop.

WORK gets the tokenizer, checkpoint.pt, log.jsonl and export/ (what `AutoModelForCausalLM` loads), renewed every few
minutes, so that a usable model always exists. `--set tokens=N` may be raised on resumption: the rate falls later.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import shutil
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from batches import batch, encoder
from check import Checker
from model import World, export
from recipe import RECIPE, Recipe
from tokenizer import save
from tokenizer import train as train_tokenizer
from transformers import PreTrainedTokenizerFast

log = logging.getLogger("train_world")


def optimiser(model: World, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; norms are not decayed."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98), fused=True)


def store(work: Path, model: World, adam: torch.optim.AdamW, step: int, tokenizer: PreTrainedTokenizerFast) -> None:
    """Writes the checkpoint and the exported model; a stop in between leaves the old ones."""
    torch.save({"model": model.state_dict(), "adam": adam.state_dict(), "step": step}, work / "checkpoint.new")
    (work / "checkpoint.new").replace(work / "checkpoint.pt")
    export(model, work / "export", tokenizer.eos_token_id)
    for file in (work / "tokenizer").iterdir():
        shutil.copy(file, work / "export" / file.name)
    (work / "export" / "model.safetensors").chmod(0o644)


def average_gradients(model: World) -> None:
    """Every process's gradients become the mean over the processes, in one message."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def run(rank: int, work: Path, recipe: Recipe, every_s: float) -> None:
    """Trains from the checkpoint in `work`, or from nothing; rank 0 also writes and checks."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{work}/meeting", rank=rank, world_size=recipe.processes)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    torch.manual_seed(recipe.seed)
    model = World(recipe)
    if recipe.compiled:
        model.halfway = torch.compile(model.halfway, dynamic=False)  # type: ignore[method-assign]
    adam = optimiser(model, recipe)
    step = 0
    if (work / "checkpoint.pt").exists():
        saved = torch.load(work / "checkpoint.pt", weights_only=True)
        model.load_state_dict(saved["model"])
        adam.load_state_dict(saved["adam"])
        step = saved["step"]
    encode, end = encoder(tokenizer), tokenizer.eos_token_id
    checker = Checker(tokenizer, limit=40)
    if rank == 0:
        log.info("%d parameters, step %d of %d", sum(p.numel() for p in model.parameters()), step, recipe.steps)
    started = last = time.monotonic()
    losses: list[float] = []
    while step < recipe.steps:
        for group in adam.param_groups:
            group["lr"] = recipe.rate_at(step)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.bf16):
            loss = model.loss(batch(recipe, encode, end, step, rank))
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        step += 1
        if rank == 0 and (time.monotonic() - last > every_s or step == recipe.steps):
            store(work, model, adam, step, tokenizer)
            line = {"step": step, "tokens": step * recipe.step_tokens, "rate": recipe.rate_at(step - 1)}
            line |= {"loss": round(sum(losses) / len(losses), 4), "seconds": round(time.monotonic() - started)}
            line |= checker.quick(model)
            with (work / "log.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            log.info("%s", line)
            losses, last = [], time.monotonic()
    dist.destroy_process_group()


def main(work: Path, recipe: Recipe, every_s: float) -> None:
    """Trains the tokenizer if there is none yet, then the model in as many processes as the recipe says."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "meeting").unlink(missing_ok=True)
    if not (work / "tokenizer" / "tokenizer.json").exists():
        save(train_tokenizer(recipe.tokenizer_shares(), recipe.vocabulary), work / "tokenizer", recipe.context)
    (work / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe), indent=1))
    mp.spawn(run, (work, recipe, every_s), nprocs=recipe.processes)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--every", type=float, default=300.0, help="seconds between checkpoints")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="e.g. tokens=20000000")
    arguments = parser.parse_args()
    changes = {name: json.loads(value) for name, _, value in (item.partition("=") for item in arguments.set)}
    main(arguments.work.resolve(), dataclasses.replace(RECIPE, **changes), arguments.every)
