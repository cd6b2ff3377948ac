"""The loop: whose turn it is, who learns in it, from what, at which rate, and when it stops."""

import json
import math
import random
import re

import pytest
import torch
from waits import Waits
from PIL import Image
from safetensors.torch import load_file

from gankit import GankitError, LossTerm, Plugin, hookimpl
from gankit.training.loop import Clock
from gankit.training.update import average_over_ranks, due_terms, train_iteration, train_step

PLAIN = {
    "generator": {"dropout": 0.0},
    "normalization": {"generator": {"use": "AsItIs"}},
    "optimizer": {"generator": {"use": "Sgd"}, "discriminator": {"use": "Sgd"}},
}
"""No randomness but the draws, no coupling of the batch, gradients applied as they are."""


def tricks(*classes):
    return {c.__name__: {"use": c.__name__} for c in classes}


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Diary(Plugin):
    """Writes down whose turn it was and what each network looked like."""

    name = "diary"

    def __init__(self, config):
        super().__init__(config)
        self.turns, self.frozen, self.gradients = [], [], []

    @hookimpl
    def before_d_step(self, run, step):
        self.note("discriminator", run, step)

    @hookimpl
    def before_g_step(self, run, step):
        self.note("generator", run, step)

    def note(self, player, run, step):
        assert step.player == player
        assert step.fake.requires_grad == (player == "generator")
        self.turns.append(player)
        self.frozen.append([not p.requires_grad for p in run.discriminator.parameters()])

    @hookimpl
    def after_backward(self, run, player):
        self.gradients.append({p: [w.grad is not None for w in run.networks[p].parameters()] for p in run.networks})


@pytest.fixture
def diary(shelf, toy_game):
    shelf.add(Diary)

    def make(**changes):
        run = toy_game(tricks=tricks(Diary), **changes)
        return run, run.plugins["tricks.Diary"]

    return make


@pytest.mark.parametrize("ratio", [1, 3])
def test_turns_follow_the_ratio(diary, ratio):
    run, notes = diary(train={"discriminator_steps": ratio})
    train_iteration(run)
    train_iteration(run)
    assert notes.turns == (["discriminator"] * ratio + ["generator"]) * 2
    assert run.step_counts == {"discriminator": 2 * ratio, "generator": 2}
    assert run.iteration == 2


def test_a_plugin_may_choose_the_turns(shelf, toy_game):
    @shelf.add
    class Order(Plugin):
        name = "order"

        @hookimpl
        def step_order(self, run):
            return ["generator", "discriminator"] if run.iteration == 0 else None

    shelf.add(Diary)
    run = toy_game(train={"discriminator_steps": 2}, tricks=tricks(Diary, Order))
    train_iteration(run)
    train_iteration(run)
    assert run.plugins["tricks.Diary"].turns == [
        "generator",
        "discriminator",
        "discriminator",
        "discriminator",
        "generator",
    ]


def test_the_discriminator_is_frozen_in_the_generators_turn_and_not_after(diary):
    run, notes = diary()
    train_iteration(run)
    in_d, in_g = notes.frozen
    assert not any(in_d)
    assert all(in_g)
    assert all(p.requires_grad for p in run.discriminator.parameters())
    assert notes.gradients[0] == {"discriminator": [True] * 4, "generator": [False] * 6}
    assert notes.gradients[1] == {"discriminator": [False] * 4, "generator": [True] * 6}
    assert all(p.grad is None for network in run.networks.values() for p in network.parameters())


def test_what_somebody_froze_for_good_stays_frozen(shelf, toy_game):
    @shelf.add
    class Freeze(Plugin):
        name = "freeze"

        @hookimpl
        def wrap_network(self, player, network):
            if player == "discriminator":
                network.look.weight.requires_grad_(False)

    run = toy_game(tricks=tricks(Freeze))
    before = run.discriminator.look.weight.clone()
    train_iteration(run)
    train_iteration(run)
    assert not run.discriminator.look.weight.requires_grad
    assert torch.equal(run.discriminator.look.weight, before)


@pytest.mark.parametrize(("player", "other"), [("discriminator", "generator"), ("generator", "discriminator")])
def test_only_the_player_learns(toy_game, player, other):
    run = toy_game(**PLAIN)
    before = {p: state(n) for p, n in run.networks.items()}
    train_step(run, player)
    assert not same(before[player], state(run.networks[player]))
    assert same(before[other], state(run.networks[other]))


def test_one_backward_pass_for_each_turn(toy_game, monkeypatch):
    passes = []
    whole = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda self, *a, **k: passes.append(1) or whole(self, *a, **k))
    run = toy_game(train={"discriminator_steps": 3})
    train_iteration(run)
    assert len(passes) == 4


def test_the_step_is_what_the_gradient_of_the_terms_says(shelf, toy_game):
    """One turn of D by hand: weights, minus the rate times the gradient of the weighted sum of all terms."""

    @shelf.add
    class Pull(Plugin):
        name = "pull"

        @hookimpl
        def loss_terms(self, player, run):
            if player == "discriminator":
                yield LossTerm("pull", lambda step: run.discriminator.head.weight.square().sum(), weight=3.0)

    run = toy_game(tricks=tricks(Pull), **PLAIN)
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


def test_lazy_terms_count_for_the_turns_they_leave_out():
    plain, lazy = LossTerm("plain", abs), LossTerm("lazy", abs, weight=0.5, every=4)
    acting = [[(t.name, t.weight) for t in due_terms([plain, lazy], turn, 1)] for turn in range(9)]
    assert acting == [[("plain", 1.0), ("lazy", 2.0)] if n % 4 == 0 else [("plain", 1.0)] for n in range(9)]
    assert [t.weight for t in due_terms([plain, lazy], 0, parts=2)] == [0.5, 1.0]


def test_a_lazy_term_acts_on_every_so_many_of_its_players_turns(shelf, toy_game):
    asked = []

    @shelf.add
    class Lazy(Plugin):
        name = "lazy"

        @hookimpl
        def loss_terms(self, player, run):
            yield LossTerm(
                "lazy", lambda step: asked.append((player, run.step_counts[player])) or step.fake.sum() * 0, every=3
            )

    run = toy_game(tricks=tricks(Lazy), train={"discriminator_steps": 2})
    for _ in range(4):
        train_iteration(run)
    assert [turn for player, turn in asked if player == "discriminator"] == [0, 3, 6]
    assert [turn for player, turn in asked if player == "generator"] == [0, 3]


def test_terms_of_one_name_all_count(shelf, toy_game):
    class Twice(Plugin):
        name = "twice"

        @hookimpl
        def loss_terms(self, player, run):
            for number in range(3):
                yield LossTerm("same", lambda step, n=number: step.fake.sum() * 0 + n)

    shelf.add(Twice)
    run = toy_game(tricks={"a": {"use": "Twice"}, "b": {"use": "Twice"}})
    train_iteration(run)
    values = run.values["generator"]
    assert sorted(v.item() for name, v in values.items() if "same" in name) == [0, 0, 1, 1, 2, 2]
    assert "same" in values
    assert "tricks.b.same" in values


def test_schedules_multiply_and_only_scale(shelf, toy_game):
    @shelf.add
    class WarmUp(Plugin):
        name = "warm_up"

        @hookimpl
        def lr_schedule(self, player):
            return (lambda t: (t + 1) / 10) if player == "generator" else None

    run = toy_game(
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
def test_accumulation_equals_the_large_batch(toy_game, parts, player):
    whole = toy_game(train={"batch_size": 8}, **PLAIN)
    in_parts = toy_game(train={"batch_size": 8, "accumulate": parts}, **PLAIN)
    # The same z, drawn at once and in parts.
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


def test_what_is_written_does_not_change_what_is_learnt(play):
    quiet = {"log_every": 100, "sample_every": 100, "checkpoint_every": 100, "keep_checkpoints": 1, "sample_count": 2}
    busy = {"log_every": 1, "sample_every": 1, "checkpoint_every": 1, "keep_checkpoints": 2, "sample_count": 9}
    wander = {"wander": {"use": "Wander"}}
    assert same(
        generator_tensors(play("quiet", output=quiet, tricks=wander)),
        generator_tensors(play("busy", output=busy, tricks=wander)),
    )


def test_the_seed_decides(play):
    first, again, other = play("a", seed=1), play("b", seed=1), play("c", seed=2)
    assert first.generator == again.generator
    assert not same(generator_tensors(first), generator_tensors(other))


def test_bf16_trains(play):
    run = play(train={"precision": "bf16"})
    tensors = generator_tensors(run)
    assert all(t.dtype == torch.float32 for t in tensors.values() if t.is_floating_point())
    assert all(t.isfinite().all() for t in tensors.values())
    assert not same(tensors, generator_tensors(play("fp32")))


def test_the_log_says_how_it_went(play):
    run = play(train={"discriminator_steps": 2}, output={"log_every": 4})
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert lines == run.told.rows
    assert [line["iteration"] for line in lines] == [4, 6]
    assert set(lines[0]) == {"iteration", "seconds", "images_per_second", "learning_rate", "loss"}
    assert set(lines[0]["loss"]["discriminator"]) == {"real", "fake"}
    assert lines[0]["learning_rate"] == {"generator": 0.01, "discriminator": 0.01}
    assert all(math.isfinite(v) for v in lines[1]["loss"]["generator"].values())
    assert run.told.played_iterations == [1, 2, 3, 4, 5, 6]
    assert run.told.outcome.iterations == 6
    assert sorted(p.name for p in (run.path / "samples").iterdir()) == ["000003.png", "000006.png"]


def test_the_clock_counts_the_real_images_shown(toy_game):
    run = toy_game(train={"discriminator_steps": 3, "batch_size": 8})
    times = iter([100.0, 102.0, 104.0])
    clock = Clock(run, lambda: next(times))
    train_iteration(run)
    assert clock.row()["images_per_second"] == 3 * 8 / 2
    row = clock.row()
    assert (row["images_per_second"], row["seconds"]) == (0.0, 4.0)


class Notes(Plugin):
    """Keeps what is logged, draws at random meanwhile, and has something to say about every piece of advice, once."""

    name = "notes"

    def __init__(self, config):
        super().__init__(config)
        self.rows, self.grids = [], []

    @hookimpl
    def on_log(self, run, row):
        self.rows.append(row)
        if row.get("warning") == "half of it is played":
            run.warn("heard")
        torch.rand(1), random.random()

    @hookimpl
    def on_grid(self, run, picture):
        self.grids.append((run.iteration, picture))
        torch.rand(1), random.random()

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 3:
            run.warn("half of it is played")

    @hookimpl
    def evaluate(self, run):
        return {"iteration": float(run.iteration)}

    @hookimpl
    def on_stop(self, run):
        run.warn("over")


def test_plugins_are_told_every_row_and_every_grid(shelf, play):
    shelf.add(Notes)
    run = play(tricks=tricks(Notes))
    notes = run.run.plugins["tricks.Notes"]
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    # What is said when all is over is for the user and log.jsonl: whoever keeps a log may have closed it.
    assert lines[:-1] == notes.rows
    assert lines[-1] == {"iteration": 6, "warning": "over"}
    assert [(r["iteration"], *[k for k in ("loss", "metrics", "warning") if k in r]) for r in notes.rows] == [
        (2, "loss"),
        (3, "warning"),
        (3, "metrics"),
        (4, "warning"),
        (4, "loss"),
        (6, "loss"),
        (6, "metrics"),
    ]
    assert run.told.advice == ["half of it is played", "heard", "over"]
    for iteration, picture in notes.grids:
        saved = Image.open(run.path / "samples" / f"{iteration:06d}.png")
        assert picture.convert("RGB").tobytes() == saved.convert("RGB").tobytes()
    assert [iteration for iteration, _ in notes.grids] == [3, 6]
    plain = play("plain")
    newest = "checkpoints/000006"
    for file in ("generator", "discriminator", "random"):
        assert (run.path / newest / f"{file}.safetensors").read_bytes() == (
            plain.path / newest / f"{file}.safetensors"
        ).read_bytes()


# How a run ends


def test_a_plugin_ends_the_run_and_says_why(play):
    run = play(tricks={"stop": {"use": "Stopper", "iteration": 3}})
    assert run.told.outcome.stop_reason == "that is enough"
    assert run.told.outcome.iterations == 3
    assert not run.told.outcome.interrupted
    assert run.checkpoints[-1] == "000003"


@pytest.mark.parametrize(
    ("output", "turn", "iteration", "kept"),
    [
        ({"log_every": 1, "checkpoint_every": 2}, 3, 4, ["000002"]),
        ({"log_every": 100, "checkpoint_every": 2}, 2, 4, ["000002"]),
        ({"log_every": 100, "checkpoint_every": 100}, 0, 6, []),
    ],
)
def test_a_loss_that_is_nan_ends_the_run_before_it_is_saved(play, tmp_path, output, turn, iteration, kept):
    with pytest.raises(GankitError) as error:
        play(tricks={"nan": {"use": "NotANumber", "turn": turn}}, output=output)
    assert error.value.exit_code == 1
    # Once the weights are NaN, so is D's answer, and then every loss: all are named, in the order of play.
    later = r"the discriminator's (real|fake) is nan, and with it .*the generator's fool, the generator's broken\."
    first = r"the generator's broken is nan\." if turn == iteration - 1 else later
    assert re.match(rf"iteration {iteration}: {first}", str(error.value))
    assert "What helps most often" in str(error.value)
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(p.name for p in folder.glob("*")) == kept
    for tensors in folder.glob("*/generator.safetensors"):
        assert all(t.isfinite().all() for t in load_file(tensors).values())
    assert (tmp_path / "run" / "generator.safetensors").exists() == bool(kept)


def test_parameters_that_are_no_longer_finite_end_the_run_too(shelf, play, tmp_path):
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

    with pytest.raises(
        GankitError, match=r"iteration 4: the (generator's parameters are no longer finite|discriminator's fake is nan)"
    ):
        play(tricks=tricks(Blow))
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").glob("*")) == ["000002"]


# Waiting for the device


def test_an_iteration_waits_for_nothing(toy_game):
    run = toy_game(
        train={"discriminator_steps": 2, "class_balanced": True, "accumulate": 2},
        lr_schedule={"use": "Halving"},
    )
    train_iteration(run)
    with Waits() as waits:
        for _ in range(3):
            train_iteration(run)
            run.after_iteration(run)
    assert waits.counts == {}


def test_the_counting_of_waits_works():
    mask = torch.ones(2, dtype=torch.bool)
    with Waits() as waits:
        torch.ones(1).item()
        bool(torch.ones(1))
        torch.ones(2)[mask]
        torch.tensor([0.5, 0.5])
    assert waits.counts == {"aten._local_scalar_dense": 2, "aten.index": 1, "aten.lift_fresh": 1}


def test_a_run_waits_only_where_something_is_written(play, monkeypatch):
    waiting = {}

    def noted(run, *, real=train_iteration):
        with Waits() as waits:
            real(run)
        waiting[run.iteration] = dict(waits.counts)

    monkeypatch.setattr("gankit.training.loop.train_iteration", noted)
    play(output={"log_every": 3})
    assert waiting == {n: {} for n in range(1, 7)}


class Alone:
    """Stands in for ranks that meet: what one has is the mean."""

    def mean_(self, tensors):
        self.tensors = list(tensors)


def test_what_ranks_share_is_not_copied_out_of_python_when_every_parameter_has_a_gradient(toy_game):
    """A number that is copied to a GPU makes the CPU wait for it."""

    run = toy_game()
    for p in run.parameters["generator"]:
        p.grad = torch.ones_like(p)
    run.ranks = Alone()
    with Waits() as waits:
        average_over_ranks(run, "generator", {})
    assert waits.counts == {}
    known = run.ranks.tensors[len(run.parameters["generator"])]
    assert known.tolist() == [1.0] * len(run.parameters["generator"])
    run.parameters["generator"][0].grad = None
    average_over_ranks(run, "generator", {})
    assert run.ranks.tensors[len(run.parameters["generator"])].tolist()[:2] == [0.0, 1.0]
    assert run.parameters["generator"][0].grad is None
