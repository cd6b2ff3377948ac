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
    "moving_average": {"decay": 0.995, "start": 0},
    "discriminator_reconstruction": {"weight": 1.0, "part_side": 16, "whole_side": 8, "width": 32},
}
SNGAN = {"lr": 2e-4, "betas": (0.0, 0.9)}

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
    "sngan_cifar10": (64, 1, "hinge", {}, SNGAN, ("batch_norm", "spectral_norm"), "normal"),
    "sngan_paper": (64, 5, "hinge", {}, SNGAN, ("batch_norm", "spectral_norm"), "normal"),
    "sagan_cifar10": (
        64, 1, "hinge",
        {
            "projection": {},
            "self_attention": {"side": 16, "players": ["generator", "discriminator"]},
            "spectral_weights": {"iterations": 1, "players": ["generator"]},
        },
        {"betas": (0.0, 0.9)}, ("conditional_batch_norm", "spectral_norm"), "normal",
    ),
    "fastgan_emoji": (16, 1, "hinge", FASTGAN, ADAM, ("batch_norm", "spectral_norm"), "normal"),
    "fastgan_paper": (
        8, 1, "hinge",
        FASTGAN
        | {
            "moving_average": {"decay": 0.999, "start": 0},
            "spectral_weights": {"iterations": 1, "players": ["generator", "discriminator"]},
        },
        ADAM, ("batch_norm", "batch_norm"), "normal",
    ),
}  # fmt: skip

CONDITIONAL = {"cgan_mnist", "conditional_dcgan_mnist"} | {name for name in PAPERS if name.endswith("_cifar10")}
CONDITIONAL -= {"sngan_cifar10"}
SHAPES = ["data={use='shapes', resolution=28, count=40}", "train.batch_size=12", "train.device=cpu"]
NARROW = {
    "gan_mnist": ["generator.hidden=[8, 8]", "discriminator.units=[8, 8]"],
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


def test_sagan_has_two_time_scales():
    recipe = Recipe.load(find_recipe("sagan_cifar10"), SHAPES[:1])
    assert [settings_of(recipe, f"optimizer.{player}")["lr"] for player in ("generator", "discriminator")] == [
        1e-4,
        4e-4,
    ]
