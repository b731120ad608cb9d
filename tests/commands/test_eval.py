"""`llmc eval` end to end on a tiny model: the run, the refusals, interruption, lm-eval's tasks."""

import copy
import json

import pytest

from llmc.cli import run
from llmc.errors import UserError
from llmc.evaluate.journal import Journal
from llmc.jobs import evaluate as evaluate_module
from llmc.runs.writer import Run
from tests.evaluate import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint of a random model and its tokenizer."""
    folder = tmp_path_factory.mktemp("model") / "random-llama"
    tiny.model("llama").save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def evaluate(model, out, *more):
    return run(["eval", str(model), "--scale", "mini", "--limit", "3", "--device", "cpu", "--out", str(out), *more])


def content(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


def test_a_suite_gives_a_run_that_can_be_read(model, tmp_path, capsys):
    assert evaluate(model, tmp_path / "run", "--suite", "kick", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    found = Run(tmp_path / "run")
    assert found.results["tasks"] == printed["tasks"] and len(found.tasks) == 6
    manifest = found.manifest
    assert manifest["model"]["label"] == "random-llama" and manifest["model"]["dtype"] == "float32"
    assert manifest["suites"] == ["kick"] and manifest["compression"] is None and manifest["seconds"] > 0
    assert manifest["template"] is None and len(manifest["tokenizer_sha256"]) == 64
    for name in found.tasks:
        lines = list(found.samples(name))
        assert len(lines) == manifest["tasks"][name]["n"] == 3
        primary = printed["tasks"][name]["primary"]
        marks = [line["marks"][primary] for line in lines if line["marks"][primary] is not None]
        value = printed["tasks"][name]["metrics"][primary]["value"]
        # Stories don't fit this model's window: they are overflowed, unmarked, and the metric is undefined.
        assert value == (pytest.approx(sum(marks) / len(marks)) if marks else None)
        assert bool(marks) == (name != "kick/summarization")


def test_a_finished_run_is_shown_again_and_not_made_again(model, tmp_path, capsys):
    assert evaluate(model, tmp_path / "run", "--tasks", "factoid_qa") == 0
    first, before = capsys.readouterr().out, content(tmp_path / "run")
    assert "kick/factoid_qa" in first and "contains" in first
    assert evaluate(model, tmp_path / "run", "--tasks", "factoid_qa", "--resume") == 0
    assert capsys.readouterr().out == first and content(tmp_path / "run") == before


def test_an_interrupted_run_goes_on_to_the_same_results(model, tmp_path, monkeypatch, capsys):
    more = ("--tasks", "retrieval_qa,multiple_choice_qa")
    assert evaluate(model, tmp_path / "whole", *more) == 0
    store = Journal.store
    calls = []

    def interrupted(self, batch):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        store(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "store", interrupted)
        assert evaluate(model, tmp_path / "run", *more) == 130
        assert "llmc: interrupted; what is finished is kept" in capsys.readouterr().err
    assert evaluate(model, tmp_path / "run", *more, "--seed", "1", "--resume") == 2
    assert "another seed" in capsys.readouterr().err
    assert evaluate(model, tmp_path / "run", *more, "--resume") == 0
    whole, ours = content(tmp_path / "whole"), content(tmp_path / "run")
    assert whole.keys() == ours.keys()
    assert {name for name in whole if whole[name] != ours[name]} <= {"manifest.json"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--suite", "kik"], "did you mean 'kick'"),
        (["--suite", "kick", "--scale", "tiny"], "unknown scale 'tiny'"),
        (["--tasks", "kick/factoid"], "did you mean 'kick/factoid_qa'"),
        ([], "--suite"),
        (["--suite", "kick", "--scale", "full"], "--data-root"),
        (["--suite", "kick", "--data-root", "/nowhere"], "/nowhere"),
        (["--suite", "kick", "--limit", "0"], "--limit"),
        (["--suite", "kick", "--backend", "nope"], "backend nope"),
        (["--suite", "kick", "--dtype", "float7"], "float7"),
        (["--suite", "kick", "--backend-arg", "x"], "NAME=VALUE"),
        (["--suite", "kick", "--backend", "dummy"], "task kick/perplexity: it scores bare tokens"),
        (["--suite", "kick", "--judge", "roug"], "did you mean 'rouge'"),
        (["--suite", "kick", "--judge", "rouge", "--dense-run", "/nowhere"], "not a run directory"),
        (["--suite", "kick", "--judge", "dense-likelihood"], "give --dense-run RUN"),
        (["--suite", "kick", "--backend-arg", "x=1"], "no meaning for the engine"),
        (
            ["--suite", "kick", "--scale", "mini", "--scorer", "v1"],
            "--scorer has no meaning without a task of the suite",
        ),
        (["--tasks", "hellaswag", "--mode", "compat"], "--mode has no meaning without a task of kick or trust"),
        (["--suite", "kick", "--scale", "mini", "--task-folder", "."], "--task-folder has no meaning"),
        (["--suite", "kick", "--scale", "mini", "--dense-run", "."], "--dense-run has no meaning without --judge"),
        (["--suite", "kick", "--scale", "mini", "--backend", "hf", "--batch-tokens", "64"], "--batch-tokens has no"),
        (["--suite", "kick", "--backend", "hf", "--kernels", "fast"], "--kernels fast has no meaning"),
        (["--tasks", "x", "--task-folder", "/nowhere"], "--task-folder /nowhere is no directory"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(model, tmp_path, capsys, more, says):
    assert evaluate(model, tmp_path / "run", *more) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert says in said[-1] and "Traceback" not in "".join(said)
    assert not (tmp_path / "run" / "results.json").exists()


def test_a_run_that_cannot_be_written_or_read_is_one_sentence(model, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "list").mkdir()
    (tmp_path / "list/manifest.json").write_text("[]")
    for out, words in (("file", "is a file"), ("file/run", "can't be made"), ("list", "no manifest that can be read")):
        assert evaluate(model, tmp_path / out, "--tasks", "factoid_qa", "--resume") == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert words in said[-1] and "Traceback" not in "".join(said)


def test_what_a_kill_left_of_the_first_file_is_no_run(model, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / f"run/..llmc-folder.json.{'0' * 16}.llmc-tmp").write_text('{"llm')
    assert evaluate(model, tmp_path / "run", "--tasks", "factoid_qa", "--resume") == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other/manifest.json.tmp").write_text("mine")
    assert evaluate(model, tmp_path / "other", "--tasks", "factoid_qa", "--resume") == 2
    assert (tmp_path / "other/manifest.json.tmp").read_text() == "mine"


def test_a_damaged_line_of_the_dense_run_is_named(model, tmp_path, capsys):
    assert evaluate(model, tmp_path / "dense", "--tasks", "factoid_qa") == 0
    samples = tmp_path / "dense/samples/kick/factoid_qa.jsonl"
    samples.write_text(samples.read_text().replace('{"id"', '{"id', 1))
    more = ("--tasks", "factoid_qa", "--dense-run", str(tmp_path / "dense"), "--judge", "dense-likelihood")
    assert evaluate(model, tmp_path / "run", *more) == 2
    assert "factoid_qa.jsonl has 2,348 bytes" in (said := capsys.readouterr().err) and "evaluate again" in said


class _Template:
    """A tokenizer's template by its source."""

    def __init__(self, source):
        self.source = source

    def apply_chat_template(self, messages, **_):
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(words):
            raise TemplateError(words)

        environment = ImmutableSandboxedEnvironment()
        environment.globals["raise_exception"] = refuse
        return environment.from_string(self.source).render(messages=messages)


def test_a_template_without_a_system_role_is_asked_all_the_same():
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    system, question = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}
    assert evaluate_module._chat(_Template(source), [system, question]) == "<user>Be brief.\n\nWhy?"
    assert (
        evaluate_module._chat(_Template("{{ messages|length }}"), [system, question]) == "2"
    )  # kept where it is known
    with pytest.raises(UserError, match=r"System role not supported.*--no-chat"):
        evaluate_module._chat(_Template(source), [question, system])


def test_a_model_of_the_hub_goes_by_its_name_and_a_folder_by_its_own(tmp_path):
    assert evaluate_module._hub_name("someone/small-7b") == "small-7b"
    assert evaluate_module._hub_name(str(tmp_path)) is None and evaluate_module._hub_name("mini") is None


def test_a_damaged_manifest_of_the_compression_is_named(model, tmp_path, capsys):
    import shutil

    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model/llmc_manifest.json").write_text("{")
    assert evaluate(tmp_path / "model", tmp_path / "run", "--tasks", "factoid_qa") == 2
    assert "llmc_manifest.json can't be read" in capsys.readouterr().err


def broken(change, out):
    model = copy.deepcopy(tiny.model("llama"))  # the module holds one for all tests
    change(model)
    model.save_pretrained(out)
    tiny.tokenizer().save_pretrained(out)
    return out


def test_a_model_that_knows_fewer_tokens_than_its_tokenizer_is_one_sentence(tmp_path, capsys):
    made = broken(lambda m: m.resize_token_embeddings(20), tmp_path / "model")
    assert evaluate(made, tmp_path / "run", "--tasks", "multiple_choice_qa") == 2
    said = capsys.readouterr().err
    assert "and the model knows 20; check that tokenizer and weights belong" in said and "Traceback" not in said


def test_a_model_with_nan_weights_is_evaluated_and_has_no_score(tmp_path):
    """It is what compression can do to a model: a result, not a mistake of the user."""
    made = broken(lambda m: m.model.layers[0].self_attn.q_proj.weight.data.fill_(float("nan")), tmp_path / "model")
    assert evaluate(made, tmp_path / "run", "--tasks", "multiple_choice_qa") == 0
    lines = list(Run(tmp_path / "run").samples("kick/multiple_choice_qa"))
    assert lines and all(line["choice"] is None for line in lines)


def test_a_template_of_a_task_that_cannot_be_filled_in_is_one_sentence(model, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text('{"q": "a"}\n')
    (tmp_path / "bad.yaml").write_text(
        f"task: bad\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {tmp_path}/rows.jsonl}}}}\n"
        "test_split: test\noutput_type: generate_until\ndoc_to_text: '{{nope.x}}'\ndoc_to_target: q\n"
        "metric_list: [{metric: exact_match}]\n"
    )
    assert evaluate(model, tmp_path / "run", "--tasks", "bad", "--task-folder", str(tmp_path)) == 2
    assert "a template of bad can't be filled in: 'nope' is undefined" in capsys.readouterr().err


def test_a_task_that_nobody_has_is_refused_before_any_other_is_asked(model, tmp_path, capsys, monkeypatch):
    import lm_eval.tasks

    class Small(lm_eval.tasks.TaskManager):
        """Without lm-eval's own task files, which take a minute to read."""

        def __init__(self, include_path=None, include_defaults=True):
            super().__init__(include_path=include_path, include_defaults=False)

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", Small)
    monkeypatch.setattr("llmc.jobs.evaluate.perform", lambda *_: pytest.fail("something was asked"))
    for name, hint in (("no_such_task", "; `llmc tasks` lists"), ("factoid_q", "; did you mean 'factoid_qa'? `llmc")):
        tasks = ("--tasks", f"multiple_choice_qa,{name}", "--task-folder", str(tmp_path))
        assert evaluate(model, tmp_path / "run", *tasks) == 2
        assert f"no task called {name}{hint}" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dtype", ["int8", "bool", "complex64", "float8_e4m3fn", "float61"])
def test_a_dtype_that_no_model_computes_in_is_refused(model, tmp_path, capsys, dtype):
    assert evaluate(model, tmp_path / "run", "--tasks", "multiple_choice_qa", "--dtype", dtype) == 2
    assert f"unknown dtype '{dtype}'" in capsys.readouterr().err


def test_real_data_that_are_missing_are_named_or_left_out(model, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    more = ("--suite", "kick", "--scale", "quick", "--data-root", str(tmp_path / "data"))
    assert evaluate(model, tmp_path / "a", *more) == 2
    assert "llmc data pull" in capsys.readouterr().err
    assert evaluate(model, tmp_path / "b", *more, "--allow-missing") == 2
    assert "no task could be prepared" in capsys.readouterr().err


def test_lm_evals_tasks_run_on_the_engine_as_on_its_own_backend(model, tmp_path):
    rows = [{"ctx": f"abc {i}", "endings": [" x", " yy", " zzz"], "label": i % 3} for i in range(7)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "toy.yaml").write_text(
        f"task: toy_choice\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {tmp_path}/rows.jsonl\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{ctx}}'\ndoc_to_target: label\n"
        "doc_to_choice: endings\nmetric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
        "metadata:\n  version: 1.0\n"
    )
    runs = []
    for backend in ("engine", "hf"):
        more = ("--tasks", "toy_choice", "--task-folder", str(tmp_path), "--backend", backend, "--limit", "7")
        assert evaluate(model, tmp_path / backend, *more) == 0
        runs.append(Run(tmp_path / backend))
    assert evaluate(model, tmp_path / "hf", *more, "--resume") == 0
    ours, theirs = (list(each.samples("toy_choice")) for each in runs)
    assert [line["choice"] for line in ours] == [line["choice"] for line in theirs]
    assert [line["marks"] for line in ours] == [line["marks"] for line in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loglikelihoods"] == pytest.approx(other["loglikelihoods"], abs=1e-4)
        assert mine["prompt_sha256"] == other["prompt_sha256"]
    metric = runs[0].results["tasks"]["toy_choice"]["metrics"]["acc"]
    assert metric["n"] == 7 and metric["kind"] == "proportion" and metric["ci95"] is not None


def test_our_tasks_on_lm_evals_backend_give_the_same_answers(model, tmp_path):
    runs = []
    for backend in ("engine", "hf"):
        assert (
            evaluate(
                model, tmp_path / backend, "--tasks", "factoid_qa,multiple_choice_qa,perplexity", "--backend", backend
            )
            == 0
        )
        runs.append(Run(tmp_path / backend))
    ours, theirs = (each.results["tasks"]["kick/perplexity"]["metrics"]["perplexity"]["value"] for each in runs)
    assert theirs == pytest.approx(ours, rel=1e-6)
    for task in ("kick/factoid_qa", "kick/multiple_choice_qa"):
        ours, theirs = (list(each.samples(task)) for each in runs)
        assert [line["answer"] for line in ours] == [line["answer"] for line in theirs]
        assert [line["marks"] for line in ours] == [line["marks"] for line in theirs]


def test_tasks_are_listed(capsys):
    assert run(["tasks", "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert {"kick/factoid_qa", "kick/perplexity"} <= names


def test_judges_add_their_marks_and_stand_in_the_manifest(model, tmp_path):
    assert evaluate(model, tmp_path / "dense", "--tasks", "factoid_qa") == 0
    more = ("--tasks", "factoid_qa", "--judge", f"kl={model}", "--judge", "dense-likelihood")
    assert evaluate(model, tmp_path / "run", *more, "--dense-run", str(tmp_path / "dense")) == 0
    found = Run(tmp_path / "run")
    assert set(found.manifest["judges"]) == {"kl", "dense-likelihood"}
    metrics = found.results["tasks"]["kick/factoid_qa"]["metrics"]
    assert metrics["kl.nats_per_token"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert metrics["dense-likelihood.nats_per_token"]["value"] < 0
    assert all(line["kl"] == line["marks"]["kl.nats_per_token"] for line in found.samples("kick/factoid_qa"))


def test_a_packed_checkpoint_answers_as_its_dense_self_and_counts_its_parameters(tmp_path, capsys):
    """The default keeps 4-bit codes packed and gives every log-likelihood of the unpacked model, bit for bit."""
    from llmc.compress.formats.compressed_tensors import FORMAT
    from tests.compress.formats.checkpoints import block_linears, round_to_nearest, write_checkpoint

    model = tiny.model("llama")
    layers = {n: round_to_nearest(m.weight.data, group_size=16) for n, m in block_linears(model).items()}
    write_checkpoint(tmp_path / "packed", model, FORMAT, layers)
    tiny.tokenizer().save_pretrained(tmp_path / "packed")
    runs = {}
    for kernels in ("exact", "dense"):
        out = tmp_path / kernels
        more = ("--tasks", "factoid_qa,multiple_choice_qa", "--kernels", kernels)
        assert evaluate(tmp_path / "packed", out, *more) == 0
        runs[kernels] = Run(out)
        assert runs[kernels].manifest["kernels"] == kernels
        assert runs[kernels].manifest["model"]["n_parameters"] == sum(p.numel() for p in model.parameters())
    assert runs["exact"].results == runs["dense"].results
    unseconded = [[{**line, "seconds": None} for line in runs[k].samples("kick/multiple_choice_qa")] for k in runs]
    assert unseconded[0] == unseconded[1]
    assert evaluate(tmp_path / "packed", tmp_path / "x", "--tasks", "factoid_qa", "--kernels", "quick") == 2
    assert "unknown kernels 'quick'" in capsys.readouterr().err
