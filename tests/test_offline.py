"""Nothing leaves the machine unless a user asks: connections are counted, whatever was imported first."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from llmc import offline
from llmc.models.tiny import save_tiny
from llmc.offline import NetworkRefused, network

ROOT = Path(__file__).parents[1]
COUNTED = """
import json, os, socket, sys
tried = []
def refuse(*arguments, **_):
    tried.append(str(arguments[-1] if arguments and isinstance(arguments[0], socket.socket) else arguments[0]))
    raise OSError("there is no network here")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse
for name in sys.argv[1].split(","):
    if name: __import__(name)
from llmc.cli import run
codes = []
for arguments in json.loads(sys.argv[2]):
    try: codes.append(run(arguments))
    except SystemExit as error: codes.append(error.code)
import datasets, huggingface_hub
from transformers.utils.hub import is_offline_mode
said = [huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE, is_offline_mode()]
print("\\n" + json.dumps([codes, tried, said, os.environ.get("HF_HUB_OFFLINE")]))
"""
SHORT = ["--scale", "mini", "--limit", "1", "--device", "cpu"]


def process(first, commands, cwd, **variables):
    """Exit codes, connections tried, and what the three libraries say afterwards."""
    clean = {k: v for k, v in os.environ.items() if k not in offline.VARIABLES} | variables
    clean |= {"PYTHONPATH": str(ROOT), "HF_HOME": str(cwd / "cache"), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", COUNTED, first, json.dumps(commands)], cwd=cwd, env=clean, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def tasks(folder):
    """Two of lm-eval's kind: one with its rows beside it, and one whose rows are on the hub."""
    (folder / "rows.jsonl").write_text('{"q": "a", "a": "b"}\n')
    (folder / "own.yaml").write_text(
        "task: own\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\ntest_split: test\n"
        "output_type: generate_until\ndoc_to_text: '{{q}}'\ndoc_to_target: a\nmetric_list: [{metric: exact_match}]\n"
    )
    (folder / "hub.yaml").write_text(
        "task: hub\ndataset_path: someone/nothing\ntest_split: test\noutput_type: generate_until\n"
        "doc_to_text: q\ndoc_to_target: a\nmetric_list: [{metric: exact_match}]\n"
    )


HUB = ["eval", "mini", "--out", "hub", "--tasks", "hub", "--task-folder", ".", *SHORT]


def test_no_command_connects(tmp_path):
    save_tiny("llama", tmp_path / "tiny")
    tasks(tmp_path)
    (tmp_path / "r.yaml").write_text("stages:\n- {method: rtn, bits: 4, group_size: 32}\n")
    one = ["--tasks", "factoid_qa,perplexity", *SHORT]
    commands = [
        ["methods"], ["tasks"], ["data", "list"], ["data", "verify", "--data-root", "none"],
        ["compress", "tiny", "--out", "small", "--method", "rtn", "--group-size", "32"], ["inspect", "small"],
        ["eval", "mini", "--out", "a", *one], ["eval", "mini", "--out", "b", *one, "--backend", "hf"],
        ["compare", "a", "b", "--out", "c"], ["gate", "--dense", "a", "b"],
        ["run", "mini", "--recipe", "r.yaml", "--out", "d", *one],
        ["demo", "--out", "e", "--limit", "1"],
        ["eval", "mini", "--out", "f", "--tasks", "own", "--task-folder", ".", *SHORT],
        HUB,
        ["eval", "someone/nothing", "--out", "h", *one],
    ]  # fmt: skip
    codes, tried, said, variable = process("", commands, tmp_path)
    assert tried == [] and variable is None, "and what the user's variables said is put back"
    worked = dict(zip((" ".join(c[:2]) for c in commands), codes, strict=True))
    assert {worked[name] for name in ("methods", "compress tiny", "inspect small", "demo --out")} == {0}
    assert codes[6:8] == [0, 0] and codes[12:] == [0, 2, 2] and worked["run mini"] in (0, 1, 3, 4)
    assert said == [False] * 3


def test_no_command_connects_where_the_libraries_came_first(tmp_path):
    save_tiny("llama", tmp_path / "tiny")
    tasks(tmp_path)
    commands = [
        ["compress", "tiny", "--out", "small", "--method", "rtn", "--group-size", "32"],
        ["eval", "mini", "--out", "a", "--tasks", "factoid_qa", *SHORT], HUB,
    ]  # fmt: skip
    codes, tried, said, _ = process("transformers,datasets,huggingface_hub,evaluate", commands, tmp_path)
    assert codes == [0, 0, 2] and tried == [] and said == [False] * 3


def test_with_online_the_hub_is_asked(tmp_path):
    tasks(tmp_path)
    _, tried, _, _ = process("", [[*HUB, "--online"]], tmp_path)
    assert tried and "huggingface.co" in tried[0]
    codes, tried, _, variable = process("transformers", [[*HUB, "--online"]], tmp_path, HF_HUB_OFFLINE="1")
    assert codes == [2] and tried == [] and variable == "1", "a user's own refusal holds"


def test_a_library_that_asks_nobody_is_refused(monkeypatch):
    """nltk and requests know of no switch of the hub's."""
    with network(allowed=False):
        for ask in (
            lambda: socket.create_connection(("203.0.113.1", 80), timeout=1),
            lambda: socket.getaddrinfo("example.invalid", 80),
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("203.0.113.1", 9)),
            lambda: socket.gethostbyname("example.invalid"),
        ):
            with pytest.raises(NetworkRefused, match=r"nothing leaves this machine without --online"):
                ask()


def test_this_machine_itself_can_be_reached():
    with network(allowed=False), socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1]), timeout=5).close()


def test_refused_and_allowed_can_be_nested_and_leave_no_trace(monkeypatch):
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def now():
        return constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE")

    on, off = (False, False, None), (True, True, "1")
    assert now() == on
    with network(allowed=False):
        assert now() == off
        with network(allowed=False):
            assert now() == off
            with network(allowed=True):
                assert now() == on
            assert now() == off
        assert now() == off
    with pytest.raises(KeyError), network(allowed=False):
        raise KeyError
    assert now() == on


def test_what_is_imported_meanwhile_is_told_what_the_user_wanted_afterwards(tmp_path):
    script = (
        "from llmc.offline import network\n"
        "with network(allowed=False):\n    from huggingface_hub import constants\n    assert constants.HF_HUB_OFFLINE\n"
        "import sys; sys.exit(constants.HF_HUB_OFFLINE)"
    )
    for variables, code in (({}, 0), ({"HF_HUB_OFFLINE": "1"}, 1)):
        clean = {k: v for k, v in os.environ.items() if k not in offline.VARIABLES} | variables
        ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=clean | {"PYTHONPATH": str(ROOT)})
        assert ran.returncode == code
