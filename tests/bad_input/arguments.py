"""Command lines with values that options can't have."""

NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e999",
    "1e-300",
    "9" * 25,
    "-" + "9" * 25,
    "",
    " ",
    "x",
    "1.5",
    "0x10",
    "１２",
]
TEXTS = [
    "",
    " ",
    "x" * 5000,
    "no/such",
    "../..",
    "/dev/zero",
    "/dev/null",
    "\udcff\udcfe",
    "a\nb",
    "\x1b[31m",
    "%n",
    "-",
    "--",
    "~",
    "/proc/self/mem",
    "é" * 300,
    ".",
    "/",
    "nul\x00x",
]
BASE = {
    "compress": [
        "compress",
        "{model}",
        "-o",
        "{out}",
        "-m",
        "wanda",
        "--calibration",
        "{text}",
        "--samples",
        "2",
        "--seq-len",
        "16",
        "--dry-run",
    ],
    "eval": ["eval", "{model}", "-o", "{out}", "--tasks", "kick/perplexity", "--scale", "mini", "--limit", "1"],
    "run": [
        "run",
        "{model}",
        "-o",
        "{out}",
        "--recipe",
        "{recipe}",
        "--scale",
        "mini",
        "--limit",
        "1",
        "--tasks",
        "kick/perplexity",
        "--calibration",
        "{text}",
        "--samples",
        "0",
    ],
    "compare": ["compare", "{dense}", "{run}"],
    "gate": ["gate", "{dense}", "{run}"],
    "bench": ["bench", "{model}", "--repeats", "0"],
    "inspect": ["inspect", "{packed}"],
    "rescore": ["rescore", "{run}", "-o", "{out}", "--scorer", "v0"],
    "trust": ["trust", "calibrate", "words", "--data-root", "{texts}"],
    "baseline": ["baseline", "save", "x", "{dense}", "--folder", "{out}"],
    "list": ["baseline", "list"],
    "data": ["data", "verify", "--data-root", "{texts}"],
    "methods": ["methods"],
    "tasks": ["tasks"],
    "demo": ["demo", "--out", "{out}", "--limit", "0"],
}
OPTIONS = {
    "compress": {
        "--samples": NUMBERS,
        "--seq-len": NUMBERS,
        "--seed": NUMBERS,
        "--max-shard-gb": NUMBERS,
        "--sparsity": NUMBERS,
        "--bits": NUMBERS,
        "--group-size": NUMBERS,
        "--rank-ratio": NUMBERS,
        "--pattern": [*NUMBERS, "2:4", "4:2", "9:9", "2:" + "9" * 30],
        "--device": ["meta", "cuda", "cpu:7", "tpu", "mps", "xla", *TEXTS],
        "--dtype": ["int8", "float8_e4m3fn", *TEXTS],
        "--format": ["densee", *TEXTS],
        "-m": ["wandaa", *TEXTS],
        "--calibration": ["c5", "wikitext", *TEXTS],
        "--set": [
            "x",
            "=",
            "damping=nan",
            "damping=",
            "dampin=1",
            "bits=" + "9" * 30,
            "sparsity=[0.5]",
            "x=" * 2000,
            *TEXTS,
        ],
        "--recipe": TEXTS,
        "-o": [*TEXTS, "{model}", "{text}"],
    },
    "eval": {
        "--limit": NUMBERS,
        "--seed": NUMBERS,
        "--batch-tokens": NUMBERS,
        "--scale": ["minii", *TEXTS],
        "--mode": TEXTS,
        "--scorer": ["toxcity=words", "v9", "toxicity=", "toxicity=wordz", "v0,v1", ",", *TEXTS],
        "--judge": ["rogue", "nli", "nli=/no", "=", *TEXTS],
        "--device": ["meta", "cpu:3", "cuda:99", *TEXTS],
        "--dtype": ["int64", "float8_e5m2", "Tensor", *TEXTS],
        "--kernels": ["fastt", *TEXTS],
        "--suite": ["kik", *TEXTS],
        "--tasks": ["kick/perplexty", "trust/", ",", "kick/"],
        "--backend-arg": ["x", "=", "a=b", *TEXTS],
        "--task-folder": TEXTS,
        "--data-root": TEXTS,
        "--dense-run": TEXTS,
        "--label": TEXTS,
        "-o": [*TEXTS, "{model}"],
    },
    "run": {
        "--samples": NUMBERS,
        "--seq-len": NUMBERS,
        "--recipe": TEXTS,
        "--policy": TEXTS,
        "--seed": NUMBERS,
        "--calibration": TEXTS,
    },
    "compare": {"--max-html-mb": NUMBERS, "--policy": TEXTS, "-o": [*TEXTS, "{run}"]},
    "gate": {
        "--policy": TEXTS,
        "--baseline": TEXTS,
        "--explain": ["knowlege", *TEXTS],
        "--junit": TEXTS,
        "--json": TEXTS,
        "--markdown": TEXTS,
        "--html": TEXTS,
        "--annotations": ["gitlab", *TEXTS],
    },
    "bench": {
        "--batch": ["1,1", "0", ",", "9" * 25, "1,-1", "nan", *TEXTS],
        "--prompt-tokens": NUMBERS,
        "--new-tokens": NUMBERS,
        "--repeats": ["0", "-1", "x", "9" * 25],
        "--seed": NUMBERS,
        "--threads": NUMBERS,
        "--device": ["meta", *TEXTS],
        "--dtype": ["float8_e4m3fn", "int8", *TEXTS],
        "--kernels": TEXTS,
        "--into": TEXTS,
        "-o": TEXTS,
    },
    "inspect": {"--worst": NUMBERS},
    "rescore": {
        "--scorer": ["toxcity=words", "v9", "toxicity=words:/dev/zero", *TEXTS],
        "--data-root": TEXTS,
        "-o": [*TEXTS, "{run}"],
    },
    "trust": {"--data-root": TEXTS, "--seed": NUMBERS},
    "baseline": {"--folder": TEXTS},
    "list": {"--folder": TEXTS},
    "data": {"--data-root": TEXTS},
    "methods": {},
    "tasks": {},
    "demo": {"--limit": NUMBERS, "--out": ["{model}", "/dev/null", "", "x" * 5000]},
}


def line(draw, root, place):
    """A command line with one option or argument that is nonsense, and which."""
    command = draw.choice(list(BASE))
    words = list(BASE[command])
    used = {
        "model": root / "model",
        "dense": root / "dense",
        "run": root / "run",
        "packed": root / "compressed-tensors",
        "text": root / "texts/text.txt",
        "texts": root / "texts",
        "recipe": root / "recipe.yaml",
        "out": place / "out",
    }
    options = OPTIONS[command]
    if options and draw.random() < 0.8:
        option = draw.choice(list(options))
        value = draw.choice(options[option])
        at = words.index(option) if option in words else None
        if at is None:
            words += [option, value]
        else:
            words[at + 1] = value
        done = f"{option} {value[:40]!r}"
    else:
        places = [i for i, word in enumerate(words) if i and word.startswith("{") and word != "{out}"]
        value = draw.choice(TEXTS)
        if places:
            words[draw.choice(places)] = value
        else:
            words.append(value)
        done = f"argument {value[:40]!r}"
    return [word.format(**used) if word.startswith("{") and word.endswith("}") else word for word in words], done
