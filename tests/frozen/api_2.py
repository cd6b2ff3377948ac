"""A plugin with every hook point that version 2 added. It is never changed; every later gankit must run it."""

from gankit import Plugin, hookimpl


class Notes(Plugin):
    """Takes all that is new and counts it. Source: none."""

    name, api_version = "frozen_notes", 2

    def __init__(self, config):
        super().__init__(config)
        self.rows, self.grids = [], []

    @hookimpl
    def on_log(self, run, row):
        assert row["iteration"] == run.iteration
        self.rows.append(row)

    @hookimpl
    def on_grid(self, run, picture):
        self.grids.append((run.iteration, picture.size))
