"""A plugin with every hook point that version 2 added. It is never changed; every later gankit must run it."""

from gankit import Extractor, Features, Plugin, hookimpl


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


class Pixels(Plugin):
    """Images as they are. Source: none."""

    name, kind, api_version = "frozen_pixels", "extractor", 2

    @hookimpl
    def build_extractor(self, dataset, device):
        assert device.type in ("cpu", "cuda")
        return Extractor({"extractor": "frozen pixels"}, lambda images: Features(images.flatten(1).float()))


class Brightness(Plugin):
    """How much brighter generated images are. Source: none."""

    name, kind, api_version = "frozen_brightness", "metric", 2

    @hookimpl
    def compute_metrics(self, comparison):
        assert comparison.protocol["extractor"] == "frozen pixels"
        assert len(comparison.real.images) == len(comparison.fake.images)
        means = [f.values.mean() for f in (comparison.fake_features, comparison.real_features)]
        return {"brighter": (means[0] - means[1]).item()}
