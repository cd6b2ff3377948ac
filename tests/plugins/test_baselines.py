"""Baseline recipes: the settings in their headers, and two iterations on synthetic shapes instead of the data."""

import pytest
import torch

from gankit import Recipe
from gankit.recipe.bundled import find_recipe
from gankit.testing import train_iterations
from gankit.training.assembly import assemble

ADAM, RMSPROP = {"lr": 2e-4, "betas": (0.5, 0.999)}, {"lr": 5e-5}
SAME_WEIGHTS = dict.fromkeys(("real_weight", "fake_weight", "generator_weight"), 1.0)
WGAN_GP = {"lr": 1e-4, "betas": (0.0, 0.9)}
FASTGAN = {
    "diff_augment": {"policy": ["color", "translation", "cutout"]},
    "moving_average": {"decay": 0.995, "start": 0, "half_life": None},
    "discriminator_reconstruction": {"weight": 1.0, "part_side": 16, "whole_side": 8, "width": 32},
}
STACKGAN_ADAM = {"lr": 5e-4, "betas": (0.5, 0.999)}
STACKGAN = {"mismatched_pairs": {}, "moving_average": {"decay": 0.995, "start": 0, "half_life": None}}
SNGAN = {"lr": 2e-4, "betas": (0.0, 0.9)}
PGGAN_ADAM = {"lr": 1e-3, "betas": (0.0, 0.99), "eps": 1e-8}
PGGAN = {
    "gradient_penalty": {"weight": 10.0, "every": 1},
    "drift": {"weight": 0.001},
    "moving_average": {"decay": 0.999, "start": 0, "half_life": None},
}


def growth(iterations):
    return {"progressive_growing": {"stable": iterations, "fade": iterations}}


def cosine(start, end, until=None, by="iterations"):
    return {"schedule": "cosine", "start": start, "end": end, "begin": 0, "until": until, "by": by}


def beginning(start, end):
    """Return a schedule of R3GAN, over the first 20 million images."""
    return cosine(start, end, 20_000_000, "images")


def average(images):
    return {"decay": 0.999, "start": 0, "half_life": cosine(0.0, images)}


R3GAN = {"relativistic": {}} | {name: {"gamma": cosine(0.1, 0.01), "every": 1} for name in ("r1", "r2")}

BOTH = ["generator", "discriminator"]
BIGGAN = {
    "projection": {},
    "orthogonal_init": {"gain": 1.0, "players": BOTH},
    "spectral_weights": {"iterations": 1, "players": ["generator"]},
    "relaxed_orthogonal_regularization": {"weight": 1e-4, "players": ["generator"]},
}

# batch size, D steps, loss, tricks, optimiser of both players, normalisations of G and D, latent
PAPERS = {
    "gan_mnist": (100, 1, "non_saturating", {}, ADAM, ("batch_norm", "none"), "normal"),
    "dcgan_mnist": (128, 1, "non_saturating", {}, ADAM, ("batch_norm", "batch_norm"), "uniform"),
    "dcgan_paper": (128, 1, "non_saturating", {}, ADAM, ("batch_norm", "batch_norm"), "uniform"),
    "conditional_dcgan_mnist": (128, 1, "non_saturating", {}, ADAM, ("batch_norm", "batch_norm"), "uniform"),
    "cgan_mnist": (100, 1, "non_saturating", {}, ADAM, ("batch_norm", "none"), "uniform"),
    "lsgan_mnist": (64, 1, "least_squares", {}, ADAM, ("batch_norm", "batch_norm"), "uniform"),
    "wgan_mnist": (64, 5, "wasserstein", {"weight_clipping": {"c": 0.01}}, RMSPROP, ("batch_norm",) * 2, "normal"),
    "wgan_gp_mnist": (
        64, 5, "wasserstein", {"gradient_penalty": {"weight": 10.0, "every": 1}}, WGAN_GP, ("batch_norm", "none"),
        "normal",
    ),
    "rgan_mnist": (32, 1, "non_saturating", {"relativistic": {}}, ADAM, ("batch_norm", "batch_norm"), "uniform"),
    "ragan_mnist": (
        32, 1, "non_saturating", {"relativistic_average": {}}, ADAM, ("batch_norm", "batch_norm"), "uniform"
    ),
    "conditional_dcgan_cifar10": (64, 1, "non_saturating", {}, ADAM, ("batch_norm", "batch_norm"), "normal"),
    "ac_gan_cifar10": (
        64, 1, "non_saturating", {"auxiliary_classifier": SAME_WEIGHTS}, ADAM, ("batch_norm", "batch_norm"), "normal"
    ),
    "projection_cifar10": (
        64, 1, "hinge", {"projection": {}}, ADAM, ("conditional_batch_norm", "spectral_norm"), "normal"
    ),
    "stackgan_shapes": (48, 1, "non_saturating", STACKGAN, STACKGAN_ADAM, ("batch_norm", "batch_norm"), "normal"),
    "stackgan2_shapes": (48, 1, "non_saturating", STACKGAN, STACKGAN_ADAM, ("batch_norm", "batch_norm"), "normal"),
    "sngan_cifar10": (64, 1, "hinge", {}, SNGAN, ("batch_norm", "spectral_norm"), "normal"),
    "sngan_paper": (64, 5, "hinge", {}, SNGAN, ("batch_norm", "spectral_norm"), "normal"),
    "pggan_cifar10": (32, 1, "wasserstein", PGGAN | growth(400), PGGAN_ADAM, ("pixel_norm", "none"), "normal"),
    "pggan_paper": (16, 1, "wasserstein", PGGAN | growth(50_000), PGGAN_ADAM, ("pixel_norm", "none"), "normal"),
    "sagan_cifar10": (
        64, 1, "hinge",
        {
            "projection": {},
            "self_attention": {"side": 16, "players": ["generator", "discriminator"]},
            "spectral_weights": {"iterations": 1, "players": ["generator"]},
        },
        {"betas": (0.0, 0.9)}, ("conditional_batch_norm", "spectral_norm"), "normal",
    ),
    "r3gan_cifar10": (
        64, 1, "non_saturating", R3GAN | {"moving_average": average(10_000.0)}, {"lr": 2e-4}, ("none", "none"), "normal"
    ),
    "fastgan_emoji": (16, 1, "hinge", FASTGAN, ADAM, ("batch_norm", "spectral_norm"), "normal"),
    "fastgan_paper": (
        8, 1, "hinge",
        FASTGAN
        | {
            "moving_average": {"decay": 0.999, "start": 0, "half_life": None},
            "spectral_weights": {"iterations": 1, "players": ["generator", "discriminator"]},
        },
        ADAM, ("batch_norm", "batch_norm"), "normal",
    ),
    "biggan_cifar10": (
        64, 1, "hinge", BIGGAN | {"self_attention": {"side": 16, "players": BOTH}}
        | {"moving_average": {"decay": 0.99, "start": 0, "half_life": None}, "standing_statistics": {"passes": 20}},
        {"lr": 2e-4, "betas": (0.0, 0.999)}, ("batch_norm", "spectral_norm"), "normal",
    ),
    "r3gan_paper": (
        512, 1, "non_saturating",
        {
            "relativistic": {},
            **{name: {"gamma": beginning(0.1, 0.01), "every": 1} for name in ("r1", "r2")},
            "moving_average": {"decay": 0.999, "start": 0, "half_life": beginning(0.0, 5e6)},
            "ada_schedule": {"p": beginning(0.0, 0.55)},
        },
        {"lr": 2e-4, "betas": (0.0, beginning(0.9, 0.99))}, ("none", "none"), "normal",
    ),
    "biggan_paper": (
        2048, 2, "hinge", BIGGAN | {"self_attention": {"side": 64, "players": BOTH}}
        | {"moving_average": {"decay": 0.9999, "start": 0, "half_life": None}, "standing_statistics": {"passes": 100}},
        {"betas": (0.0, 0.999)}, ("batch_norm", "spectral_norm"), "normal",
    ),
    "image_and_mask_shapes": (128, 1, "non_saturating", {}, ADAM, ("batch_norm", "batch_norm"), "uniform"),
    "r3gan_stacked_mnist": (
        64, 1, "non_saturating",
        R3GAN | {name: {"gamma": 2.0, "every": 1} for name in ("r1", "r2")}
        | {"moving_average": {"decay": 0.99, "start": 0, "half_life": None}},
        {"lr": 5e-4, "betas": (0.0, 0.9)}, ("none", "none"), "uniform",
    ),
}  # fmt: skip

CONDITIONAL = {"cgan_mnist", "conditional_dcgan_mnist"} | {name for name in PAPERS if name.endswith("_cifar10")}
CONDITIONAL |= {"r3gan_paper", "biggan_paper", "stackgan_shapes", "stackgan2_shapes"}
CONDITIONAL -= {"sngan_cifar10", "pggan_cifar10"}
SHAPES = ["data={use='shapes', resolution=28, count=40}", "train.batch_size=12", "train.device=cpu"]
GROWING = ["data.resolution=8", *(f"{player}.max_width=4" for player in ("generator", "discriminator"))]
NARROW = {
    "pggan_cifar10": GROWING,
    "pggan_paper": GROWING,
    "gan_mnist": ["generator.hidden=[8, 8]", "discriminator.units=[8, 8]"],
    "biggan_paper": ["generator.width=1", "discriminator.width=1", "tricks.standing_statistics.passes=1"],
    "cgan_mnist": ["generator.joint_units=8", "discriminator.image_units=8", "discriminator.joint_units=8"],
}


def settings_of(recipe, key):
    return recipe.components[key].config.model_dump()


@pytest.mark.parametrize("name", PAPERS)
def test_settings_equal_the_header(name):
    batch, steps, loss, tricks, optimizer, norms, latent = PAPERS[name]
    recipe = Recipe.load(find_recipe(name), SHAPES[:1])
    assert (recipe.train.batch_size, recipe.train.discriminator_steps) == (batch, steps)
    assert recipe.use_of("loss") == loss
    actual = {
        key.removeprefix("tricks."): settings_of(recipe, key) for key in recipe.components if key.startswith("tricks.")
    }
    assert actual == tricks
    for player, norm in zip(("generator", "discriminator"), norms, strict=True):
        assert settings_of(recipe, f"optimizer.{player}") | optimizer == settings_of(recipe, f"optimizer.{player}")
        assert recipe.use_of(f"normalization.{player}") == norm
    assert recipe.use_of("latent") == latent


@pytest.mark.parametrize("name", PAPERS)
def test_recipe_trains(name):
    narrow = NARROW.get(name, ["generator.width=4", "discriminator.width=4"])
    run = assemble(Recipe.load(find_recipe(name), [*SHAPES, *narrow]))
    run.load_data()
    run.start()
    train_iterations(run, 2)
    assert run.spec.conditional is (name in CONDITIONAL)
    assert all(torch.isfinite(p).all() for player in run.parameters.values() for p in player)


@pytest.mark.parametrize(("name", "rates"), [("sagan_cifar10", [1e-4, 4e-4]), ("biggan_paper", [5e-5, 2e-4])])
def test_two_time_scales(name, rates):
    recipe = Recipe.load(find_recipe(name), SHAPES[:1])
    assert [settings_of(recipe, f"optimizer.{player}")["lr"] for player in ("generator", "discriminator")] == rates


def test_biggan_has_the_numbers_of_the_paper():
    recipe = Recipe.load(find_recipe("biggan_paper"), SHAPES[:1])
    network = {"width": 96, "double_channels": True}
    assert settings_of(recipe, "generator") == network | {"embedding": 128}
    assert settings_of(recipe, "discriminator") == network
    assert settings_of(recipe, "latent")["size"] == 120
    assert settings_of(recipe, "normalization.generator")["eps"] == 1e-4
