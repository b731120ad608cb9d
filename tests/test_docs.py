"""The generated parts of the docs are fresh, and every method has its page."""

import pytest

from llmc.compress.recipe import methods
from tests.generated_docs import PARTS, ROOT, fresh


@pytest.mark.parametrize(("path", "part"), PARTS)
def test_generated_parts_are_fresh(path, part):
    now, renewed = fresh(path, part)
    assert now == renewed, "run `make docs`"


@pytest.mark.parametrize("name", methods())
def test_every_method_has_a_page(name):
    assert (ROOT / "docs/methods" / f"{name}.md").is_file()


def test_links_between_docs_lead_somewhere():
    import re

    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
