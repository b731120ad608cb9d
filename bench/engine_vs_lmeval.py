"""Times the request engine against lm-eval's `hf` backend: same model, same prompts, same answers.

    python bench/engine_vs_lmeval.py --data-root ../shared/data --tokenizer ../shared/tokenizers/gpt2 [--sample 150]

Each side runs in a process of its own, so that peak memory is its own. The engine answers every question; lm-eval,
which computes each question on its own, answers an evenly spread sample (`--sample 0`: all) at the best of several
batch sizes, and on that sample every choice must be the same. Rates are questions a second; both wall time and CPU
time are given, because CPU time is what a busy machine doesn't blur.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

SHAPES = {
    "50m": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8},
    "1b": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 16},
}
LETTERS = "ABCD"


def model_and_tokenizer(shape: str, tokenizer: str, window: int):
    import torch
    from transformers import GPT2TokenizerFast, LlamaConfig, LlamaForCausalLM

    words = GPT2TokenizerFast(vocab=f"{tokenizer}/vocab.json", merges=f"{tokenizer}/merges.txt")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), max_position_embeddings=window, tie_word_embeddings=True, **SHAPES[shape],
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.eos_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), words


def make_it_stop(model, words, bias: float) -> None:
    """Raise the logit of the newline, so that a random model's answers end as a trained one's do."""
    import torch

    values = torch.zeros(model.config.vocab_size)
    values[words.encode("\n")[0]] = bias
    model.lm_head.bias = torch.nn.Parameter(values)


def bias_for(args: argparse.Namespace, n_prompts: int = 64, n_new: int = 32) -> float:
    """The newline's bias with which answers have `--answer-tokens` tokens on average, newline included.

    An answer ends where the bias first exceeds the newline's distance to the best logit, and is the unbiased answer
    until then; so lengths for every bias follow from one unbiased run.
    """
    import torch

    model, words = model_and_tokenizer(args.shape, args.tokenizer, args.window)
    newline = words.encode("\n")[0]
    distances = []
    for request in requests_of(args)[:n_prompts]:
        tokens = torch.tensor([words.encode(request.args[0])])
        how = {"max_new_tokens": n_new, "min_new_tokens": n_new, "do_sample": False}
        made = model.generate(tokens, **how, output_logits=True, return_dict_in_generate=True)
        logits = torch.cat(made.logits)
        distances.append(logits.max(-1).values - logits[:, newline])
    distance = torch.stack(distances)

    def mean_length(bias: float) -> float:
        ends = torch.nn.functional.pad(distance < bias, (0, 1), value=True)
        return float((ends.float().argmax(-1) + 1).clamp_max(n_new).float().mean())

    low, high = 0.0, float(distance.max()) + 1
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if mean_length(middle) < args.answer_tokens else (middle, high)
    return high


def mmlu(data_root: Path, shots: int, n_subjects: int, questions: int) -> list[tuple[str, str]]:
    """(context, continuation), four a question, of every fifth subject."""
    from llmc.evaluate.task import TaskContext
    from llmc.kick_bench.tasks.multiple_choice_qa import _questions, prompt

    ctx = TaskContext(data_root=data_root)
    dev, test = _questions(ctx, "dev"), _questions(ctx, "test")
    subjects = sorted({each.subject for each in test})[::5][:n_subjects]
    made = []
    for subject in subjects:
        examples = [each for each in dev if each.subject == subject][:shots]
        for each in [each for each in test if each.subject == subject][: questions or None]:
            text = prompt(each, examples, published=False)
            made += [(text, f" {letter}") for letter in LETTERS]
    return made


def hellaswag(data_root: Path, questions: int) -> list[tuple[str, str]]:
    lines = (data_root / "hellaswag/hellaswag_val_1k.jsonl").read_text().splitlines()[: questions or None]
    made = []
    for each in map(json.loads, lines):
        context = each.get("activity_label", "") + ": " + each["ctx"]
        made += [(context, " " + ending) for ending in each["endings"]]
    return made


def factoid(data_root: Path, questions: int) -> list[str]:
    from llmc.evaluate.task import TaskContext
    from llmc.kick_bench.tasks.factoid_qa import TASK

    items = TASK.items(TaskContext(data_root=data_root, scale="quick"))
    return [item.requests[0].context for item in list(items)[: questions or None]]


def requests_of(args: argparse.Namespace):
    from lm_eval.api.instance import Instance

    root = Path(args.data_root)
    if args.what == "factoid":
        settings = {"until": ["\n"], "max_gen_toks": 32, "do_sample": False}
        made = [(text, dict(settings, until=["\n"])) for text in factoid(root, args.questions)]
        return [Instance("generate_until", {}, each, 0) for each in made]
    if args.what == "hellaswag":
        pairs = hellaswag(root, args.questions)
    else:
        pairs = mmlu(root, 5 if args.what == "mmlu5" else 0, args.subjects, args.questions)
    return [Instance("loglikelihood", {}, each, 0) for each in pairs]


def sampled(requests: list, n: int, each: int) -> list[int]:
    """Numbers of the requests of `n` questions, evenly spread."""
    total = len(requests) // each
    n = total if n == 0 else min(n, total)
    chosen = [i * total // n for i in range(n)]
    return [question * each + k for question in chosen for k in range(each)]


def one_side(args: argparse.Namespace) -> None:
    """The timed part, in its own process; prints JSON."""
    model, words = model_and_tokenizer(args.shape, args.tokenizer, args.window)
    if args.newline_bias:
        make_it_stop(model, words, args.newline_bias)
    requests = requests_of(args)
    each = 1 if args.what == "factoid" else 4
    numbers = range(len(requests)) if args.side == "engine" else sampled(requests, args.sample, each)
    chosen = [requests[i] for i in numbers]
    if args.side == "engine":
        from llmc.evaluate.engine.engine import Engine
        from llmc.kernels.onednn_linear import use_onednn_

        use_onednn_(model)  # as `llmc eval` has it
        lm = Engine(model, words, batch_tokens=args.batch_tokens)
    else:
        from lm_eval.models.huggingface import HFLM

        lm = HFLM(pretrained=model, tokenizer=words, batch_size=args.batch_size)
    kind = chosen[0].request_type
    before = resource.getrusage(resource.RUSAGE_SELF)
    start, cpu = time.perf_counter(), time.process_time()
    answers = getattr(lm, kind)(chosen, disable_tqdm=True)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if kind == "loglikelihood":
        values = [answer[0] for answer in answers]
        answers = [values[i : i + each].index(max(values[i : i + each])) for i in range(0, len(values), each)]
        lengths = None
    else:
        lengths = [len(words.encode(answer)) for answer in answers]
    print(
        json.dumps(
            {
                "answers": dict(zip([i // each for i in list(numbers)[::each]], answers, strict=True)),
                "n": len(chosen) // each, "wall_s": wall, "cpu_s": cpu, "peak_mb": peak / 1024,
                "loaded_mb": before.ru_maxrss / 1024, "lengths": lengths and sorted(lengths),
            }
        )
    )  # fmt: skip


def timed(args: argparse.Namespace, **changes: object) -> dict:
    settings = {**vars(args), **changes}
    command = [sys.executable, __file__]
    for name, value in settings.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--tokenizer", required=True, help="folder of GPT-2's tokenizer")
    parser.add_argument("--what", default="mmlu5", choices=["mmlu5", "mmlu0", "hellaswag", "factoid"])
    parser.add_argument("--shape", default="50m", choices=list(SHAPES))
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--subjects", type=int, default=12, help="how many of every fifth subject")
    parser.add_argument("--questions", type=int, default=0, help="questions a subject (of all, elsewhere); 0: all")
    parser.add_argument("--sample", type=int, default=150, help="questions that lm-eval answers; 0: all")
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=0, help="lm-eval's; 0: the best of 1, 4 and 16")
    parser.add_argument("--newline-bias", type=float, default=0.0, help="makes a random model's answers end")
    parser.add_argument(
        "--answer-tokens", type=float, default=0.0, help="find the bias for answers of this mean length"
    )
    parser.add_argument("--side", default="both", choices=["both", "engine", "hf"])
    args = parser.parse_args()
    if args.side != "both":
        one_side(args)
        return
    if args.answer_tokens:
        args.newline_bias = bias_for(args)
    sizes = [args.batch_size] if args.batch_size else [1, 4, 16]
    tried = {size: timed(args, side="hf", batch_size=size, sample=max(8, args.sample // 5)) for size in sizes}
    best = min(tried, key=lambda size: tried[size]["cpu_s"] / tried[size]["n"])
    theirs = timed(args, side="hf", batch_size=best) if len(sizes) > 1 or args.sample else tried[best]
    ours = timed(args, side="engine")
    same = sum(ours["answers"][i] == answer for i, answer in theirs["answers"].items())
    print(f"{args.what}, {args.shape}: engine {ours['n']} questions, lm-eval {theirs['n']} at batch size {best}")
    for name, side in (("engine", ours), ("lm-eval", theirs)):
        rates = f"{side['n'] / side['wall_s']:8.3f} questions/s wall, {side['n'] / side['cpu_s']:8.3f} CPU"
        print(f"  {name:<8} {rates}, peak {side['peak_mb']:.0f} MB (model loaded: {side['loaded_mb']:.0f} MB)")
    wall = ours["n"] / ours["wall_s"] / (theirs["n"] / theirs["wall_s"])
    cpu = ours["n"] / ours["cpu_s"] / (theirs["n"] / theirs["cpu_s"])
    print(f"  ratio    {wall:.2f} wall, {cpu:.2f} CPU; memory {ours['peak_mb'] / theirs['peak_mb']:.2f}")
    if lengths := ours["lengths"]:
        quartiles = ", ".join(str(lengths[round(q * (len(lengths) - 1))]) for q in (0, 0.25, 0.5, 0.75, 1))
        print(
            f"  answers of {sum(lengths) / len(lengths):.1f} tokens on average; least, quartiles and most: {quartiles}"
        )
    print(f"  same answers: {same} of {len(theirs['answers'])}")


if __name__ == "__main__":
    main()
