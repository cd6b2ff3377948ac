"""The list of plugins, read from source, equals what their import gives."""

import pytest

from gankit.cli.list_plugins import imported, read
from gankit.plugin.registry import Entry, Registry
from gankit.plugin.static_scan import ClassScanner

ENTRIES = [entry for entry in Registry.installed().entries if entry.distribution == "gankit"]
SCANNER = ClassScanner(["gankit_plugins"])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.label)
def test_scanned_plugin_equals_the_imported_one(entry: Entry):
    row = read(entry, SCANNER)
    assert row == imported(entry)
    assert row.hooks
    assert row.summary.endswith((".", "?"))
