"""Adapters for a plain `nn.Module` as a network or an extractor."""

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from gankit import Dataset, InputError, Recipe
from gankit.errors import RecipeError
from gankit.plugin.condition import ClassCondition
from gankit.plugin.module_adapter import ConditionAdapter, DiscriminatorAdapter, condition_parameter, module_plugin
from gankit.sampling.generator_file import save_generator
from gankit.sampling.sampler import Sampler
from gankit.training.assembly import assemble
from gankit.training.update import train_iteration


@pytest.fixture(autouse=True)
def no_distributions(monkeypatch):
    """Replace the slow search for the distribution of a module; these modules have none."""
    monkeypatch.setattr("importlib.metadata.packages_distributions", dict)


class Recording(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


def with_forward(function):
    return type("Net", (Recording,), {"forward": function})


@pytest.mark.parametrize(
    ("forward", "takes"),
    [
        (lambda self, x: (x,), False),
        (lambda self, x, labels: (x, labels), True),
        (lambda self, x, y=None: (x, y), True),
        (lambda self, *args: args, True),
        (lambda self, x, *args: (x, *args), True),
        (lambda self, x, *, scale=1: (x,), False),
        (lambda self, z, temperature=1.0: (z,), False),
        (lambda self, x, condition: (x, condition), True),
        (lambda self, x, return_features=False, *, labels=None: (x, labels), True),
        (lambda self, x, **more: (x,), False),
        (eval("lambda self, x, labels, /: (x, labels)"), True),
    ],
)
def test_a_network_with_an_argument_for_labels_gets_them(forward, takes):
    net = with_forward(forward)
    assert (condition_parameter(net) is not None) == takes
    assert ConditionAdapter(net())("x", "labels") == (("x", "labels") if takes else ("x",))


@pytest.mark.parametrize(
    ("output", "logits", "features"),
    [
        (torch.arange(3.0)[:, None], (3,), (3, 1)),
        (torch.arange(3.0), (3,), (3, 1)),
        (torch.zeros(3, 1, 1, 1), (3,), (3, 1)),
        ((torch.zeros(3, 1), torch.zeros(3, 4, 2, 2)), (3,), (3, 16)),
        ((torch.zeros(3), torch.zeros(3)), (3,), (3, 1)),
    ],
)
def test_the_output_of_a_network_becomes_a_discriminator_output(output, logits, features):
    result = DiscriminatorAdapter(ConditionAdapter(with_forward(lambda self, x: output)()))(None, None)
    assert result.logits.shape == logits
    assert result.features.shape == features


def settings_of(init, **values):
    net = type("Net", (nn.Module,), {"__init__": init})
    plugin = module_plugin(net, "generator")
    return plugin.Config.model_validate(values).model_dump(mode="json", exclude_none=True)


def test_settings_are_the_arguments_of_init():
    def init(self, width, depth=2, *more, act=nn.ReLU, scale=1.5, sizes=(1, 2), dtype=torch.float32, _hidden=3):
        pass

    assert settings_of(init, width=4) == {"width": 4, "depth": 2, "scale": 1.5, "sizes": [1, 2]}
    assert settings_of(init, width=4, act="relu")["act"] == "relu"
    # Keyword arguments allow any setting.
    assert settings_of(lambda self, a=1, **more: None, b=2) == {"a": 1, "b": 2}


@pytest.fixture
def plain_networks(toy_recipe):
    """Return a function that returns the toy recipe with plain networks."""

    def make(generator=None, discriminator=None, **changes):
        return toy_recipe(
            generator={"use": "gankit_toys:PlainG"} | (generator or {}),
            discriminator={"use": "gankit_toys:PlainD"} | (discriminator or {}),
            **{"normalization": {"generator": {"use": "AsItIs"}}} | changes,
        )

    return make


def test_plain_networks_train_and_are_sampled_from_a_file(plain_networks, tmp_path):
    recipe = plain_networks({"width": 7, "slope": 0.3})
    run = assemble(recipe)
    run.load_data()
    train_iteration(run)
    assert run.generator.network.layers[0].out_features == 7
    assert run.generator.network.slope == 0.3
    save_generator(run, tmp_path / "g")
    sampler = Sampler.load(tmp_path / "g", trust=True)
    assert sampler.class_names == ()
    assert sampler.sample(3)[0].shape == (3, 1, 8, 8)


def test_the_resolved_recipe_of_plain_networks_is_the_same_recipe(plain_networks):
    recipe = plain_networks({"slope": 0.3})
    assert recipe.to_dict()["generator"] == {"use": "gankit_toys:PlainG", "width": 5, "slope": 0.3}
    again = Recipe.from_dict(recipe.to_dict(), source=recipe.source)
    assert again.to_dict() == recipe.to_dict()
    # A default that TOML cannot express is that of __init__.
    assert isinstance(assemble(again).generator.network.layers[-1], nn.Tanh)


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"wdth": 7}, "generator.wdth", "did you mean 'width'?"),
        ({"width": "seven"}, "generator", "must be"),
    ],
)
def test_wrong_arguments_are_refused(plain_networks, settings, key, message):
    with pytest.raises(RecipeError) as error:
        assemble(plain_networks(settings))
    assert f"{key}: " in str(error.value)
    assert message in str(error.value)


def test_a_missing_required_argument_is_refused(shelf, plain_networks):
    class Required(nn.Module):
        def __init__(self, width):
            super().__init__()

    shelf.own.Required = Required
    with pytest.raises(RecipeError, match=r"generator\.width: missing; it has no default"):
        plain_networks({"use": f"{shelf.own.__name__}:Required"})


def test_a_module_cannot_be_a_trick(toy_recipe):
    with pytest.raises(RecipeError, match=r"tricks\.a\.use: gankit_toys:PlainD is not a subclass of gankit\.Plugin"):
        toy_recipe(tricks={"a": {"use": "gankit_toys:PlainD"}})


class Embed(nn.Module):
    """Plain network for features or logits."""

    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, images):
        return self.layer(images.mean(dim=(2, 3)))


@pytest.fixture
def embedding(shelf, toy_recipe):
    """Return a function that builds the extractor of a recipe that uses `Embed`."""
    shelf.own.Embed = Embed

    def build(dataset, **settings):
        recipe = toy_recipe(extractor={"use": f"{shelf.own.__name__}:Embed"} | settings)
        return recipe.components["extractor"].build().build_extractor(dataset, torch.device("cpu"))

    return build


def image_dataset(*classes):
    images = torch.randint(0, 256, (6, 3, 5, 5), dtype=torch.uint8)
    return Dataset((3, 5, 5), ClassCondition.of(classes), lambda: (images, None))


def test_a_plain_network_as_extractor(embedding, tmp_path):
    images, _ = image_dataset().load()
    one, again = embedding(image_dataset(), width=7), embedding(image_dataset(), width=7)
    assert one(images).values.shape == (6, 7)
    assert one.facts == again.facts  # the same initial weights each time
    assert one.facts["extractor"].startswith("Embed ")
    network = Embed(7)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    trained = embedding(image_dataset(), width=7, weights=str(tmp_path / "w.safetensors"), size=9)
    assert trained.facts["extractor"] != one.facts["extractor"]
    assert trained.facts["resize"] == "bilinear to 9"
    flat = torch.full((2, 1, 3, 3), 255, dtype=torch.uint8)
    torch.testing.assert_close(trained(flat).values, network(torch.ones(2, 3, 3, 3)).detach())


def test_logits_of_the_classes_of_the_dataset(embedding):
    images, _ = image_dataset().load()
    extractor = embedding(image_dataset("a", "b"), width=2, dataset_classes=True)
    assert extractor.class_names == ("a", "b")
    assert torch.equal(extractor(images).logits, extractor(images).values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"nothing of the kind", "is not a safetensors file"),
        (save({"other": torch.ones(1)}), "does not fit Embed"),
    ],
)
def test_a_wrong_file_of_weights_is_refused(embedding, tmp_path, content, message):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"weights: {path} {message}"):
        embedding(image_dataset(), weights=str(path))


def test_an_argument_of_the_network_replaces_a_setting_of_gankit():
    class Sized(nn.Module):
        def __init__(self, size="large"):
            super().__init__()

    plugin = module_plugin(Sized, "extractor")
    assert plugin.Config().size == "large"
    assert plugin(plugin.Config(size="small")).build()
    assert {"weights", "dataset_classes"} <= plugin.Config.model_fields.keys()


def test_a_normalisation_without_effect_is_a_warning(plain_networks):
    warnings = assemble(
        plain_networks(normalization={"generator": {"use": "BatchNorm"}, "discriminator": {"use": "AsItIs"}})
    ).warnings
    (sentence,) = [s for s in warnings if " has no effect" in s]
    assert sentence.startswith("generator: normalization.generator = toy_bn has no effect, because PlainG builds its")
