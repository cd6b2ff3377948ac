"""Every plugin that comes with gankit holds what `gankit.testing` asks of anybody's."""

import pytest

from gankit.registry import Registry

ENTRIES = [e for e in Registry.installed().entries if e.distribution == "gankit"]
NEED_FILES = {"mnist", "fashion_mnist", "images"}
WATCH = {"adviser", "collapse_guard", "moving_average", "truncation", "none", "constant"}
"""What changes nothing that is learnt. The tiny game has no normalisation in D and a constant rate already."""

SMALL = {
    "virtual_batch_norm": {"size": 8},
    "experience_replay": {"capacity": 8},
    "minibatch_discrimination": {"kernels": 3, "dims": 2},
    "unrolled_discriminator": {"steps": 2},
    "dropout": {"p": 0.3},
}
"""Settings that suit a game of four iterations."""


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name not in NEED_FILES], ids=lambda e: e.label)
def test_all_that_every_plugin_must_hold(entry, check_plugin):
    check_plugin(entry.load(), SMALL.get(entry.name), affects=entry.name not in WATCH)
