"""Assembly of a run, and the interface of a run for plugins."""

import pytest
import torch
from PIL import Image
from torch import nn

from gankit import Dataset, DiscriminatorOutput, InputError, LossTerm, Plugin, hookimpl
from gankit.errors import RecipeError
from gankit.plugin.build import to_channels_last
from gankit.training.update import draw_step, train_step


class Doubled(Plugin):
    """Replace the loss of both players by twice the first term of D."""

    name = "doubled"

    @hookimpl
    def wrap_loss(self, terms, run):
        (first, *_) = terms["discriminator"]
        return {player: [LossTerm(player, first.function, weight=2.0)] for player in terms}


class Added(Plugin):
    name = "added"

    @hookimpl
    def loss_terms(self, player):
        yield LossTerm("added", lambda step: step.z.mean())


class Untouched(Plugin):
    name = "untouched"

    @hookimpl
    def wrap_loss(self, terms):
        assert list(terms) == ["generator", "discriminator"]


def test_wrap_loss_changes_only_the_terms_of_the_loss(shelf, toy_run):
    for plugin in (Doubled, Added, Untouched):
        shelf.add(plugin)
    tricks = {"a": {"use": "Added"}, "d": {"use": "Doubled"}, "u": {"use": "Untouched"}}
    terms = toy_run(tricks=tricks).terms
    assert [(t.name, t.weight) for t in terms["generator"]] == [("generator", 2.0), ("added", 1.0)]
    assert [(t.name, t.weight) for t in terms["discriminator"]] == [("discriminator", 2.0), ("added", 1.0)]


def test_an_optimizer_with_a_learning_rate_for_each_layer(shelf, toy_run):
    @shelf.add
    class Slow(Plugin):
        name, kind = "slow", "optimizer"

        @hookimpl
        def build_optimizer(self, parameters, network):
            own = {id(p) for p in network.paint.parameters()}
            groups = [[p for p in parameters if (id(p) in own) == slow] for slow in (False, True)]
            return torch.optim.SGD([{"params": groups[0]}, {"params": groups[1], "lr": 0.01}], lr=0.1)

    run = toy_run(optimizer={"generator": {"use": "Slow"}})
    names = {id(p): name for name, p in run.generator.named_parameters()}
    groups = [[names[id(p)] for p in group["params"]] for group in run.optimizers["generator"].param_groups]
    assert groups[1] == ["paint.weight", "paint.bias"]
    assert run.base_rates["generator"] == [0.1, 0.01]
    before = {name: p.detach().clone() for name, p in run.generator.named_parameters()}
    gradients = {}
    run.after_backward = lambda *given: gradients.update(
        {name: p.grad.clone() for name, p in run.generator.named_parameters()}
    )
    train_step(run, "generator")
    for name, parameter in run.generator.named_parameters():
        rate = run.rate_factor("generator") * (0.01 if name.startswith("paint") else 0.1)
        torch.testing.assert_close(parameter, before[name] - rate * gradients[name])


def test_a_discriminator_of_pairs_is_checked_with_z_in_place_of_the_labels(shelf, toy_run, toys):
    seen = []

    class Net(toys.DNet):
        def forward(self, images, labels):
            seen.append(labels)
            return super().forward(images, labels)

    @shelf.add
    class Pairs(Plugin):
        name, kind = "pairs", "discriminator"
        pairs = True

        @hookimpl
        def adjust_spec(self, spec):
            spec.latent_pairs = self.pairs

        @hookimpl
        def build_discriminator(self, spec):
            return Net(spec, 5)

    toy_run(discriminator={"use": "Pairs"})
    Pairs.pairs = False
    toy_run(discriminator={"use": "Pairs"})
    assert [given.shape for given in seen] == [(2, 4), (2,)]


class Recorder(Plugin):
    name, kind = "recorder", "normalization"
    players = []

    @hookimpl
    def normalization(self, layer):
        return layer

    @hookimpl
    def wrap_network(self, player):
        self.players.append(player)

    loss_terms = lr_schedule = wrap_network


def test_a_plugin_in_a_slot_of_one_player_is_called_for_that_player_only(shelf, toy_run):
    shelf.add(Recorder)
    Recorder.players = []
    toy_run(normalization={"discriminator": {"use": "Recorder"}})
    assert Recorder.players == ["discriminator"] * 3


def test_a_step_with_other_outputs(toy_run):
    step = draw_step(toy_run(), "discriminator")
    own = step.real_output
    given = DiscriminatorOutput(torch.ones(8), torch.zeros(8, 1))
    other = step.with_outputs(given, own, real_target=0.3)
    assert other.real_output is given
    assert other.fake_output is own
    assert (other.real_target, step.real_target) == (0.3, 1.0)
    assert step.real_output is own


def test_a_step_with_another_discriminator(toy_run):
    step = draw_step(toy_run(), "generator")
    step.discriminator = lambda images, labels: (images.flatten(1).sum(1), images.flatten(1))
    assert torch.equal(step.fake_output.logits, step.fake.flatten(1).sum(1))


@pytest.mark.parametrize("balanced", [False, True])
def test_reference_images_are_constant_and_do_not_change_the_order(toy_run, balanced):
    runs = [toy_run(train={"class_balanced": balanced}) for _ in range(2)]
    early, labels, _ = runs[0].draw_reference(6)
    first = [run.draw_real()[0] for run in runs]
    assert torch.equal(*first)
    late, _, _ = runs[1].draw_reference(6)
    assert torch.equal(early, late)
    assert early.shape == (6, 1, 8, 8)
    assert early.abs().max() <= 1
    if balanced:
        assert labels.tolist() == [0, 1] * 3
        with pytest.raises(InputError, match="5 reference images cannot be balanced over 2 classes"):
            runs[0].draw_reference(5)


class Coupled(Plugin):
    name = "coupled"
    batch_coupled = True


def test_plugins_that_couple_a_batch_cause_warnings_with_accumulation(shelf, toy_run):
    shelf.add(Coupled)
    run = toy_run(tricks={"coupled": {"use": "Coupled"}}, train={"accumulate": 2})
    assert run.recipe.coupling("discriminator") == ["tricks.coupled"]
    assert run.recipe.coupling("generator") == ["normalization.generator"]
    assert [s.partition(":")[0] for s in run.warnings] == ["normalization.generator", "tricks.coupled"]
    assert toy_run(tricks={"coupled": {"use": "Coupled"}}).warnings == []


class Points(Plugin):
    name, kind = "points", "data"

    @hookimpl
    def load_data(self):
        return Dataset((2, 1, 1), None, lambda: (torch.linspace(-1, 1, 32).view(16, 2, 1, 1), None))

    @hookimpl
    def draw_samples(self, images):
        return Image.new("RGB", (len(images), 5), (9, 9, 9))


def test_points_are_used_unchanged_and_drawn_by_their_plugin(shelf, train_toy, toy_run):
    shelf.add(Points)
    batch = toy_run(data={"use": "Points"}).draw_real()[0].flatten()
    assert set(batch.tolist()) <= set(torch.linspace(-1, 1, 32).tolist())
    run = train_toy(data={"use": "Points"})
    with Image.open(run.path / "samples" / "000006.png") as grid:
        assert grid.size == (run.run.recipe.output.sample_count, 5)


def test_only_tensors_of_four_dimensions_become_channels_last():
    network = torch.nn.ModuleList([torch.nn.Conv2d(3, 4, 3), torch.nn.Conv3d(3, 4, 3), torch.nn.Linear(3, 4)])
    network.register_buffer("mask", torch.zeros(2, 3, 4, 4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    to_channels_last(network)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.is_contiguous() == (value.dim() != 4)
        assert value.dim() != 4 or value.is_contiguous(memory_format=torch.channels_last)


class ExtraState(Plugin):
    name = "extra_state"

    @hookimpl
    def wrap_network(self, player, network):
        class Extra(torch.nn.Identity):
            def get_extra_state(self):
                return {"level": 3}

        if player == "discriminator":
            network.extra = Extra()


def test_a_network_with_a_state_other_than_tensors_is_refused(shelf, toy_run):
    shelf.add(ExtraState)
    message = r"discriminator: Extra has get_extra_state, and checkpoints contain tensors only; .*register_buffer"
    with pytest.raises(InputError, match=message):
        toy_run(tricks={"e": {"use": "ExtraState"}})


def test_lazy_layers_are_refused(shelf, toy_run):
    class Lazy(Plugin):
        name, kind = "lazy", "generator"

        @hookimpl
        def build_generator(self, spec):
            return nn.Sequential(nn.LazyLinear(3))

    shelf.add(Lazy)
    with pytest.raises(RecipeError, match="generator: has lazy layers, whose sizes are unknown before the first call"):
        toy_run(generator={"use": "Lazy"})


def test_what_a_plugin_finds_wrong_at_the_start_names_the_recipe_and_the_plugin(shelf, toy_run):
    @shelf.add
    class Unhappy(Plugin):
        name = "unhappy"

        @hookimpl
        def on_start(self):
            raise InputError("the images are too dark")

    run = toy_run(tricks={"u": {"use": "Unhappy"}})
    with pytest.raises(RecipeError, match=r"toy\.toml: tricks\.u: the images are too dark"):
        run.start()
