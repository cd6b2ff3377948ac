"""Documentation of every plugin: its docstring, and the pages about all of them."""

import importlib.util
import inspect
from pathlib import Path

import pytest

from gankit.plugin.registry import Registry

ROOT = Path(__file__).parents[2]
ENTRIES = [e for e in Registry.installed().entries if e.distribution == "gankit"]
_spec = importlib.util.spec_from_file_location("cost", ROOT / "benchmarks" / "cost.py")
cost = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cost)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.label)
def test_docstring_has_all_sections(entry):
    plugin_class = entry.load()
    assert plugin_class.name == entry.name
    assert plugin_class.kind == entry.kind
    text = inspect.getdoc(plugin_class)
    assert text.splitlines()[0].endswith((".", "?"))
    advice = cost.advice_of(plugin_class)
    assert advice.when_to_use
    assert advice.when_not
    assert advice.source
    for name, field in plugin_class.Config.model_fields.items():
        assert field.description, name


def test_page_of_costs_has_every_plugin():
    page = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")]
    assert rows[2:] == list(cost.changes())


def test_readme_names_every_trick():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    kinds = ("trick", "loss", "normalization", "optimizer")
    assert [e.label for e in ENTRIES if e.kind in kinds and e.name != "none" and f"`{e.name}`" not in readme] == []
