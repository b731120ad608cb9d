"""Progress in a log: every piece of work shows that it has begun, and a name is never read as markup."""

from llmc.commands.rendering import progress as progress_module
from llmc.commands.rendering.progress import progress


def test_every_task_shows_in_a_log(capsys, monkeypatch):
    monkeypatch.setattr(progress_module, "_QUIET_SECONDS", 0.0)
    with progress("eval") as tell:
        for task in ("facts", "letters"):
            for done in range(0, 601, 16):  # a batch at a time, so that hardly a count is a round one
                tell(min(done, 600), 600, task)
    lines = capsys.readouterr().err.splitlines()
    for task in ("facts", "letters"):
        mine = [line for line in lines if line.endswith(task)]
        assert mine[0] == f"eval: 0/600 {task}" and 9 <= len(mine) <= 11


def test_quick_work_says_little_and_many_blocks_do_not_flood_a_log(capsys, monkeypatch):
    with progress("compress") as tell:
        for block in range(32):
            tell(block, 32, "statistics")
            tell(block, 32, "writing")
        tell(32, 32, "done")
    assert len(capsys.readouterr().err.splitlines()) == 3
    monkeypatch.setattr(progress_module, "_QUIET_SECONDS", 0.0)
    with progress("compress") as tell:
        for block in range(320):
            tell(block, 320, "statistics")
            tell(block, 320, "writing")
    assert len(capsys.readouterr().err.splitlines()) <= 12


def test_a_model_called_like_markup_is_a_name(capsys):
    with progress("compressing a[/b] with [bold]rtn") as tell:
        tell(0, 2, "[/x]")
    assert capsys.readouterr().err == "compressing a[/b] with [bold]rtn: 0/2 [/x]\n"
