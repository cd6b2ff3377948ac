"""What the list of plugins reads off their source is what the classes say when they are imported."""

import pytest

from gankit.cli.list_plugins import imported, read
from gankit.plugin.registry import Entry, Registry
from gankit.plugin.static_scan import ClassScanner

OURS = [entry for entry in Registry.installed().entries if entry.distribution == "gankit"]
OUTLINES = ClassScanner(["gankit_plugins"])


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.label)
def test_reading_a_plugin_says_what_importing_it_says(entry: Entry):
    row = read(entry, OUTLINES)
    assert row == imported(entry)
    assert row.hooks
    assert row.summary.endswith((".", "?"))
