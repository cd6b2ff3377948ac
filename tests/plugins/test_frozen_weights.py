"""No plugin changes frozen weights, and no step makes them trainable."""

from pathlib import Path

import pytest

from gankit.plugin.registry import Registry
from gankit.recipe.toml import merge
from gankit.testing import train_iterations
from tests.plugins.frozen_networks import VALUE, first_layer
from tests.plugins.test_every_plugin import NEED_FILES, NEED_SOURCES, REQUIRED, SMALL

FILE = Path(__file__).parent / "frozen_networks.py"
FROZEN = {
    "generator": {"use": f"{FILE}:FrozenGenerator", "channels": 2},
    "discriminator": {"use": f"{FILE}:FrozenDiscriminator", "width": 2},
}
OWN_NETWORKS = "progressive_growing"
"""Trick that needs other networks than the frozen ones."""

ENTRIES = [
    e
    for e in Registry.installed().entries
    if e.distribution == "gankit"
    and e.kind in ("penalty", "trick")
    and e.name not in (OWN_NETWORKS, *NEED_FILES, *NEED_SOURCES)
]


def check(run, replaced=()):
    """Train a run, and check its frozen networks. The players in `replaced` have other networks."""
    train_iterations(run, 2)
    for player in FROZEN.keys() - set(replaced):
        layer = first_layer(run.networks[player])
        assert (layer.weight == VALUE).all()
        assert not layer.weight.requires_grad
    if "generator" not in replaced:
        assert (first_layer(run.sampled_generator()).weight == VALUE).all()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.label)
def test_tricks_and_penalties(entry, start_run):
    trick = {"tricks": {entry.name: SMALL.get(entry.name, {})}}
    required = REQUIRED.get(entry.name, {})
    check(start_run(merge(merge(FROZEN, trick), required)), replaced=required)


def test_spectral_norm(start_run):
    check(start_run(FROZEN | {"normalization": {"generator": "spectral_norm", "discriminator": "spectral_norm"}}))


def test_equalised_rate(start_run):
    check(start_run(FROZEN | {"normalization": {"generator": "equalised_rate", "discriminator": "equalised_rate"}}))
