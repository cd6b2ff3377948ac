"""Small complete plugins for the tests of the core, which need no others.

Recipes name them as `toys.py:Class`, or by class name through the registry of `conftest.py`.
"""

import math
import random
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from gankit import (
    Dataset,
    DiscriminatorOutput,
    Extractor,
    ExtraNetwork,
    Features,
    LossTerm,
    Plugin,
    Settings,
    Step,
    hookimpl,
    truncated,
)
from gankit.plugin.condition import ClassCondition


class PatchNet(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.body = nn.Conv2d(spec.channels * spec.pack, 6, 4, 2, 1)
        self.head = nn.Conv2d(6, 1, 3, padding=1)
        self.shade = nn.Linear(6, 1)

    def forward(self, images, labels):
        maps = F.leaky_relu(self.body(images), 0.1)
        features = maps.mean((2, 3))
        return DiscriminatorOutput(self.head(maps), features, {"shade": self.shade(features)})


class Patches(Plugin):
    """Discriminator with a logit for each patch, and an auxiliary output for the mean brightness.

    Source: none.
    """

    name, kind = "patches", "discriminator"

    @hookimpl
    def build_discriminator(self, spec):
        return PatchNet(spec)


class Shade(Plugin):
    """Auxiliary loss of both players: D estimates the brightness of real images, and G aims at bright images.

    Source: none.
    """

    name = "shade"

    @hookimpl
    def loss_terms(self, player):
        def of_real(step):
            return F.mse_loss(step.real_output.extra["shade"].flatten(), step.real.mean((1, 2, 3)))

        def of_fake(step):
            return -step.fake_output.extra["shade"].float().mean()

        yield LossTerm("shade", of_real if player == "discriminator" else of_fake, weight=0.5)


class Encode(Plugin):
    """Encoder that both players train, a second one that only G trains, and a frozen network of features.

    Source: none.
    """

    name = "encode"

    @hookimpl
    def extra_networks(self, run):
        size = math.prod(run.spec.shape)
        networks = [nn.Sequential(nn.Flatten(), nn.Linear(size, n)) for n in (run.spec.latent_size, 2, 3)]
        return {
            "encoder": ExtraNetwork(networks[0], trained_by=("generator", "discriminator")),
            "critic": ExtraNetwork(networks[1], trained_by=("generator",)),
            "teacher": ExtraNetwork(networks[2], saved=False),
        }

    @hookimpl
    def loss_terms(self, player, run):
        encoder, critic, teacher = (run.networks[name] for name in ("encoder", "critic", "teacher"))

        def of_generator(step):
            code = F.mse_loss(encoder(step.fake).float(), step.z)
            return code + F.mse_loss(teacher(step.fake), teacher(step.real)).float() + critic(step.fake).float().mean()

        def of_discriminator(step):
            return encoder(step.real).float().square().mean() + critic(step.real).float().mean()

        yield LossTerm("code", of_generator if player == "generator" else of_discriminator)


class HalfSteps(Plugin):
    """Steps of G with half of a batch.

    Source: none.
    """

    name = "half_steps"

    @hookimpl
    def draw_step(self, run, player):
        if player == "discriminator":
            return None
        real, condition, _ = run.draw_real()
        z = run.draw_latent(len(real), condition)
        return Step(run, player, real, condition, z, run.generator(z, condition).float()).slice(slice(len(real) // 2))


class Blobs(Plugin):
    """Random images whose brightness depends on the class."""

    name, kind = "blobs", "data"

    class Config(Settings):
        count: int = Field(40, ge=0, description="number of images")
        channels: int = Field(1, ge=1, description="channels of an image")
        resolution: int = Field(8, ge=1, description="height and width in pixels")
        classes: int = Field(2, ge=0, description="number of classes; 0: no labels")

    @hookimpl
    def load_data(self):
        c = self.config
        return Dataset(
            (c.channels, c.resolution, c.resolution), ClassCondition.of(tuple("abcdefghij"[: c.classes])), self.read
        )

    def read(self):
        c = self.config
        noise = torch.Generator().manual_seed(0)
        shape = (c.count, c.channels, c.resolution, c.resolution)
        images = torch.randint(0, 100, shape, generator=noise, dtype=torch.uint8)
        if not c.classes:
            return images, None
        labels = torch.arange(c.count) % c.classes
        return images + (labels * 20).to(torch.uint8).view(-1, 1, 1, 1), labels


class Normal(Plugin):
    """Normal prior."""

    name, kind = "toy_normal", "latent"

    class Config(Settings):
        size: int = Field(4, ge=1, description="length of z")

    @hookimpl
    def adjust_spec(self, spec):
        spec.latent_size = self.config.size

    @hookimpl
    def sample_latent(self, count, device, generator):
        return torch.randn(count, self.config.size, device=device, generator=generator)

    @hookimpl
    def truncate_latent(self, z, redraw, threshold):
        return truncated(z, redraw, threshold)


class GNet(nn.Module):
    def __init__(self, spec, width, dropout):
        super().__init__()
        self.shape = spec.shape
        self.classes = spec.classes
        # F.one_hot reads the labels, which makes the CPU wait for the device.
        self.register_buffer("one_hot", torch.eye(spec.classes), persistent=False)
        self.lift = spec.normalize("generator", nn.Linear(spec.latent_size + spec.classes, width), width)
        self.dropout = nn.Dropout(dropout)
        self.paint = nn.Linear(width, math.prod(spec.shape))

    def forward(self, z, labels):
        if self.classes:
            z = torch.cat([z, self.one_hot[labels]], dim=1)
        return self.paint(self.dropout(F.leaky_relu(self.lift(z), 0.1))).tanh().view(-1, *self.shape)


class G(Plugin):
    """Two linear layers with dropout between them."""

    name, kind = "toy_g", "generator"

    class Config(Settings):
        width: int = Field(6, ge=1, description="hidden units")
        dropout: float = Field(0.2, ge=0, le=1, description="dropout probability")

    @hookimpl
    def adjust_spec(self, spec):
        spec.conditional = spec.classes > 0

    @hookimpl
    def build_generator(self, spec):
        return GNet(spec, self.config.width, self.config.dropout)


class DNet(nn.Module):
    def __init__(self, spec, width):
        super().__init__()
        pixels = math.prod(spec.shape)
        self.look = spec.normalize("discriminator", nn.Linear(pixels, width), width)
        self.head = nn.Linear(width, 1)

    def forward(self, images, labels):
        features = F.leaky_relu(self.look(images.flatten(1)), 0.1)
        return DiscriminatorOutput(self.head(features).flatten(), features)


class D(Plugin):
    """Two linear layers."""

    name, kind = "toy_d", "discriminator"

    class Config(Settings):
        width: int = Field(5, ge=1, description="hidden units")

    @hookimpl
    def build_discriminator(self, spec):
        return DNet(spec, self.config.width)


class Loss(Plugin):
    """Non-saturating loss, with one term for real and one for fake images."""

    name, kind = "toy_loss", "loss"

    @hookimpl
    def loss_terms(self, player):
        if player == "generator":
            yield LossTerm("fool", lambda step: F.softplus(-step.fake_output.logits).mean())
        else:
            yield LossTerm("real", lambda step: F.softplus(-step.real_output.logits).mean())
            yield LossTerm("fake", lambda step: F.softplus(step.fake_output.logits).mean())


class BatchNorm(Plugin):
    """Batch normalisation after the layer."""

    name, kind, batch_coupled = "toy_bn", "normalization", True

    @hookimpl
    def normalization(self, layer, features):
        return nn.Sequential(layer, nn.BatchNorm1d(features))


class AsItIs(Plugin):
    """No normalisation."""

    name, kind = "as_it_is", "normalization"

    @hookimpl
    def normalization(self, layer):
        return layer


class Sgd(Plugin):
    """Plain gradient descent."""

    name, kind = "sgd", "optimizer"

    class Config(Settings):
        lr: float = Field(0.05, gt=0, description="learning rate")

    @hookimpl
    def build_optimizer(self, parameters):
        return torch.optim.SGD(parameters, lr=self.config.lr)


class Adam(Plugin):
    """Fused Adam."""

    name, kind = "toy_adam", "optimizer"

    class Config(Settings):
        lr: float = Field(0.01, gt=0, description="learning rate")
        betas: tuple[float, float] = Field((0.5, 0.999), description="decay rates of the moments")

    @hookimpl
    def build_optimizer(self, parameters):
        return torch.optim.Adam(parameters, lr=self.config.lr, betas=self.config.betas, fused=True)


class Constant(Plugin):
    """Constant learning rate."""

    name, kind = "toy_constant", "lr_schedule"

    @hookimpl
    def lr_schedule(self):
        return lambda iteration: 1.0


class Halving(Plugin):
    """Learning rate that is halved at regular intervals."""

    name, kind = "halving", "lr_schedule"

    class Config(Settings):
        every: int = Field(1, ge=1, description="iterations between halvings")

    @hookimpl
    def lr_schedule(self):
        return lambda iteration: 0.5 ** (iteration // self.config.every)


class Wander(Plugin):
    """Random walk of the brightness, with numbers from torch and from Python: state that a checkpoint must restore."""

    name = "wander"

    class Config(Settings):
        pace: float = Field(0.1, gt=0, description="standard deviation of a step")

    def __init__(self, config):
        super().__init__(config)
        self.level, self.steps, self.offset = torch.zeros(3), 0, 0.0

    @hookimpl
    def before_d_step(self, run):
        self.steps += 1
        self.offset = random.random() * self.steps
        self.level = self.level * 0.9 + self.config.pace * torch.randn(3)

    @hookimpl
    def discriminator_inputs(self, images, condition):
        return images + self.level.mean() + self.offset / 100, condition

    def state_dict(self):
        return {"level": self.level, "steps": self.steps, "offset": self.offset}

    def load_state_dict(self, state):
        self.level, self.steps, self.offset = state["level"], state["steps"], state["offset"]


class Average(Plugin):
    """Moving average of the generator, in the state of the plugin."""

    name = "toy_average"

    def __init__(self, config):
        super().__init__(config)
        self.average = {}

    @hookimpl
    def after_g_step(self, run):
        for name, value in run.generator.state_dict().items():
            before = self.average.get(name, value)
            self.average[name] = before.lerp(value, 0.5) if value.is_floating_point() else value.clone()

    def state_dict(self):
        return dict(self.average)

    def load_state_dict(self, state):
        self.average = dict(state)


class NotANumber(Plugin):
    """Loss term that is NaN from some G step on."""

    name = "nan"

    class Config(Settings):
        turn: int = Field(0, ge=0, description="first G step that is NaN")

    @hookimpl
    def loss_terms(self, player, run):
        if player == "generator":
            yield LossTerm("broken", lambda step: step.fake.mean() * self.gain(run))

    def gain(self, run):
        return float("nan") if run.step_counts["generator"] >= self.config.turn else 0.0


class Fragile(Plugin):
    """Loss term that is NaN from some iteration on, as long as G's learning rate is above a limit."""

    name = "fragile"

    class Config(Settings):
        iteration: int = Field(3, ge=1, description="first iteration whose loss is NaN")
        limit: float = Field(0.006, gt=0, description="highest learning rate without NaN")

    @hookimpl
    def loss_terms(self, player, run):
        if player == "generator":
            yield LossTerm("fragile", lambda step: step.fake.mean() * self.gain(run))

    def gain(self, run):
        broken = run.iteration + 1 >= self.config.iteration and run.learning_rate("generator") > self.config.limit
        return float("nan") if broken else 0.0


class Collapses(Plugin):
    """Plugin that reports a collapse at some iteration, as long as G's learning rate is above a limit."""

    name = "collapses"

    class Config(Settings):
        iteration: int = Field(5, ge=1, description="iteration at which the collapse is reported")
        since: int = Field(3, ge=0, description="iteration at which the collapse began")
        limit: float = Field(0.006, gt=0, description="highest learning rate without a collapse")

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == self.config.iteration and run.learning_rate("generator") > self.config.limit:
            run.roll_back("it has collapsed", since=self.config.since)


class Plain(Plugin):
    """Extractor whose features are the pixels."""

    name, kind = "plain", "extractor"

    @hookimpl
    def build_extractor(self):
        return Extractor({"extractor": "plain"}, lambda images: Features(images.flatten(1).float()))


class Scripted(Plugin):
    """Metric with a given value for each iteration; a blank is an evaluation without a value."""

    name, kind = "scripted", "metric"
    better: ClassVar = {"quality": "higher", "error": "lower"}

    class Config(Settings):
        values: tuple[str, ...] = Field(description="value at iteration 1, 2, ...")
        called: str = Field("error", description="name of the number")

    @hookimpl
    def on_start(self, run):
        self.run = run

    @hookimpl
    def compute_metrics(self):
        value = self.config.values[self.run.iteration - 1]
        return {self.config.called: float(value)} if value else None


class Stopper(Plugin):
    """Plugin that ends the run."""

    name = "stopper"

    class Config(Settings):
        iteration: int = Field(5, ge=1, description="iteration at which the run ends")

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == self.config.iteration:
            run.stop("that is enough")


class PlainG(nn.Module):
    """Generator that does not use gankit."""

    def __init__(self, width=5, act=nn.Tanh, *, slope=0.1):
        super().__init__()
        self.slope = slope
        self.layers = nn.Sequential(nn.Linear(4, width), nn.LeakyReLU(slope), nn.Linear(width, 64), act())

    def forward(self, z):
        return self.layers(z).view(-1, 1, 8, 8)


class PlainD(nn.Module):
    """Discriminator that does not use gankit and returns logits alone."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 1)

    def forward(self, images):
        return self.layer(images.flatten(1))
