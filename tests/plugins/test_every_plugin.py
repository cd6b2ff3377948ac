"""Checks of `gankit.testing` for every plugin of gankit."""

import pytest

from gankit.plugin.registry import Registry

# check_plugin trains on every available device.
pytestmark = pytest.mark.gpu

ENTRIES = [e for e in Registry.installed().entries if e.distribution == "gankit"]
NEED_FILES = {"mnist", "fashion_mnist", "stacked_mnist", "cifar10", "celeba", "lsun", "images"}
NEED_FILES |= {"image_pairs", "lines", "table", "numpy", "hugging_face", "webdataset", "sounds", "videos"}
NEED_FILES |= {"random_caption"}  # images with several captions
NEED_FILES |= {"federated"}  # average of the clients
NEED_FILES |= {"inception", "torchscript", "fid", "kid"}
NO_EFFECT = {"training_monitor", "collapse_guard", "moving_average", "truncation", "constant", "standing_statistics"}
NO_EFFECT |= {"csv", "tensorboard", "wandb", "mlflow", "trackio"}
"""Plugins that do not change the training. The tiny run has a constant learning rate already."""

STYLEGAN2 = {"use": "stylegan2", "w_size": 8, "mapping_layers": 2, "channel_base": 32, "max_channels": 8}
"""Generator with a mapping network, for plugins that need one."""

KINDS = ["circle", "ring"]

FEW_LABELS = {"labels": 4, "images": {"use": "shapes", "count": 24, "resolution": 8, "kinds": KINDS}}

MASKS = {"images": {"use": "captioned_shapes", "count": 24, "resolution": 8}}

SMALL = {
    "virtual_batch_norm": {"size": 8},
    "experience_replay": {"capacity": 8},
    "freeze_d": {"layers": 1},
    "dp_sgd": {"noise_seed": 0},
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
    "generator.igan": {"channels": 4},
    "generator.igan_vn": {"channels": 4},
    "generator.igan_v2": {"channels": 4},
    "generator.cgan": {"noise_units": 8, "label_units": 8, "joint_units": 16},
    "discriminator.igan": {"width": 4},
    "discriminator.igan_per_class": {"width": 4},
    "discriminator.cgan": {"image_units": 16, "label_units": 8, "joint_units": 16},
    "discriminator.maxout": {"units": [16, 16]},
    "shapes": {"count": 24, "resolution": 8},
    "equations": {"count": 24, "largest": 9},
    "generator.character_resnet": {"width": 4},
    "generator.gumbel_character_resnet": {"width": 4},
    "discriminator.character_resnet": {"width": 4},
    "bars": {"count": 24, "resolution": 16},
    "captioned_shapes": {"count": 24, "resolution": 8},
    "generator.stackgan": {"width": 1, "text_size": 3, "condition_size": 2},
    "generator.stackgan2": {
        "width": 2,
        "stage1_width": 1,
        "text_size": 3,
        "condition_size": 1,
        "halvings": 1,
        "joint_side": 4,
        "blocks": 1,
    },
    "discriminator.stackgan": {"width": 4, "text_size": 3, "compressed_size": 2},
    "ada": {"initial": 0.5},
    "generator.sngan": {"width": 4},
    "generator.biggan": {"width": 4, "embedding": 3},
    "discriminator.biggan": {"width": 4},
    "standing_statistics": {"passes": 3},
    "discriminator.sngan": {"width": 4},
    "generator.pggan": {"width": 2, "max_width": 3},
    "discriminator.pggan": {"width": 2, "max_width": 3},
    "progressive_growing": {"stable": 1, "fade": 2},
    "generator.r3gan": {"width": 4, "max_width": 8},
    "discriminator.r3gan": {"width": 4, "max_width": 8},
    "generator.stylegan": {"w_size": 8, "mapping_layers": 2, "channel_base": 32, "max_channels": 8},
    "discriminator.stylegan": {"channel_base": 32, "max_channels": 8},
    "generator.stylegan2": {"w_size": 8, "mapping_layers": 2, "channel_base": 32, "max_channels": 8},
    "path_length": {"every": 2},
    "discriminator.stylegan2": {"channel_base": 32, "max_channels": 8},
    "generator.fastgan": {"width": 8},
    "discriminator.fastgan": {"width": 8},
    "self_attention": {"side": 4},
    "discriminator_reconstruction": {"width": 4},
    "generator.bigan": {"units": 8},
    "discriminator.bigan": {"units": 8, "encoder_units": 8},
    "generator.infogan": {"width": 4, "units": 8},
    "discriminator.infogan": {"width": 4, "units": 8},
    "latent.infogan": {"noise": 3, "categorical": [3, 2], "continuous": 2, "units": 4},
    "latent.mgan": {"generators": 3, "noise": 2, "beta": 0.5},
    "top_k": {"decay": 0.5, "every": 1},
    "generator.began": {"width": 2},
    "discriminator.began": {"width": 2, "code": 4},
    "discriminator.ebgan": {"width": 2, "halvings": 2},
    "loss.began": {"rate": 0.5, "gamma": 1.0},
    "moving_shapes": {"count": 16, "resolution": 8, "frames": 3, "speed": [0.2, 0.5]},
    "generator.vgan": {"width": 2},
    "generator.tgan": {"width": 1, "motion": 3},
    "discriminator.vgan": {"width": 2},
    "tones": {"count": 24, "length": 64, "sample_rate": 2000, "pitch": [40, 50]},
    "generator.wavegan": {"width": 2},
    "discriminator.wavegan": {"width": 2},
    "drawn_table": {"count": 60},
    "generator.ctgan": {"hidden": [8]},
    "discriminator.ctgan": {"hidden": [8]},
    "rule_pairs": {"images": {"use": "shapes", "count": 24, "resolution": 8}, "rule": "grey"},
    "unpaired": {
        name: {"use": "shapes", "count": 12, "resolution": 8, "kinds": [kind]}
        for name, kind in zip(("source", "target"), KINDS, strict=True)
    },
    "generator.pix2pix": {"width": 4},
    "generator.cyclegan": {"width": 2, "blocks": 1},
    "patchgan": {"width": 4, "patch": 16},
    "conditional_patchgan": {"width": 4, "patch": 16},
    "cycle_consistency": {"pool": 4},
    "few_labels": FEW_LABELS,
    "field_channels": MASKS,
    "joined": {
        "datasets": {kind: {"use": "shapes", "count": 12, "resolution": 8, "kinds": [kind]} for kind in KINDS},
    },
    "uncertainty_weights": {"generator": ["adversarial"], "discriminator": ["adversarial"]},
    "classifier_accuracy": {"data": {"use": "shapes", "count": 12, "resolution": 8, "kinds": KINDS}},
}
"""Settings for a run of four iterations, by name or by kind and name."""

TABLE = {
    "data": {"use": "drawn_table", "count": 60},
    "generator": {"use": "ctgan", "hidden": [8]},
    "discriminator": {"use": "ctgan", "hidden": [8]},
}
"""Table and its networks, for plugins for tables."""

PGGAN = {player: {"use": "pggan", "width": 2, "max_width": 3} for player in ("generator", "discriminator")}

VIDEO_DATA = {"use": "moving_shapes", **SMALL["moving_shapes"]}
FLAT = {player: {"use": "mlp", "hidden": [8]} for player in ("generator", "discriminator")}
"""Networks for data that are not images."""


EQUATIONS = {"data": {"use": "equations", "count": 24, "largest": 9}}

WAVEGAN = {player: {"use": "wavegan", "width": 2} for player in ("generator", "discriminator")}


def sounds(length: int) -> dict[str, dict]:
    """Return data of short sounds with a pitch."""
    return {"data": {"use": "tones", "count": 24, "length": length, "sample_rate": 2000, "pitch": [40, 50]}}


STACKGAN = {
    "generator": {"use": "stackgan", "width": 1, "text_size": 3, "condition_size": 2},
    "discriminator": {"use": "stackgan", "width": 4, "text_size": 3, "compressed_size": 2},
    "normalization": {"discriminator": {"use": "none"}},
}
"""Networks with a condition, for plugins that need them."""

REQUIRED = {
    "generator.vgan": {"data": VIDEO_DATA, "discriminator": FLAT["discriminator"]},
    "generator.tgan": {"data": VIDEO_DATA, "discriminator": FLAT["discriminator"]},
    "discriminator.vgan": {"data": VIDEO_DATA, "generator": FLAT["generator"]},
    "moving_shapes": FLAT,
    "motion": {"data": VIDEO_DATA, **FLAT},
    "bundled_video": {"data": VIDEO_DATA, **FLAT},
    "character_resnet": EQUATIONS,
    "gumbel_character_resnet": EQUATIONS,
    "ngram_divergence": EQUATIONS,
    "progressive_growing": PGGAN,
    "label_weights": {"loss": {"use": "igan_label"}},
    "loss.began": {"discriminator": {"use": "began", "width": 2, "code": 4}},
    "loss.ebgan": {"discriminator": {"use": "ebgan", "width": 2, "halvings": 2}},
    "auxiliary_classifier": {"normalization": {"generator": {"use": "conditional_batch_norm"}}},
    "skip_layer_excitation": {"generator": {"use": "igan", "channels": 4}},
    "projection": {"normalization": {"generator": {"use": "conditional_batch_norm"}}},
    "conditional_batch_norm": {"normalization": {"discriminator": {"use": "none"}}},
    "path_length": {"generator": STYLEGAN2},
    "style_mixing": {"generator": STYLEGAN2},
    "tones": WAVEGAN,
    "generator.wavegan": sounds(64) | {"discriminator": WAVEGAN["discriminator"]},
    "discriminator.wavegan": sounds(64) | {"generator": WAVEGAN["generator"]},
    "phase_shuffle": sounds(256) | WAVEGAN,
    "spectrogram": sounds(1024) | WAVEGAN,
    "pitch_error": sounds(256) | WAVEGAN,
    "mismatched_pairs": STACKGAN,
    "semi_supervised": {"data": {"use": "few_labels", **FEW_LABELS}},
    "classifier_accuracy": {"data": {"use": "few_labels", **FEW_LABELS}, "tricks": {"semi_supervised": {}}},
    "mask_iou": {"data": {"use": "field_channels", **MASKS}},
    "drawn_table": {player: TABLE[player] for player in ("generator", "discriminator")},
    "generator.ctgan": {name: TABLE[name] for name in ("data", "discriminator")},
    "discriminator.ctgan": {name: TABLE[name] for name in ("data", "generator")},
    **dict.fromkeys(("training_by_sampling", "table_rows", "table_columns", "table_prediction"), TABLE),
    **{
        name: {"data": {"condition": "image"}, "generator": {"use": "pix2pix", "width": 4}}
        for name in ("l1_to_target", "cycle_consistency", "paired_distance")
    },
    **{
        name: {"data": {"condition": "image"}}
        for name in ("generator.pix2pix", "generator.cyclegan", "conditional_patchgan")
    },
}
"""Other parts of the recipe that a plugin needs, or that it does not refuse, by name or by kind and name."""

NEED_CLASSES = ("igan_v2", "conditional_dcgan", "cgan", "auxiliary_classifier", "projection", "conditional_batch_norm")
NEED_CLASSES += ("stackgan", "stackgan2", "mismatched_pairs")
LINEAR_OUTPUT = ("generator.pggan", "trick.progressive_growing", "generator.stylegan", "generator.stylegan2")
LINEAR_OUTPUT += ("penalty.path_length", "trick.style_mixing")
"""Plugins whose generator, or that of whose partner, may return values outside [-1, 1]."""

UNREACHED = {"generator.pggan": ["to_image.0."], "discriminator.pggan": ["from_image.0."]}
UNREACHED["trick.semi_supervised"] = ["network.head."]
"""Parameters without a gradient.

The layers of a lower level are unused without `progressive_growing`. `semi_supervised` replaces D's last layer.
"""

NEED_SOURCES = ("pix2pix", "cyclegan", "conditional_patchgan", "l1_to_target", "cycle_consistency", "paired_distance")
CLASSES = dict.fromkeys(NEED_CLASSES, (2,)) | dict.fromkeys(NEED_SOURCES, (0,))
CLASSES |= {name: (0,) for name, parts in REQUIRED.items() if parts is EQUATIONS}
"""Supported numbers of classes, for plugins that do not support all."""

WITHOUT_LABELS = ("optimizer", "lr_schedule", "logger", "latent")
"""Kinds whose hooks get no labels. One number of classes is enough."""


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name not in NEED_FILES], ids=lambda e: e.label)
def test_plugin_passes_all_checks(entry, check_plugin):
    plugin = entry.load()
    for module in getattr(plugin, "library", ()):
        pytest.importorskip(module)  # a logger, whose extra is not installed
    check_plugin(
        plugin,
        SMALL.get(entry.label, SMALL.get(entry.name)),
        REQUIRED.get(entry.label, REQUIRED.get(entry.name)),
        classes=CLASSES.get(entry.name, (2,) if entry.kind in WITHOUT_LABELS else (0, 2)),
        affects=entry.name not in NO_EFFECT,
        unreached=UNREACHED.get(entry.label, ()),
        linear_output=entry.label in LINEAR_OUTPUT,
    )
