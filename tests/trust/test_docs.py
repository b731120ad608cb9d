"""Every dimension has a page that says what is asked, what the number means, what it can't see, and what compares."""

from pathlib import Path

import pytest

from tests.trust.pretend import dimensions

PAGES = Path(__file__).parents[2] / "docs/dimensions"


@pytest.mark.parametrize("name", dimensions())
def test_every_dimension_has_its_page(name):
    page = (PAGES / f"{name}.md").read_text()
    for part in ("**Asked", "**The number", "**What it can't see.**", "**Compares with**", "**Mini.**"):
        assert part in page, part
    assert f"({name}.md)" in (PAGES / "README.md").read_text()
    tasks = dimensions()[name].tasks
    if len(tasks) > 1:
        assert not [task.name for task in tasks if f"`{task.name.removeprefix('trust/')}`" not in page]


def test_no_page_stands_for_nothing():
    assert {page.stem for page in PAGES.glob("*.md")} == {*dimensions(), "README"}
