"""Options that several commands have, in one place so that they read alike; and those whose words take a line of their
own. Each is put into an `Annotated[TYPE, …]`.
"""

from __future__ import annotations

import typer

from llmc.commands.rendering import completion

MODEL = typer.Argument(metavar="MODEL", help="A checkpoint directory, a downloaded hub name, or 'mini'.")
SUITE = typer.Option(autocompletion=completion.suites, help="Suites, separated by commas: kick (knowledge), trust.")
SCALE = typer.Option(autocompletion=completion.scales, help="mini (made up, no download), quick or full (real data).")
MODE = typer.Option(autocompletion=completion.modes, help="fixed, or compat: the published protocol, faults included.")
DATA_ROOT = typer.Option(help="Folder with the real data of quick and full; `llmc data` fetches some of it.")
CHAT = typer.Option(
    "--chat/--no-chat",
    help="Ask through the model's chat template, or in plain text; left out: yes for kick and trust, no for lm-eval's.",
)
LIMIT = typer.Option(help="At most this many items a task.")
DEVICE = typer.Option(help="auto, cpu, cuda, …")
SEQUENCES = typer.Option(help="How many calibration sequences.")

METHOD = typer.Option(
    "--method", "-m", autocompletion=completion.methods, help="One method; `llmc methods` lists them."
)
SET = typer.Option(
    "--set", metavar="NAME=VALUE", help="A setting of the method, as `llmc methods METHOD` lists them; repeatable."
)
EMBEDDINGS = typer.Option(help="Bits of the token embedding and the head, 8 or 4; without it they stay as they are.")
CALIBRATION = typer.Option(
    help="Text to calibrate on: a .txt, .jsonl, .csv or .parquet file, mini, none, or (downloaded) c4 or wikitext2."
)
SEQ_LEN = typer.Option(help="Tokens of each; by default 2048, or the model's limit where that is less.")
FORMAT = typer.Option(
    "--format", help="dense, compressed-tensors, gptq, gptq_v2, awq or factors; by default what most loaders read."
)
STORED = typer.Option(help="What is not quantised is stored in: auto (the checkpoint's), float32, bfloat16 or float16.")

TASKS = typer.Option(help="Single tasks, separated by commas: ours (`llmc tasks`) or lm-eval's.")
BACKEND = typer.Option(help="What runs the model: our engine, or an lm-eval model class: hf, vllm, …")
BACKEND_ARG = typer.Option(metavar="NAME=VALUE", help="An argument of that class; repeatable.")
SCORER = typer.Option(
    help="Marking rules of the suite trust: v0, v1, vC or fixed, toxicity=NAME, or both with a comma."
)
JUDGE = typer.Option(
    metavar="NAME[=MODEL]",
    help="Who marks free answers too: rouge, reference-likelihood, dense-likelihood, kl, nli or pairwise; repeatable.",
)
DENSE_RUN = typer.Option(help="The dense model's run, with whose answers judges compare.")
ONLINE = "Let what is asked for touch the network: data of lm-eval's tasks, a backend, judge or scorer elsewhere."
KERNELS = typer.Option(help="How packed layers compute: exact, fast (in bfloat16) or dense.")
