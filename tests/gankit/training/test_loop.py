"""Training loop: order of steps, updates, loss terms, learning rates, logs, and the end of a run."""

import json
import math
import random
import re
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from waits import Waits

from gankit import GankitError, LossTerm, Plugin, hookimpl
from gankit.errors import PluginError
from gankit.plugin.slots import PLAYERS
from gankit.report.page import page
from gankit.report.run_record import read_run
from gankit.training.loop import Clock
from gankit.training.update import (
    average_over_ranks,
    draw_step,
    due_terms,
    record_gradient_norm,
    train_iteration,
    train_step,
)

PLAIN = {
    "generator": {"dropout": 0.0},
    "normalization": {"generator": {"use": "AsItIs"}},
    "optimizer": {"generator": {"use": "Sgd"}, "discriminator": {"use": "Sgd"}},
}
"""Networks without dropout and batch norm, and plain SGD."""


def tricks(*classes):
    return {c.__name__: {"use": c.__name__} for c in classes}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Recorder(Plugin):
    name = "recorder"

    def __init__(self, config):
        super().__init__(config)
        self.players, self.frozen, self.gradients = [], [], []

    @hookimpl
    def before_d_step(self, run, step):
        self.record("discriminator", run, step)

    @hookimpl
    def before_g_step(self, run, step):
        self.record("generator", run, step)

    def record(self, player, run, step):
        assert step.player == player
        assert step.fake.requires_grad == (player == "generator")
        self.players.append(player)
        self.frozen.append([not p.requires_grad for p in run.discriminator.parameters()])

    @hookimpl
    def after_backward(self, run, player):
        self.gradients.append({p: [w.grad is not None for w in run.networks[p].parameters()] for p in run.networks})


@pytest.fixture
def recorder(shelf, toy_run):
    shelf.add(Recorder)

    def make(**changes):
        run = toy_run(tricks=tricks(Recorder), **changes)
        return run, run.plugins["tricks.Recorder"]

    return make


@pytest.mark.parametrize("ratio", [1, 3])
def test_discriminator_steps_per_iteration(recorder, ratio):
    run, recorded = recorder(train={"discriminator_steps": ratio})
    train_iteration(run)
    train_iteration(run)
    assert recorded.players == (["discriminator"] * ratio + ["generator"]) * 2
    assert run.step_counts == {"discriminator": 2 * ratio, "generator": 2}
    assert run.iteration == 2


def test_a_plugin_chooses_the_step_order(shelf, toy_run):
    @shelf.add
    class Order(Plugin):
        name = "order"

        @hookimpl
        def step_order(self, run):
            return ["generator", "discriminator"] if run.iteration == 0 else None

    shelf.add(Recorder)
    run = toy_run(train={"discriminator_steps": 2}, tricks=tricks(Recorder, Order))
    train_iteration(run)
    train_iteration(run)
    assert "".join(player[0] for player in run.plugins["tricks.Recorder"].players) == "gdddg"


def test_a_backward_pass_of_a_plugin_for_one_player(shelf, toy_run):
    """With SGD, half of D's loss gives half of its update. G's step is the first one, so it is the same."""

    @shelf.add
    class Half(Plugin):
        name = "half"

        @hookimpl
        def backward(self, step, player, terms):
            if player == "generator":
                return None
            values = {term.name: term.function(step) for term in terms}
            (sum(term.weight * values[term.name] for term in terms) / 2).backward()
            return {name: value.detach() for name, value in values.items()}

    moved = []
    for used in ((), (Half,)):
        run = toy_run(tricks=tricks(*used), train={"discriminator_steps": 1}, **PLAIN)
        before = {player: [p.detach().clone() for p in run.parameters[player]] for player in PLAYERS}
        for player in PLAYERS:
            train_step(run, player)
        moved.append({p: [new - old for new, old in zip(run.parameters[p], before[p], strict=True)] for p in PLAYERS})
    plain, half = moved
    torch.testing.assert_close(half["generator"], plain["generator"], rtol=0, atol=0)
    torch.testing.assert_close(half["discriminator"], [change / 2 for change in plain["discriminator"]])


def test_factors_of_loss_weights_are_multiplied_and_may_be_tensors(shelf, toy_run):
    """With SGD, the factors 1/2 and 1/4 give an eighth of D's update. G has no factors."""

    class Factor(Plugin):
        @hookimpl
        def loss_weights(self, run, player):
            if player == "generator":
                return None
            return {term.name: torch.tensor(self.factor) for term in run.terms[player]}

    factors = [type(name, (Factor,), {"name": name, "factor": f}) for name, f in (("Half", 0.5), ("Quarter", 0.25))]
    for plugin in factors:
        shelf.add(plugin)
    moved = []
    for used in ((), factors):
        run = toy_run(tricks=tricks(*used), train={"discriminator_steps": 1}, **PLAIN)
        before = {player: [p.detach().clone() for p in run.parameters[player]] for player in PLAYERS}
        for player in PLAYERS:
            train_step(run, player)
        moved.append({p: [new - old for new, old in zip(run.parameters[p], before[p], strict=True)] for p in PLAYERS})
    plain, eighth = moved
    torch.testing.assert_close(eighth["generator"], plain["generator"], rtol=0, atol=0)
    torch.testing.assert_close(eighth["discriminator"], [change / 8 for change in plain["discriminator"]])


def test_a_factor_of_a_term_that_does_not_exist_is_an_error(shelf, toy_run):
    @shelf.add
    class Wrong(Plugin):
        name = "wrong"

        @hookimpl
        def loss_weights(self):
            return {"l1": 2.0}

    run = toy_run(tricks=tricks(Wrong), **PLAIN)
    with pytest.raises(PluginError, match="`loss_weights` returns a factor for 'l1'; the generator's terms are "):
        train_step(run, "generator")


def test_inputs_of_the_discriminator_may_depend_on_z(shelf, toy_run):
    """BiGAN's discriminator, for example, sees pairs of an image and its z."""

    @shelf.add
    class Tinted(Plugin):
        name = "tinted"

        @hookimpl
        def discriminator_inputs(self, images, condition, source, step):
            return (images + step.z.mean(1).view(-1, 1, 1, 1) if source == "fake" else images), condition

    run = toy_run(tricks=tricks(Tinted))
    step = draw_step(run, "discriminator")
    assert torch.equal(step.real_inputs[0], step.real)
    for b in range(len(step.fake)):
        assert torch.equal(step.fake_inputs[0][b], step.fake[b] + step.z[b].mean())


def test_a_plugin_acts_before_each_iteration(shelf, train_toy):
    @shelf.add
    class Before(Plugin):
        name = "before"

        def __init__(self, config):
            super().__init__(config)
            self.seen = []

        @hookimpl
        def before_iteration(self, run):
            self.seen.append((run.iteration, run.step_counts["discriminator"]))

    run = train_toy(tricks=tricks(Before), train={"iterations": 3, "discriminator_steps": 2}).run
    assert run.plugins["tricks.Before"].seen == [(0, 0), (1, 2), (2, 4)]


def test_the_discriminator_is_frozen_only_in_the_g_step(recorder):
    run, recorded = recorder()
    train_iteration(run)
    in_d, in_g = recorded.frozen
    assert not any(in_d)
    assert all(in_g)
    assert all(p.requires_grad for p in run.discriminator.parameters())
    assert recorded.gradients[0] == {"discriminator": [True] * 4, "generator": [False] * 6}
    assert recorded.gradients[1] == {"discriminator": [False] * 4, "generator": [True] * 6}
    assert all(p.grad is None for network in run.networks.values() for p in network.parameters())


def test_a_weight_that_a_plugin_freezes_stays_frozen(shelf, toy_run):
    @shelf.add
    class Freeze(Plugin):
        name = "freeze"

        @hookimpl
        def wrap_network(self, player, network):
            if player == "discriminator":
                network.look.weight.requires_grad_(False)

    run = toy_run(tricks=tricks(Freeze))
    before = run.discriminator.look.weight.clone()
    train_iteration(run)
    train_iteration(run)
    assert not run.discriminator.look.weight.requires_grad
    assert torch.equal(run.discriminator.look.weight, before)


def test_the_update_is_the_gradient_of_the_weighted_sum_of_all_terms(shelf, toy_run):
    @shelf.add
    class Pull(Plugin):
        name = "pull"

        @hookimpl
        def loss_terms(self, player, run):
            if player == "discriminator":
                yield LossTerm("pull", lambda step: run.discriminator.head.weight.square().sum(), weight=3.0)

    run = toy_run(tricks=tricks(Pull), **PLAIN)
    net = run.discriminator
    seen = {}
    run.before_step["discriminator"] = lambda run, step: seen.update(real=step.real, fake=step.fake)
    before = [p.detach().clone().requires_grad_() for p in net.parameters()]
    train_step(run, "discriminator")
    w, b, h, c = before

    def logits(x):
        return (torch.nn.functional.leaky_relu(x.flatten(1) @ w.T + b, 0.1) @ h.T + c).flatten()

    loss = torch.log1p(torch.exp(-logits(seen["real"]))).mean() + torch.log1p(torch.exp(logits(seen["fake"]))).mean()
    loss = loss + 3.0 * (h**2).sum()
    for now, was, gradient in zip(net.parameters(), before, torch.autograd.grad(loss, before), strict=True):
        torch.testing.assert_close(now, was - 0.05 * gradient, rtol=1e-4, atol=1e-6)
    assert set(run.values["discriminator"]) == {"real", "fake", "pull"}
    torch.testing.assert_close(run.values["discriminator"]["pull"], (h**2).sum().detach())


def test_lazy_terms_have_the_weight_of_the_steps_they_skip():
    plain, lazy = LossTerm("plain", abs), LossTerm("lazy", abs, weight=0.5, every=4)
    run = SimpleNamespace(terms={"generator": [plain, lazy]}, step_counts={"generator": 0})
    due = []
    for run.step_counts["generator"] in range(9):
        due.append([(t.name, t.weight) for t in due_terms(run, "generator", 1)])
    assert due == [[("plain", 1.0), ("lazy", 2.0)] if n % 4 == 0 else [("plain", 1.0)] for n in range(9)]
    assert [t.weight for t in due_terms(run, "generator", parts=2)] == [0.5, 1.0]


def test_a_lazy_term_acts_on_every_nth_step_of_its_player(shelf, toy_run):
    calls = []

    @shelf.add
    class Lazy(Plugin):
        name = "lazy"

        @hookimpl
        def loss_terms(self, player, run):
            count = lambda step: calls.append((player, run.step_counts[player])) or step.fake.sum() * 0  # noqa: E731
            yield LossTerm("lazy", count, every=3)

    run = toy_run(tricks=tricks(Lazy), train={"discriminator_steps": 2})
    for _ in range(4):
        train_iteration(run)
    assert [step for player, step in calls if player == "discriminator"] == [0, 3, 6]
    assert [step for player, step in calls if player == "generator"] == [0, 3]


def test_terms_with_equal_names_all_count(shelf, toy_run):
    class Twice(Plugin):
        name = "twice"

        @hookimpl
        def loss_terms(self, player, run):
            for number in range(3):
                yield LossTerm("same", lambda step, n=number: step.fake.sum() * 0 + n)

    shelf.add(Twice)
    run = toy_run(tricks={"a": {"use": "Twice"}, "b": {"use": "Twice"}})
    train_iteration(run)
    values = run.values["generator"]
    assert sorted(v.item() for name, v in values.items() if "same" in name) == [0, 0, 1, 1, 2, 2]
    assert {"same", "tricks.b.same"} <= values.keys()


def test_the_factors_of_schedules_are_multiplied(shelf, toy_run):
    @shelf.add
    class WarmUp(Plugin):
        name = "warm_up"

        @hookimpl
        def lr_schedule(self, player):
            return (lambda t: (t + 1) / 10) if player == "generator" else None

    run = toy_run(
        tricks=tricks(WarmUp),
        lr_schedule={"use": "Halving", "every": 2},
        optimizer={"generator": {"use": "Sgd", "lr": 0.8}, "discriminator": {"lr": 0.4}},
    )
    rates = []
    for _ in range(4):
        rates.append((run.learning_rate("generator"), run.learning_rate("discriminator")))
        train_iteration(run)
        used = tuple(run.optimizers[p].param_groups[0]["lr"] for p in ("generator", "discriminator"))
        assert used == pytest.approx(rates[-1])
    assert [g for g, _ in rates] == pytest.approx([0.08, 0.16, 0.12, 0.16])
    assert [d for _, d in rates] == pytest.approx([0.4, 0.4, 0.2, 0.2])


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_accumulation_equals_the_large_batch(toy_run, parts, player):
    whole = toy_run(train={"batch_size": 8}, **PLAIN)
    in_parts = toy_run(train={"batch_size": 8, "accumulate": parts}, **PLAIN)
    # The same z, once as a whole and once in parts.
    z = torch.randn(8, 4)
    pieces = iter(z.chunk(parts))
    whole.sample_latent = lambda count, *others: z
    in_parts.sample_latent = lambda count, *others: next(pieces)
    train_step(whole, player)
    train_step(in_parts, player)
    for one, other in zip(whole.parameters[player], in_parts.parameters[player], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    for name, value in whole.values[player].items():
        torch.testing.assert_close(in_parts.values[player][name], value)
    assert in_parts.step_counts[player] == 1


def generator_tensors(run):
    return load_file(run.path / "generator.safetensors")


def test_output_settings_do_not_change_the_training(train_toy):
    quiet = {"log_every": 100, "sample_every": 100, "checkpoint_every": 100, "keep_checkpoints": 1, "sample_count": 2}
    busy = {"log_every": 1, "sample_every": 1, "checkpoint_every": 1, "keep_checkpoints": 2, "sample_count": 9}
    wander = {"wander": {"use": "Wander"}}
    assert same(
        generator_tensors(train_toy("quiet", output=quiet, tricks=wander)),
        generator_tensors(train_toy("busy", output=busy, tricks=wander)),
    )


def test_seed_and_precision_decide_the_result(train_toy):
    first, again, other = train_toy("a", seed=1), train_toy("b", seed=1), train_toy("c", seed=2)
    in_bf16 = generator_tensors(train_toy("d", seed=1, train={"precision": "bf16"}))
    assert first.generator == again.generator
    assert not same(generator_tensors(first), generator_tensors(other))
    assert not same(generator_tensors(first), in_bf16)
    assert all(t.dtype == torch.float32 for t in in_bf16.values() if t.is_floating_point())


def test_the_log_and_the_reporter(train_toy):
    run = train_toy(train={"discriminator_steps": 2}, output={"log_every": 4})
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert lines == run.reporter.rows
    assert [line["iteration"] for line in lines] == [4, 6]
    assert set(lines[0]) == {"iteration", "seconds", "images_per_second", "learning_rate", "loss", "gradient_norm"}
    assert set(lines[0]["loss"]["discriminator"]) == {"real", "fake"}
    assert lines[0]["learning_rate"] == {"generator": 0.01, "discriminator": 0.01}
    assert all(math.isfinite(v) for v in lines[1]["loss"]["generator"].values())
    assert run.reporter.trained_iterations == [1, 2, 3, 4, 5, 6]
    assert run.reporter.outcome.iterations == 6
    assert sorted(p.name for p in (run.path / "samples").iterdir()) == ["000003.png", "000006.png"]


def naive_norm(run, player):
    """Return the norm of the gradient of all parameters together, summed number by number."""
    numbers = [n for p in run.parameters[player] if p.grad is not None for n in p.grad.double().flatten().tolist()]
    return math.sqrt(sum(n * n for n in numbers))


class Norms(Plugin):
    """Record the norm of each step's gradient, and then multiply the gradient by `factor`."""

    name, factor = "norms", 1.0

    @hookimpl
    def on_start(self):
        self.norms = {}

    @hookimpl
    def after_backward(self, run, player):
        self.norms[run.iteration + 1, player] = naive_norm(run, player)
        for p in run.parameters[player]:
            if p.grad is not None:
                p.grad *= self.factor


class Clipping(Norms):
    name, factor = "clipping", 1e-3


@pytest.mark.parametrize("train", [{"discriminator_steps": 2, "accumulate": 4}, {"precision": "bf16"}])
@pytest.mark.parametrize("plugin", [Norms, Clipping])
def test_the_log_has_the_gradient_norms_of_the_last_steps_before_clipping(shelf, train_toy, train, plugin):
    """Encoders that one or both players train count too; a frozen parameter has no gradient."""
    tricks = {"Encode": {}, plugin.__name__: {}}
    shelf.add(plugin)
    run = train_toy(train=train | {"iterations": 5}, tricks=tricks, output={"log_every": 2})
    norms = run.run.plugins[f"tricks.{plugin.__name__}"].norms
    assert [row["iteration"] for row in run.reporter.rows] == [2, 4, 5]
    for row in run.reporter.rows:
        expected = {p: norms[row["iteration"], p] for p in ("generator", "discriminator")}
        assert row["gradient_norm"] == pytest.approx(expected, rel=1e-5)


def test_the_norm_is_that_of_the_gradient_averaged_over_ranks(shelf, toy_run):
    shelf.add(Norms)
    run = toy_run(tricks={"Norms": {}}, output={"log_every": 1})
    run.start()
    run.ranks = SimpleNamespace(size=2, mean_=lambda tensors: [tensor.mul_(0.5) for tensor in tensors])
    train_step(run, "discriminator")
    expected = run.plugins["tricks.Norms"].norms[1, "discriminator"]
    assert run.gradient_norms["discriminator"].item() == pytest.approx(expected, rel=1e-5)


def test_parameters_without_a_gradient_do_not_count(toy_run):
    run = toy_run()
    first, *others = run.parameters["generator"]
    record_gradient_norm(run, "generator")
    assert run.gradient_norms == {}
    first.grad = torch.full_like(first, 3.0)
    others[0].requires_grad_(False)
    with Waits() as waits:
        record_gradient_norm(run, "generator")
    assert waits.counts == {}
    assert run.gradient_norms["generator"].item() == pytest.approx(3.0 * math.sqrt(first.numel()))


def test_an_infinite_norm_and_a_player_without_a_step_are_left_out(shelf, toy_run):
    @shelf.add
    class OnlyD(Plugin):
        name = "only_d"

        @hookimpl
        def step_order(self):
            return ["discriminator"]

    run = toy_run(output={"log_every": 1}, tricks={"OnlyD": {}})
    run.gradient_norms["generator"] = torch.tensor(1.0)  # from an earlier iteration
    train_iteration(run)
    clock = Clock(run)
    assert set(clock.row()["gradient_norm"]) == {"discriminator"}
    run.gradient_norms["discriminator"] = torch.tensor(math.inf)
    assert "gradient_norm" not in clock.row()


def test_the_clock_counts_real_images_per_second(toy_run):
    run = toy_run(train={"discriminator_steps": 3, "batch_size": 8})
    times = iter([100.0, 102.0, 104.0])
    clock = Clock(run, lambda: next(times))
    train_iteration(run)
    assert clock.row()["images_per_second"] == 3 * 8 / 2
    row = clock.row()
    assert (row["images_per_second"], row["seconds"]) == (0.0, 4.0)


class Notes(Plugin):
    """Collect rows and grids, draw random numbers, and respond to a warning with another one."""

    name = "notes"

    def __init__(self, config):
        super().__init__(config)
        self.rows, self.grids = [], []

    @hookimpl
    def on_log(self, run, row):
        self.rows.append(row)
        if row.get("warning") == "half of the iterations are done":
            run.warn("a warning was logged")
        torch.rand(1), random.random()

    @hookimpl
    def on_grid(self, run, picture):
        self.grids.append((run.iteration, picture))
        torch.rand(1), random.random()

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 3:
            run.warn("half of the iterations are done")

    @hookimpl
    def compute_metrics(self, comparison):
        return {"constant": 1.0}

    @hookimpl
    def on_stop(self, run):
        run.warn("over")


def test_numbers_of_plugins_are_in_the_log_and_in_the_report(shelf, train_toy):
    @shelf.add
    class Level(Plugin):
        name = "level"

        @hookimpl
        def log_values(self, run):
            torch.rand(1)
            return {"no": math.inf, "level": torch.tensor(run.iteration / 4), "steps": run.step_counts["discriminator"]}

    plain = train_toy("plain")
    run = train_toy("logged", tricks={"a": {"use": "Level"}, "b": {"use": "Level"}})
    rows = [row for row in map(json.loads, (run.path / "log.jsonl").read_text().splitlines()) if "loss" in row]
    names = ["level", "steps", "tricks.b.level", "tricks.b.steps"]
    assert [list(row["values"]) for row in rows] == [names] * 3
    assert [row["values"]["level"] for row in rows] == [0.5, 1.0, 1.5]
    record = read_run(run.path)
    assert record.plugin_values["steps"] == [(2, 2.0), (4, 4.0), (6, 6.0)]
    text = page([record])
    assert all(name in text for name in names)
    assert '"values"' not in (plain.path / "log.jsonl").read_text()
    # The random number that a plugin draws for the log does not change the training.
    finals = [load_file(r.path / "generator.safetensors") for r in (plain, run)]
    assert same(*finals)


def test_plugins_get_every_row_and_every_grid(shelf, train_toy):
    shelf.add(Notes)
    run = train_toy(tricks=tricks(Notes), evaluation={"count": 4})
    notes = run.run.plugins["tricks.Notes"]
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    # Plugins may have closed their logs in `on_stop`, so its warnings are shown and written to log.jsonl only.
    assert lines[:-1] == notes.rows
    assert lines[-1] == {"iteration": 6, "warning": "over"}
    assert [(r["iteration"], *[k for k in ("loss", "metrics", "warning") if k in r]) for r in notes.rows] == [
        (2, "loss"),
        (3, "warning"),
        (4, "warning"),
        (4, "loss"),
        (6, "loss"),
        (6, "metrics"),
    ]
    assert run.reporter.warnings == ["half of the iterations are done", "a warning was logged", "over"]
    for iteration, picture in notes.grids:
        saved = Image.open(run.path / "samples" / f"{iteration:06d}.png")
        assert picture.convert("RGB").tobytes() == saved.convert("RGB").tobytes()
    assert [iteration for iteration, _ in notes.grids] == [3, 6]
    plain = train_toy("plain")
    newest = "checkpoints/000006"
    for file in ("generator", "discriminator", "random"):
        one, other = (r.path / newest / f"{file}.safetensors" for r in (run, plain))
        assert one.read_bytes() == other.read_bytes()


# How a run ends


def test_a_plugin_ends_the_run_with_a_reason(train_toy):
    run = train_toy(tricks={"stop": {"use": "Stopper", "iteration": 3}})
    assert run.reporter.outcome.stop_reason == "that is enough"
    assert run.reporter.outcome.iterations == 3
    assert not run.reporter.outcome.interrupted
    assert run.checkpoints[-1] == "000003"


@pytest.mark.parametrize(
    ("output", "first_step", "iteration", "checkpoints"),
    [
        ({"log_every": 1, "checkpoint_every": 2}, 3, 4, ["000002"]),
        ({"log_every": 100, "checkpoint_every": 2}, 2, 4, ["000002"]),
        ({"log_every": 100, "checkpoint_every": 100}, 0, 6, []),
    ],
)
def test_a_nan_loss_ends_the_run_before_it_is_saved(train_toy, tmp_path, output, first_step, iteration, checkpoints):
    with pytest.raises(GankitError) as error:
        train_toy(tricks={"nan": {"use": "NotANumber", "turn": first_step}}, output=output)
    assert error.value.exit_code == 1
    # Once the weights are NaN, so are the logits of D and all losses. All are named, in the order of the steps.
    later = r"the discriminator's (real|fake) is nan, and so is .*the generator's fool, the generator's broken\."
    first = r"the generator's broken is nan\." if first_step == iteration - 1 else later
    assert re.match(rf"iteration {iteration}: {first}", str(error.value))
    assert "Remedies that help most often" in str(error.value)
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(p.name for p in folder.glob("*")) == checkpoints
    for tensors in folder.glob("*/generator.safetensors"):
        assert all(t.isfinite().all() for t in load_file(tensors).values())
    assert (tmp_path / "run" / "generator.safetensors").exists() == bool(checkpoints)


def test_infinite_parameters_end_the_run(shelf, train_toy, tmp_path):
    @shelf.add
    class Blow(Plugin):
        name = "blow"

        @hookimpl
        def after_g_step(self, run):
            if run.iteration == 3:
                run.generator.paint.weight.data[0, 0] = math.inf

        @hookimpl
        def loss_terms(self, player):
            return ()

    message = r"iteration 4: the (generator's parameters are not finite|discriminator's fake is nan)"
    with pytest.raises(GankitError, match=message):
        train_toy(tricks=tricks(Blow))
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").glob("*")) == ["000002"]


# Synchronisation with the device


def test_waits_are_counted():
    mask = torch.ones(2, dtype=torch.bool)
    with Waits() as waits:
        torch.ones(1).item()
        bool(torch.ones(1))
        torch.ones(2)[mask]
        torch.tensor([0.5, 0.5])
    assert waits.counts == {"aten._local_scalar_dense": 2, "aten.index": 1, "aten.lift_fresh": 1}


def test_a_run_waits_only_for_output(train_toy, monkeypatch):
    waiting = {}

    def counted(run, *, real=train_iteration):
        with Waits() as waits:
            real(run)
        waiting[run.iteration] = dict(waits.counts)

    monkeypatch.setattr("gankit.training.loop.train_iteration", counted)
    train = {"discriminator_steps": 2, "class_balanced": True, "accumulate": 2}
    train_toy(train=train, lr_schedule={"use": "Halving"}, output={"log_every": 3})
    assert waiting == {n: {} for n in range(1, 7)}


class FakeRanks:
    """Ranks whose mean is the value of this rank."""

    def mean_(self, tensors):
        self.tensors = list(tensors)


def test_averaging_over_ranks_copies_nothing_from_python_if_all_parameters_have_gradients(toy_run):
    """A copy of a Python number to a GPU makes the CPU wait."""
    run = toy_run()
    for p in run.parameters["generator"]:
        p.grad = torch.ones_like(p)
    run.ranks = FakeRanks()
    with Waits() as waits:
        average_over_ranks(run, "generator", {})
    assert waits.counts == {}
    share = run.ranks.tensors[len(run.parameters["generator"])]
    assert share.tolist() == [1.0] * len(run.parameters["generator"])
    run.parameters["generator"][0].grad = None
    average_over_ranks(run, "generator", {})
    assert run.ranks.tensors[len(run.parameters["generator"])].tolist()[:2] == [0.0, 1.0]
    assert run.parameters["generator"][0].grad is None
