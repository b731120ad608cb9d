"""The command line as a person meets it: quick help, one sentence for a mistake, exit codes."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from llmc import cli, commands
from llmc.commands.rendering import app
from llmc.errors import Exit, UserError
from llmc.models.tiny import save_tiny

ROOT = Path(__file__).parents[1]


def llmc(*arguments, capsys):
    code = cli.run([str(a) for a in arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_help_needs_no_torch():
    script = "import sys; from llmc.cli import run; run(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0


def test_importing_the_package_changes_no_global_state():
    script = (
        "import os, logging, warnings; before = (dict(os.environ), len(warnings.filters), logging.root.handlers[:]);"
        "import llmc, llmc.cli; after = (dict(os.environ), len(warnings.filters), logging.root.handlers[:]);"
        "raise SystemExit(before != after)"
    )
    clean = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=clean).returncode == 0


def test_every_command_has_help(capsys):
    import pkgutil

    for info in pkgutil.iter_modules(commands.__path__):
        if not info.ispkg:
            code, out, _ = llmc(info.name, "--help", capsys=capsys)
            assert code == 0 and info.name in out


def test_help_shows_switches_without_a_value_and_first_steps_first(capsys):
    _, out, _ = llmc("compress", "--help", capsys=capsys)
    assert "--overwrite" in out and "<bool>" not in out and "MODEL" in out
    _, out, _ = llmc("data", "verify", "--help", capsys=capsys)
    assert "<bool>" not in out
    _, out, _ = llmc("--help", capsys=capsys)
    assert "<bool>" not in out and "llmc demo" in out
    places = [out.index(f"\n│ {name} ") for name in ("demo", "compress", "eval", "compare", "gate", "baseline")]
    assert places == sorted(places)


@pytest.fixture
def dense(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    return tmp_path / "dense"


MISTAKES = {
    "method": (["--method", "wnada"], "did you mean 'wanda'"),
    "setting": (["--method", "wanda", "--set", "sparsty=0.5"], "did you mean 'sparsity'"),
    "value": (["--method", "wanda", "--set", "sparsity=half"], "sparsity='half'"),
    "range": (["--method", "wanda", "--sparsity", "1.5"], "sparsity must be in [0, 1)"),
    "pair": (["--method", "wanda", "--set", "sparsity"], "NAME=VALUE"),
    "group": (["--method", "rtn", "--group-size", "48"], "groups of 48 don't fill the rows of 12 of 14 matrices"),
    "pattern": (["--method", "magnitude", "--pattern", "2:5"], "64 input columns do not split into groups of 5"),
    "dtype": (["--method", "magnitude", "--dtype", "float61"], "unknown dtype 'float61'"),
    "device": (["--method", "magnitude", "--device", "tpu9"], "device 'tpu9'"),
    "format": (["--method", "magnitude", "--format", "gtpq"], "did you mean 'gptq'"),
    "calibration": (["--method", "wanda"], "needs calibration text"),
    "file": (["--method", "wanda", "--calibration", "nowhere.txt"], "nowhere.txt does not exist"),
    "both": (["--method", "wanda", "--recipe", "x.yaml"], "one of --method and --recipe"),
    "neither": ([], "one of --method and --recipe"),
    "option": (["--metod", "wanda"], "No such option"),
    "number": (["--method", "rtn", "--bits", "four"], "'--bits'"),
    "twice": (["--method", "rtn", "--bits", "4", "--set", "bits=3"], "bits is given twice: 4 and 3"),
    "ranks": (["--method", "svd", "--rank-ratio", "0.5", "--set", "rank=4"], "rank 4 and rank_ratio 0.5 exclude"),
    "recipe": (["--recipe", "nowhere.yaml"], "nowhere.yaml"),
    "idle": (["--method", "magnitude", "--samples", "64"], "--samples has no meaning here"),
    "idle length": (["--method", "rtn", "--seq-len", "64"], "--seq-len has no meaning here"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_code_2(mistake, dense, tmp_path, capsys):
    arguments, sentence = MISTAKES[mistake]
    code, out, err = llmc("compress", dense, "--out", tmp_path / "out", *arguments, capsys=capsys)
    assert code == Exit.USER and out == ""
    assert sentence in err and err.count("\n") == 1 and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_what_takes_several_shows_the_type_of_one(capsys):
    for command, kind in (("compare", "<path>"), ("bench", "<str>"), ("run", "<path>"), ("eval", "<path>")):
        code, out, _ = llmc(command, "--help", capsys=capsys)
        assert code == 0 and "list[" not in out and kind in out


def test_the_shells_script_is_that_of_the_command_however_it_was_called():
    named = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # under make there is no shell to detect
    command = [sys.executable, "-m", "llmc", "--show-completion", "bash"]
    shell = subprocess.run(command, capture_output=True, text=True, check=True, env=named)
    assert "-F _llmc_completion llmc" in shell.stdout and "_LLMC_COMPLETE=complete_bash" in shell.stdout


def test_a_model_that_is_not_there_is_one_sentence(tmp_path, capsys):
    for name in (tmp_path / "nowhere", "nobody/nothing"):
        code, _, err = llmc("compress", name, "--out", tmp_path / "out", "--method", "rtn", capsys=capsys)
        assert code == Exit.USER and err.count("\n") == 1


@pytest.mark.parametrize("command", [("eval", "--suite", "kick", "--scale", "mini", "--out"), ("bench", "--out")])
def test_an_unfinished_compression_is_no_model(tmp_path, capsys, command):
    (tmp_path / "half/.llmc/parts").mkdir(parents=True)
    code, _, err = llmc(command[0], tmp_path / "half", *command[1:], tmp_path / "out", capsys=capsys)
    assert code == Exit.USER and "half is an unfinished compression; run its `llmc compress` again with --resume" in err


def test_our_own_fault_is_70_and_a_stop_is_130(monkeypatch, capsys):
    for raised, code in ((ValueError("bug"), 70), (KeyboardInterrupt(), 130), (UserError("mistake"), 2)):

        def fail(*_, raised=raised, **__):
            raise raised

        monkeypatch.setattr(app, "app", fail)
        assert llmc("methods", capsys=capsys)[0] == code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/full/x"), 2, "/full/x: no space left on device; free some"),
        (PermissionError(errno.EACCES, "Permission denied", "/root"), 2, "/root: permission denied; choose another"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), 2, "a/b: not a directory; a part of this path"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "ours"), 70, "a bug in llmc"),
    ],
)
def test_a_disk_that_refuses_is_one_sentence_and_no_bug(monkeypatch, capsys, error, code, said):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(app, "app", fail)
    found, _, err = llmc("methods", capsys=capsys)
    assert found == code and said in err and ("Traceback" in err) == (code == 70)


def test_methods_are_listed_with_settings_and_papers(capsys):
    code, out, _ = llmc("methods", "--json", capsys=capsys)
    listed = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0 and {"magnitude", "wanda", "gptq", "rtn"} <= set(listed)
    for entry in listed.values():
        assert entry["source"]
        assert all(setting["help"] for setting in entry["settings"]), entry["name"]
    assert llmc("methods", "wanda", capsys=capsys)[0] == 0


def test_compress_then_inspect(dense, tmp_path, capsys):
    code, out, _ = llmc("compress", dense, "--out", tmp_path / "o", "--method", "magnitude", "--json", capsys=capsys)
    assert code == 0
    assert json.loads(out)["totals"]["compressed_sparsity"] == pytest.approx(0.5)
    code, out, _ = llmc("inspect", tmp_path / "o", capsys=capsys)
    assert (
        code == 0
        and "1.mlp.down_proj" in out
        and "begin with model.layers." in out
        and "as large as the dense one" in out
    )
    code, out, _ = llmc("inspect", tmp_path / "o", "--json", capsys=capsys)
    assert len(json.loads(out)["matrices"]) == 14
    assert llmc("inspect", dense, capsys=capsys)[0] == Exit.USER


@pytest.mark.parametrize(("method", "zeros"), [("magnitude", "sparsity"), ("rtn", "zero codes")])
def test_inspect_fits_80_columns_and_names_zeros_and_dtypes(dense, tmp_path, capsys, monkeypatch, method, zeros):
    """Codes that stand for 0 are no sparsity; dtypes are those in the files' headers."""
    monkeypatch.setenv("COLUMNS", "80")
    more = ("--group-size", 32) if method == "rtn" else ()
    assert llmc("compress", dense, "--out", tmp_path / "o", "--method", method, *more, capsys=capsys)[0] == 0
    code, out, _ = llmc("inspect", tmp_path / "o", capsys=capsys)
    table, _, totals = out.partition("\n\n")
    assert code == 0 and max(len(line) for line in table.splitlines()) <= 80 and "…" not in table
    account = json.loads(llmc("inspect", tmp_path / "o", "--json", capsys=capsys)[1])
    for record in account["matrices"]:
        line = next(
            line for line in table.splitlines() if line.startswith(record["name"].removeprefix("model.layers."))
        )
        assert f"{record['sparsity']:.2%}" in line and f"{record['bits_per_weight']:.2f}" in line
    assert zeros in table and f"{zeros:10} " in totals and ({"sparsity", "zero codes"} - {zeros}).pop() not in out
    stored = {}
    for shard in (tmp_path / "o").glob("*.safetensors"):
        for name, tensor in load_file(shard).items():
            assert name
            dtype = {"float32": "F32", "bfloat16": "BF16", "int32": "I32", "int64": "I64"}[str(tensor.dtype)[6:]]
            stored[dtype] = stored.get(dtype, 0) + tensor.nbytes
    said = next(line for line in totals.splitlines() if line.startswith("dtypes "))
    assert [pair.split()[0] for pair in said.removeprefix("dtypes").split(",")] == sorted(
        stored, key=lambda d: -stored[d]
    )


def test_a_dry_run_writes_nothing(dense, tmp_path, capsys):
    arguments = ["compress", dense, "--out", tmp_path / "o", "--method", "rtn", "--group-size", "32", "--dry-run"]
    code, out, _ = llmc(*arguments, capsys=capsys)
    assert code == 0 and "14 matrices" in out and not (tmp_path / "o").exists()
    code, out, _ = llmc(*arguments, "--json", capsys=capsys)
    said = json.loads(out)
    assert code == 0 and said["matrices"] == 14 and said["format"] == "compressed-tensors"
    (tmp_path / "o").write_text("mine")
    assert llmc(*arguments, capsys=capsys)[0] == Exit.USER  # what the run would refuse, its trial refuses


def test_a_recipe_runs_its_stages_in_a_row(dense, tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(
        "stages:\n- {method: magnitude, pattern: '2:4'}\n- {method: rtn, bits: 4, group_size: 32}\n"
    )
    arguments = ["compress", dense, "--out", tmp_path / "o", "--recipe", tmp_path / "r.yaml", "--json"]
    code, out, _ = llmc(*arguments, capsys=capsys)
    assert code == 0
    assert json.loads(out)["totals"]["compressed_sparsity"] >= 0.5


@pytest.mark.parametrize("text", ["", "stages: 3", "stages: [{}]", "stages: [{method: wanda}]\nx: 1", "a: [", "- 1"])
def test_a_bad_recipe_is_one_sentence(text, dense, tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(text)
    code, _, err = llmc("compress", dense, "--out", tmp_path / "o", "--recipe", tmp_path / "r.yaml", capsys=capsys)
    assert code == Exit.USER and err.count("\n") == 1
