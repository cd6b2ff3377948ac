"""Anybody's `nn.Module` in a network slot."""

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from gankit import Dataset, InputError, Recipe
from gankit.errors import RecipeError
from gankit.plugin.module_adapter import CalledWithLabels, Judging, label_place, module_plugin
from gankit.sampling.generator_file import save_generator
from gankit.sampling.sampler import Sampler
from gankit.training.assembly import assemble
from gankit.training.update import train_iteration


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
def test_labels_are_handed_to_a_network_with_a_place_for_them(forward, takes):
    net = with_forward(forward)
    assert (label_place(net) is not None) == takes
    assert CalledWithLabels(net())("x", "labels") == (("x", "labels") if takes else ("x",))


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
def test_what_a_network_returns_becomes_a_judgement(output, logits, features):
    judged = Judging(CalledWithLabels(with_forward(lambda self, x: output)()))(None, None)
    assert judged.logits.shape == logits
    assert judged.features.shape == features


def settings_of(init, **given):
    net = type("Net", (nn.Module,), {"__init__": init})
    plugin = module_plugin(net, "generator")
    return plugin.Config.model_validate(given).model_dump(mode="json", exclude_none=True)


def test_settings_are_the_arguments_of_init():
    def init(self, width, depth=2, *more, act=nn.ReLU, scale=1.5, sizes=(1, 2), dtype=torch.float32, _hidden=3):
        pass

    assert settings_of(init, width=4) == {"width": 4, "depth": 2, "scale": 1.5, "sizes": [1, 2]}
    assert settings_of(init, width=4, act="relu")["act"] == "relu"


def test_any_settings_where_init_takes_any():
    assert settings_of(lambda self, a=1, **more: None, b=2) == {"a": 1, "b": 2}


@pytest.fixture
def strangers(toy_recipe):
    """The toy recipe with networks that know nothing of gankit."""

    def make(generator=None, discriminator=None, **changes):
        return toy_recipe(
            generator={"use": "gankit_toys:PlainG"} | (generator or {}),
            discriminator={"use": "gankit_toys:PlainD"} | (discriminator or {}),
            **{"normalization": {"generator": {"use": "AsItIs"}}} | changes,
        )

    return make


def test_strangers_train_are_saved_and_drawn_from(strangers, tmp_path):
    recipe = strangers({"width": 7, "slope": 0.3})
    run = assemble(recipe)
    run.load_data()
    train_iteration(run)
    assert run.generator.network.layers[0].out_features == 7
    assert run.generator.network.slope == 0.3
    save_generator(run, tmp_path / "g")
    sampler = Sampler.load(tmp_path / "g", trust=True)
    assert sampler.class_names == ()
    assert sampler.sample(3)[0].shape == (3, 1, 8, 8)


def test_a_strangers_resolved_recipe_is_the_same_recipe(strangers):
    recipe = strangers({"slope": 0.3})
    assert recipe.to_dict()["generator"] == {"use": "gankit_toys:PlainG", "width": 5, "slope": 0.3}
    again = Recipe.from_dict(recipe.to_dict(), source=recipe.source)
    assert again.to_dict() == recipe.to_dict()
    # The default that TOML has no form for is __init__'s own.
    assert isinstance(assemble(again).generator.network.layers[-1], nn.Tanh)


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"wdth": 7}, "generator.wdth", "did you mean 'width'?"),
        ({"width": "seven"}, "generator", "must be"),
    ],
)
def test_wrong_arguments_are_sentences(strangers, settings, key, message):
    with pytest.raises(RecipeError) as error:
        assemble(strangers(settings))
    assert f"{key}: " in str(error.value)
    assert message in str(error.value)


def test_a_required_argument_is_asked_for(shelf, strangers):
    class Needy(nn.Module):
        def __init__(self, width):
            super().__init__()

    shelf.own.Needy = Needy
    with pytest.raises(RecipeError, match=r"generator\.width: missing, and it has no default"):
        strangers({"use": f"{shelf.own.__name__}:Needy"})


def test_a_module_is_no_trick(toy_recipe):
    with pytest.raises(RecipeError, match=r"tricks\.a\.use: gankit_toys:PlainD is not a subclass of gankit\.Plugin"):
        toy_recipe(tricks={"a": {"use": "gankit_toys:PlainD"}})


class Embed(nn.Module):
    """Somebody's network of features, or of logits."""

    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, images):
        return self.layer(images.mean(dim=(2, 3)))


@pytest.fixture
def embedding(shelf, toy_recipe):
    """A function from settings to the extractor of a recipe that names `Embed`."""
    shelf.own.Embed = Embed

    def build(dataset, **settings):
        recipe = toy_recipe(extractor={"use": f"{shelf.own.__name__}:Embed"} | settings)
        return recipe.components["extractor"].build().build_extractor(dataset, torch.device("cpu"))

    return build


def pictures(*classes):
    images = torch.randint(0, 256, (6, 3, 5, 5), dtype=torch.uint8)
    return Dataset(3, 5, classes, lambda: (images, None))


def test_a_strangers_network_sees_features(embedding, tmp_path):
    images, _ = pictures().load()
    one, again = embedding(pictures(), width=7), embedding(pictures(), width=7)
    assert one(images).values.shape == (6, 7)
    assert one.facts == again.facts  # its first weights are the same each time
    assert one.facts["extractor"].startswith("Embed ")
    network = Embed(7)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    trained = embedding(pictures(), width=7, weights=str(tmp_path / "w.safetensors"), size=9)
    assert trained.facts["extractor"] != one.facts["extractor"]
    assert trained.facts["resize"] == "bilinear to 9"
    flat = torch.full((2, 1, 3, 3), 255, dtype=torch.uint8)
    torch.testing.assert_close(trained(flat).values, network(torch.ones(2, 3, 3, 3)).detach())


def test_a_strangers_logits_may_be_of_the_datasets_classes(embedding):
    images, _ = pictures().load()
    found = embedding(pictures("a", "b"), width=2, dataset_classes=True)
    assert found.class_names == ("a", "b")
    assert torch.equal(found(images).logits, found(images).values)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"nothing of the kind", "is no safetensors file"),
        (save({"other": torch.ones(1)}), "does not fit Embed"),
    ],
)
def test_weights_that_are_none(embedding, tmp_path, content, said):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"weights: {path} {said}"):
        embedding(pictures(), weights=str(path))


def test_a_setting_of_the_networks_own_comes_before_one_of_gankits():
    class Sized(nn.Module):
        def __init__(self, size="large"):
            super().__init__()

    plugin = module_plugin(Sized, "extractor")
    assert plugin.Config().size == "large"
    assert plugin(plugin.Config(size="small")).build()
    assert {"weights", "dataset_classes"} <= plugin.Config.model_fields.keys()


def test_a_normalisation_that_nobody_asks_for_layers_is_said_to_do_nothing(strangers):
    advice = assemble(
        strangers(normalization={"generator": {"use": "BatchNorm"}, "discriminator": {"use": "AsItIs"}})
    ).advice
    (sentence,) = [s for s in advice if " does nothing" in s]
    assert sentence.startswith("generator: normalization.generator = toy_bn does nothing, since PlainG brings")
