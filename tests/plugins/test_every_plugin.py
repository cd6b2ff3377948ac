"""Every plugin that comes with gankit holds what `gankit.testing` asks of anybody's."""

import pytest

from gankit.plugin.registry import Registry

# check_plugin plays on every device that is there.
pytestmark = pytest.mark.gpu

ENTRIES = [e for e in Registry.installed().entries if e.distribution == "gankit"]
NEED_FILES = {"mnist", "fashion_mnist", "stacked_mnist", "images", "inception", "torchscript", "fid", "kid"}
WATCH = {
    "training_monitor",
    "collapse_guard",
    "moving_average",
    "truncation",
    "constant",
    "csv",
    "tensorboard",
    "wandb",
    "mlflow",
}
"""What changes nothing that is learnt. The tiny game has a constant rate already."""

SMALL = {
    "virtual_batch_norm": {"size": 8},
    "experience_replay": {"capacity": 8},
    "minibatch_discrimination": {"kernels": 3, "dims": 2},
    "unrolled_discriminator": {"steps": 2},
    "dropout": {"p": 0.3},
    "balanced_steps": {"low": 0.5, "high": 0.51},
    "gradient_norm_clipping": {"norm": 0.01},
    "step": {"every": 2},
    "gaussian_ring": {"count": 40},
    "gaussian_grid": {"count": 40},
    "dcgan": {"width": 4},
    "conditional_dcgan": {"width": 4},
    "shapes": {"count": 24, "resolution": 8},
    "ada": {"initial": 0.5},
}
"""Settings that suit a game of four iterations."""

BESIDE = {"label_weights": {"loss": {"use": "igan_label"}}}
"""What else a recipe must have for a plugin to act."""

CLASSES = {"igan_v2": (2,), "conditional_dcgan": (2,), "cgan": (2,)}
"""What does not go with every number of classes."""


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name not in NEED_FILES], ids=lambda e: e.label)
def test_all_that_every_plugin_must_hold(entry, check_plugin):
    classes = CLASSES.get(entry.name, (0, 2))
    affects = entry.name not in WATCH
    check_plugin(entry.load(), SMALL.get(entry.name), BESIDE.get(entry.name), classes=classes, affects=affects)
