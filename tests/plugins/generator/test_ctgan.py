"""Tests of CTGAN's networks."""

import pytest
import torch

from gankit import InputError, Recipe, Spec, VectorCondition, find_recipe
from gankit_plugins.discriminator.ctgan import CtganDiscriminator
from gankit_plugins.generator.ctgan import Ctgan
from gankit_plugins.layers.table_columns import Column, split, to_encoding, width_of

COLUMNS = (
    Column("n", "number", weights=(0.5, 0.5), means=(0.0, 3.0), stds=(1.0, 1.0), low=-1, high=1, missing=""),
    Column("w", "category", words=("a", "b", "c", "d"), counts=(1, 1, 1, 1)),
)


WORDS = VectorCondition(("w=a", "w=b", "w=c", "w=d"))


def spec_of(condition=WORDS):
    return Spec((width_of(COLUMNS),), condition, latent_size=3, encoding=to_encoding(COLUMNS))


def built(spec):
    plugin = Ctgan(Ctgan.Config(hidden=[8, 6]))
    plugin.adjust_spec(spec)
    return plugin.build_generator(spec)


def test_each_column_has_its_activation():
    torch.manual_seed(0)
    spec = spec_of()
    network = built(spec)
    assert spec.conditional
    z, condition = torch.randn(50, 3), torch.eye(4)[torch.arange(50) % 4]
    rows = network(z, condition)
    (number, word), (exact_number, exact_word) = split(rows, COLUMNS), split(network.eval()(z, condition), COLUMNS)
    torch.testing.assert_close(number[:, 1:].sum(1), torch.ones(50))
    torch.testing.assert_close(word.sum(1), torch.ones(50))
    assert number[:, 0].abs().max() < 1
    torch.testing.assert_close(exact_number[:, 0], number[:, 0])
    for one in (exact_number[:, 1:], exact_word):
        assert set(one.flatten().tolist()) == {0.0, 1.0}
        assert (one.sum(1) == 1).all()


def test_words_of_samples_have_the_probabilities_of_the_softmax():
    torch.manual_seed(1)
    network = built(spec_of(None)).eval()
    with torch.no_grad():
        network.to_row.weight.zero_()
        network.to_row.bias[-4:] = torch.tensor([0.5, 0.25, 0.2, 0.05]).log()
        words = split(network(torch.randn(20_000, 3), None), COLUMNS)[1]
    assert words.mean(0).tolist() == pytest.approx([0.5, 0.25, 0.2, 0.05], abs=0.015)


def test_hidden_layers_keep_their_inputs():
    network = built(spec_of())
    assert network.to_row.in_features == 3 + 4 + 8 + 6
    x = torch.randn(2, 7)
    assert torch.equal(network.hidden(x)[:, -7:], x)


def test_packs_are_inputs_with_all_their_conditions():
    spec = spec_of()
    spec.pack = 3
    plugin = CtganDiscriminator(CtganDiscriminator.Config(hidden=[5]))
    plugin.adjust_spec(spec)
    network = plugin.build_discriminator(spec.packed())
    output = network(torch.randn(2, 3 * width_of(COLUMNS)), torch.randn(2, 12))
    assert (output.logits.shape, output.features.shape) == ((2,), (2, 5))


def test_images_are_refused():
    with pytest.raises(InputError, match="ctgan needs the rows of a table"):
        built(Spec((3, 8, 8)))
    with pytest.raises(InputError, match="ctgan needs rows of a table, and the samples have 3 dimensions"):
        CtganDiscriminator(CtganDiscriminator.Config()).adjust_spec(Spec((3, 8, 8)))


def test_the_recipe_has_the_settings_of_its_header():
    recipe = Recipe.load(find_recipe("ctgan_table"))
    assert (recipe.train.batch_size, recipe.use_of("loss"), recipe.use_of("latent")) == (500, "wasserstein", "normal")
    settings = {key: one.config.model_dump() for key, one in recipe.components.items()}
    for player in ("generator", "discriminator"):
        assert settings[player]["hidden"] == [256, 256]
        assert (settings[f"optimizer.{player}"]["lr"], settings[f"optimizer.{player}"]["betas"]) == (2e-4, (0.5, 0.9))
    assert settings["optimizer.generator"]["weight_decay"] == 1e-6
    assert settings["tricks.gradient_penalty"]["weight"] == 10
    assert settings["tricks.packing"]["size"] == 10
    assert settings["tricks.training_by_sampling"]["weight"] == 1
