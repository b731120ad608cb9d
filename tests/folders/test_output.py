"""An output folder: nothing of others is touched, the old result stays till the new one is whole, one job writes."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmc.errors import UserError
from llmc.files import replace_text, whole_file
from llmc.folders import exchange, lock
from llmc.folders.foreign import first_foreign, refuse_foreign
from llmc.folders.marker import LOCK, NAME, new_marker, read_marker
from llmc.folders.output import Output, State, look
from tests.folders.trees import TREES, held, plant

WRITES = ("work/*.part", "config.json", "model*.safetensors", "deep/**/*.jsonl")


def admit(out, resume, overwrite):
    def check(state, marker):
        if state is State.UNMARKED:
            raise UserError("not ours")
        if marker is None:
            return
        if state is State.BEGUN and not (resume or overwrite):
            raise UserError("begun")
        if state is State.FINISHED and not (resume or overwrite):
            raise UserError("exists")
        if state is State.BEGUN or overwrite:
            refuse_foreign(out, marker, option="this")

    return check


def output(out, *, resume=False, overwrite=False, at_once=False, job="j"):
    marker = new_marker("compress", job, writes=WRITES)
    return Output(out, marker, admit(out, resume, overwrite), resume=resume, overwrite=overwrite, at_once=at_once)


class Stopped(BaseException):
    """A stop that nothing catches."""


def work(out, text, *, stop=99, **how):
    """A job of five files that may stop before any of them."""
    with output(out, **how) as made:
        if made.marker.finished and made.folder == out:
            return
        names = ["work/1.part", "model-1.safetensors", "deep/a/b/x.jsonl", "deep/y.jsonl", "config.json"]
        for number, name in enumerate(names):
            if number == stop:
                raise Stopped
            (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
            replace_text(made.folder / name, f"{text} {name}")
        made.drop(["work/*.part"])
        if stop == len(names):
            raise Stopped
        made.finish()


def result(out):
    """What a reader finds: its text, None where no whole result is there."""
    state, marker = look(out, "compress")
    if state is not State.FINISHED:
        return None
    assert first_foreign(out, marker) is None
    texts = {path.read_text().split()[0] for path in out.rglob("*") if path.is_file() and path.name not in (NAME, LOCK)}
    assert len(texts) == 1 and {*marker.files} == {
        "model-1.safetensors", "deep/a/b/x.jsonl", "deep/y.jsonl", "config.json",
    }  # fmt: skip
    return texts.pop()


def beside(out):
    return [path for path in out.parent.iterdir() if path.name.endswith((".llmc-new", ".llmc-old", ".llmc-tmp"))]


def test_the_same_job_gives_the_same_folder_and_leaves_nothing_beside(tmp_path):
    work(tmp_path / "a", "one")
    work(tmp_path / "b", "one", at_once=True)
    a, b = ({str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in
            (tmp_path / "a", tmp_path / "b"))  # fmt: skip
    assert a == b and result(tmp_path / "a") == "one" and not beside(tmp_path / "a")


@pytest.mark.parametrize("knows_exchange", [True, False])
@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_a_stopped_overwrite_leaves_the_old_result_and_a_resume_ends_it(tmp_path, monkeypatch, stop, knows_exchange):
    if not knows_exchange:
        monkeypatch.setattr(exchange, "_exchanged", lambda one, other: False)
    out = tmp_path / "out"
    work(out, "old")
    before = held(out)
    with pytest.raises(Stopped):
        work(out, "new", overwrite=True, stop=stop, job="k")
    assert held(out) == before and len(beside(out)) == (stop > 0)
    work(out, "new", resume=stop > 0, overwrite=stop == 0, job="k")
    assert result(out) == "new" and not beside(out)


def test_the_next_overwrite_takes_a_stopped_one_away(tmp_path):
    out = tmp_path / "out"
    work(out, "old")
    with pytest.raises(Stopped):
        work(out, "new", overwrite=True, stop=3)
    work(out, "newer", overwrite=True)
    assert result(out) == "newer" and not beside(out)


def test_a_kill_between_the_two_renames_is_mended_by_the_next_job(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "_exchanged", lambda one, other: False)
    out, rename, calls = tmp_path / "out", Path.rename, []

    def killed(self, target):
        if self.name.endswith("new"):
            calls.append(self)
            os._exit(9)
        return rename(self, target)

    work(out, "old")
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Path, "rename", killed)
        work(out, "new", overwrite=True, job="k")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not out.exists()
    with pytest.raises(UserError, match="exists"):
        work(out, "new")
    assert result(out) == "old"
    work(out, "new", resume=True, job="k")
    assert result(out) == "new" and not beside(out)


def test_what_turned_up_meanwhile_is_not_replaced(tmp_path):
    out = tmp_path / "out"
    work(out, "old")
    with (
        pytest.raises(UserError, match=r"mine\.txt as well.*the new result is whole in"),
        output(out, overwrite=True) as made,
    ):
        replace_text(made.folder / "config.json", "new")
        (out / "mine.txt").write_text("mine")
        made.finish()
    assert (out / "mine.txt").read_text() == "mine" and (out / "config.json").read_text() == "old config.json"


def test_a_result_that_a_person_changed_is_not_replaced(tmp_path):
    out = tmp_path / "out"
    work(out, "old")
    (out / "config.json").write_text("OLD config.json")  # of the same size
    with pytest.raises(UserError, match="otherwise than llmc wrote it"):
        work(out, "new", overwrite=True)
    assert (out / "config.json").read_text() == "OLD config.json"


OPERATIONS = st.fixed_dictionaries(
    {
        "resume": st.booleans(),
        "overwrite": st.booleans(),
        "at_once": st.booleans(),
        "stop": st.sampled_from([0, 2, 5, 99]),
    }
)


@settings(max_examples=int(os.environ.get("LLMC_FUZZ", 150)), deadline=None)
@given(
    before=st.sampled_from(["nothing", "empty", "begun", "finished"]),
    inside=st.one_of(st.just([]), TREES),
    around=st.one_of(st.just([]), TREES),
    operations=st.lists(OPERATIONS, min_size=1, max_size=3),
)
@example(before="finished", inside=[(["config.json.tmp"], "file", b"")], around=[],
         operations=[{"resume": False, "overwrite": True, "at_once": False, "stop": 99}])  # fmt: skip
def test_every_foreign_byte_survives_every_order_of_jobs(before, inside, around, operations):
    """Also: after each stop the old result is whole or the new one is, and with something foreign no overwrite ends."""
    with tempfile.TemporaryDirectory() as top:
        out, outside = Path(top) / "place/out", Path(top) / "outside"
        out.parent.mkdir()
        outside.mkdir()
        (outside / "precious").write_text("mine")
        if before == "empty":
            out.mkdir()
        elif before == "begun":
            with pytest.raises(Stopped):
                work(out, "old", stop=3)
        elif before == "finished":
            work(out, "old")
        foreign = plant(out, inside, outside) if inside else []
        foreign += plant(out.parent, [e for e in around if e[0][0] != "out"], outside)
        whole = result_or_none(out)
        told = {k: v for k, v in held(out.parent, outside).items() if Path(k) in foreign or k.startswith(str(outside))}
        for number, how in enumerate(operations):
            if how["resume"] and how["overwrite"]:
                continue
            try:
                work(out, f"new{number}", **how)
            except UserError:
                assert result_or_none(out) == whole
            except Stopped:
                assert whole is None or result_or_none(out) == whole
            else:
                whole = result_or_none(out) or whole
            now = held(out.parent, outside)
            assert {k: now.get(k) for k in told} == told
        assert not [p for p in out.parent.rglob("*") if p.name == LOCK]
        assert not lock._held


def result_or_none(out):
    """As `result`, of a folder with foreign things too."""
    try:
        marker = read_marker(out)
    except UserError:
        return None
    if marker is None or marker.files is None:
        return None
    texts = {(out / name).read_text().split()[0] for name in marker.files if (out / name).is_file()}
    return texts.pop() if len(texts) == 1 else None


def test_a_temporary_file_of_a_persons_own_is_neither_used_nor_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "x.tmp").symlink_to(tmp_path / "precious")
    replace_text(tmp_path / "x", "new")
    assert (tmp_path / "precious").read_text() == "mine" and (tmp_path / "x.tmp").is_symlink()
    for place in ("link", "folder", "fifo"):
        path = tmp_path / place
        {"link": lambda p: p.symlink_to(tmp_path / "precious"), "folder": Path.mkdir, "fifo": os.mkfifo}[place](path)
        with pytest.raises(UserError, match="does not replace"), whole_file(path) as file:
            file.write(b"new")
    assert (tmp_path / "precious").read_text() == "mine"
