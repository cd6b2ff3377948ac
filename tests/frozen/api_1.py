"""Plugins that implement every hook point with every argument of version 1 of the hook points.

The file never changes. Every later gankit must run it.
"""

import torch
from pydantic import Field

from gankit import Extractor, ExtraNetwork, Features, LossTerm, Plugin, Settings, hookimpl


class Everything(Plugin):
    """Trick with all hook points that several plugins may implement. Source: none."""

    name = "everything"
    api_version = 1

    class Config(Settings):
        weight: float = Field(0.5, ge=0, description="weight of the loss term")

    def __init__(self, config):
        super().__init__(config)
        self.called = set()
        self.rows, self.grids = [], []

    @hookimpl
    def check_recipe(self, recipe):
        self.called.add("check_recipe")
        return [f"uses {recipe.use_of('loss')}"]

    @hookimpl
    def load_data(self, spec):
        self.called.add("load_data")

    @hookimpl
    def adjust_spec(self, spec):
        self.called.add("adjust_spec")
        assert (spec.shape, spec.classes) == ((3, 8, 8), 2)

    @hookimpl
    def normalization(self, player, layer, features):
        self.called.add("normalization")

    @hookimpl
    def build_generator(self, spec):
        self.called.add("build_generator")

    @hookimpl
    def build_discriminator(self, spec):
        self.called.add("build_discriminator")

    @hookimpl
    def wrap_network(self, player, network, run):
        self.called.add("wrap_network")
        return network

    @hookimpl
    def extra_networks(self, run):
        self.called.add("extra_networks")
        return {"everything": ExtraNetwork(torch.nn.Linear(2, 2), trained_by=("generator",))}

    @hookimpl
    def build_optimizer(self, player, parameters):
        self.called.add("build_optimizer")

    @hookimpl
    def lr_schedule(self, player, run):
        self.called.add("lr_schedule")
        return lambda iteration: 1.0

    @hookimpl
    def loss_terms(self, player, run):
        self.called.add("loss_terms")
        return [
            LossTerm("everything", lambda step: step.fake_output.logits.square().mean(), self.config.weight, every=2)
        ]

    @hookimpl
    def wrap_loss(self, terms, run):
        self.called.add("wrap_loss")
        return terms

    @hookimpl
    def on_start(self, run):
        self.called.add("on_start")
        real, labels, fields = run.draw_reference(4)
        assert real.shape == (4, 3, 8, 8)
        assert labels.shape == (4,)
        assert not fields

    @hookimpl
    def on_stop(self, run):
        self.called.add("on_stop")

    @hookimpl
    def step_order(self, run):
        self.called.add("step_order")
        return ["discriminator", "generator"]

    @hookimpl
    def before_d_step(self, run, step):
        self.called.add("before_d_step")
        step.real_target = 0.9

    @hookimpl
    def before_g_step(self, run, step):
        self.called.add("before_g_step")
        assert step.z.shape == (8, 4)

    @hookimpl
    def discriminator_inputs(self, images, condition, source, player, run):
        self.called.add("discriminator_inputs")
        assert source in ("real", "fake")
        return images + 0.01 * torch.randn_like(images), condition

    @hookimpl
    def loss_weights(self, run, player):
        self.called.add("loss_weights")
        return {term.name: torch.ones(()) for term in run.terms[player]}

    @hookimpl
    def after_backward(self, run, step, player):
        self.called.add("after_backward")
        torch.nn.utils.clip_grad_norm_(run.parameters[player], 10.0)

    @hookimpl
    def after_d_step(self, run, step):
        self.called.add("after_d_step")
        assert step.real_output.logits.shape == (8,)

    @hookimpl
    def after_g_step(self, run, step):
        self.called.add("after_g_step")

    @hookimpl
    def draw_step(self, run, player):
        self.called.add("draw_step")

    @hookimpl
    def before_iteration(self, run):
        self.called.add("before_iteration")

    @hookimpl
    def log_values(self, run):
        self.called.add("log_values")
        return {"half": run.iteration / 2}

    @hookimpl
    def generator_facts(self, run):
        self.called.add("generator_facts")
        return {"halves": run.iteration * 2, "unit": "one image"}

    @hookimpl
    def after_iteration(self, run):
        self.called.add("after_iteration")
        if run.iteration == 2:
            run.warn("half of the iterations are done")

    @hookimpl
    def on_log(self, run, row):
        self.called.add("on_log")
        assert row["iteration"] == run.iteration
        self.rows.append(row)

    @hookimpl
    def on_grid(self, run, picture):
        self.called.add("on_grid")
        self.grids.append((run.iteration, picture.size))

    @hookimpl
    def on_samples(self, run, samples, condition):
        self.called.add("on_samples")
        assert samples.shape[1:] == run.spec.shape

    @hookimpl
    def sampling_generator(self, run):
        self.called.add("sampling_generator")

    @hookimpl
    def sampling_latent(self, z, redraw, truncate):
        self.called.add("sampling_latent")
        return z.clamp(-2, 2)

    @hookimpl
    def draw_samples(self, images):
        self.called.add("draw_samples")

    @hookimpl
    def compute_metrics(self, comparison):
        self.called.add("compute_metrics")
        return {"constant": 42.0}

    def state_dict(self):
        return {"called": ",".join(sorted(self.called))}

    def load_state_dict(self, state):
        self.called |= set(state["called"].split(","))


class Prior(Plugin):
    """Prior of four numbers. Source: none."""

    name, kind, api_version = "frozen_prior", "latent", 1

    @hookimpl
    def adjust_spec(self, spec):
        spec.latent_size = 4

    @hookimpl
    def sample_latent(self, count, condition, device, generator):
        return torch.randn(count, 4, generator=generator, device=device)

    @hookimpl
    def sampling_conditions(self, count, requested, generator):
        return torch.zeros(count, dtype=torch.int64) if requested else None

    @hookimpl
    def truncate_latent(self, z, redraw, threshold):
        return z.clamp(-threshold, threshold)

    @hookimpl
    def save_samples(self, samples, names, folder):
        return None

    @hookimpl
    def save_sample_file(self, samples, condition, path):
        return None

    @hookimpl
    def encode(self, run, images):
        return run.draw_latent(len(images), None)

    @hookimpl
    def find_parts(self, images, fields):
        return {"bright": images[:, 0] > 127}


class OwnBackward(Plugin):
    """Compute the sum of the loss terms and the backward pass. Source: none."""

    name, api_version = "frozen_backward", 1

    @hookimpl
    def backward(self, run, step, player, terms):
        values = {term.name: term.function(step) for term in terms}
        sum(term.weight * values[term.name] for term in terms).backward()
        return {name: value.detach() for name, value in values.items()}


class Pixels(Plugin):
    """Extractor of pixels. Source: none."""

    name, kind, api_version = "frozen_pixels", "extractor", 1

    @hookimpl
    def build_extractor(self, dataset, device):
        assert device.type in ("cpu", "cuda")
        return Extractor({"extractor": "frozen pixels"}, lambda images: Features(images.flatten(1).float()))


class Brightness(Plugin):
    """Difference in brightness between generated and real images. Source: none."""

    name, kind, api_version = "frozen_brightness", "metric", 1

    @hookimpl
    def compute_metrics(self, comparison):
        assert comparison.protocol["extractor"] == "frozen pixels"
        assert len(comparison.real.images) == len(comparison.fake.images)
        means = [f.values.mean() for f in (comparison.fake_features, comparison.real_features)]
        return {"brighter": (means[0] - means[1]).item()}


class Command(Plugin):
    """Add a command. Source: none."""

    name, kind, api_version = "frozen_command", "command", 1

    @hookimpl
    def register_commands(self, cli):
        @cli.command("frozen_command")
        def frozen_command():
            print("it works")
