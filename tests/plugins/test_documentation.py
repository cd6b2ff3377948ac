"""Documentation of every plugin: its docstring, and the pages about all of them."""

from pathlib import Path

import cost
import pytest

from gankit.plugin.registry import Registry
from gankit.testing import check_documentation

ROOT = Path(__file__).parents[2]
ENTRIES = [e for e in Registry.installed().entries if e.distribution == "gankit"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.label)
def test_docstring_has_all_sections(entry):
    plugin_class = entry.load()
    check_documentation(plugin_class)
    assert (plugin_class.kind, plugin_class.name) == (entry.kind, entry.name)
    sections = cost.advice_of(plugin_class)
    assert sections.when_to_use
    assert sections.when_not
    assert sections.source


def test_page_of_costs_has_every_plugin():
    page = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")]
    assert rows[2:] == list(cost.changes())


def test_readme_names_every_trick():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    kinds = ("trick", "loss", "normalization", "optimizer")
    assert [e.label for e in ENTRIES if e.kind in kinds and e.name != "none" and f"`{e.name}`" not in readme] == []
