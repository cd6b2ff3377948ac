"""Ranks of test_ranks.py: each is a process that is forked from a server with torch imported."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # torch imports it with the first optimiser
from torch import Tensor, nn

import gankit.cli
import gankit.cli.resume
import gankit.cli.run
import gankit.runtime.ranks
from gankit import GankitError, InputError
from gankit.plugin.registry import Registry
from gankit.plugin.slots import PLAYERS, TRICK_KINDS
from gankit.recipe.recipe import Recipe
from gankit.runtime.ranks import ALONE, Ranks, current_ranks
from gankit.runtime.sync_batch_norm import SharedBatchNorm
from gankit.storage.atomic_io import tensors_to_bytes
from gankit.testing.harness import tiny_recipe
from gankit.training.assembly import assemble
from gankit.training.launch import start
from gankit.training.reporter import Reporter
from gankit.training.run import TrainingRun
from gankit.training.state import capture
from gankit.training.update import train_iteration

TOYS = Path(__file__).parents[1] / "toys.py"
BATCH = 8
ITERATIONS = 2
SGD = {player: {"use": "sgd", "lr": 0.05} for player in PLAYERS}
"""SGD, because Adam amplifies rounding differences."""

OTHERS: dict[str, dict[str, Any]] = {
    "unrolled_discriminator": {"steps": 2},
    "gradient_norm_clipping": {"norm": 0.01},
    "instance_noise": {"sigma": 0.3},
    "packing": {},
    "feature_matching": {},
    "relativistic": {},
    "relativistic_average": {},
    "spectral_norm": {},
    "dragan": {"spread": 50.0},
}
"""Plugins besides losses and penalties whose result with several ranks must equal that of one, with settings."""

STYLEGAN2: dict[str, Any] = {
    "use": "stylegan2",
    "w_size": 4,
    "mapping_layers": 2,
    "channel_base": 16,
    "max_channels": 4,
}
"""Generator with a mapping network, which some plugins need."""

PARTNERS: dict[str, dict[str, Any]] = {
    "began": {"discriminator": {"use": "began", "width": 2, "code": 4}},
    "ebgan": {"discriminator": {"use": "ebgan", "width": 2, "halvings": 2}},
    **{name: {"generator": STYLEGAN2} for name in ("path_length", "style_mixing")},
    "auxiliary_classifier": {"data": {"classes": 2}, "discriminator": {"use": "dcgan", "width": 2}},
    "projection": {"data": {"classes": 2}},
    "progressive_growing": {player: {"use": "pggan", "width": 2, "max_width": 3} for player in PLAYERS},
    "skip_layer_excitation": {"generator": {"use": "igan", "channels": 2}},
    **{
        name: {"data": {"condition": "image"}, "generator": {"use": "pix2pix", "width": 4}}
        for name in ("cycle_consistency", "l1_to_target")
    },
    "training_by_sampling": {
        "data": {"use": "drawn_table", "count": 60},
        **{player: {"use": "ctgan", "hidden": [4]} for player in PLAYERS},
    },
    "semi_supervised": {
        "data": {
            "use": "few_labels",
            "labels": 4,
            "images": {"use": "shapes", "count": 40, "resolution": 8, "kinds": ["circle", "ring"]},
        },
    },
    "phase_shuffle": {
        "data": {"use": "tones", "count": 40, "length": 256},
        **{player: {"use": "wavegan", "width": 2} for player in PLAYERS},
    },
    "mismatched_pairs": {
        "data": {"classes": 2},
        "generator": {"use": "stackgan", "width": 1, "text_size": 2, "condition_size": 2},
        "discriminator": {"use": "stackgan", "width": 2, "text_size": 2, "compressed_size": 2},
    },
}
"""Other parts of the recipe that a loss or a trick needs."""

EAGER: dict[str, dict[str, Any]] = {
    "balanced_steps": {"low": 0.5, "high": 0.51},
    "ada": {"initial": 0.5, "every": 1},
    "training_monitor": {"every": 1, "loss_threshold": 100.0, "diversity_threshold": 0.99},
    "collapse_guard": {"every": 1, "threshold": 100.0, "patience": 2},
    "experience_replay": {"capacity": 16},
    "minibatch_discrimination": {"kernels": 3, "dims": 2},
    "unrolled_discriminator": {"steps": 2},
    "progressive_growing": {"stable": 1, "fade": 2},
    "freeze_d": {"layers": 1},
    "uncertainty_weights": {player: ["adversarial"] for player in PLAYERS},
}
"""Settings with which a plugin acts within a few iterations."""

NEED_MORE = ("tensorboard", "wandb", "mlflow", "trackio", "random_caption", "federated")
"""Plugins that need an optional package, or images with several captions."""


def become(rank: int, size: int, port: int, output: str) -> None:
    """Make this process a rank, and write its output into a file."""
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    torch.set_num_threads(1)
    gankit.runtime.ranks.RESPONSE_SECONDS = 2.0
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)


def command_line(
    rank: int, size: int, port: int, output: str, arguments: list[str], folders: list[str] | None = None
) -> None:
    """Run the command line as a rank. With `folders`, each rank has its own machine and working folder."""
    become(rank, size, port, output)
    if folders is not None:
        os.environ |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        os.chdir(folders[rank])
    sys.argv = ["gankit", *arguments]
    gankit.cli.main(arguments)


def comparison(rank: int, size: int, port: int, output: str, plugins: bool) -> None:
    """Compare several ranks with a single process, and print a line for each comparison.

    Args:
        plugins: whether to compare all plugins too.
    """
    become(rank, size, port, output)
    ranks = current_ranks()
    check_communication(ranks)
    check_shared_batch_norm(ranks)
    if plugins:
        for name, recipe in recipes().items():
            check_equals_one_rank(name, recipe, ranks)
        check_equal_on_all_ranks(ranks)
    check_running_statistics(ranks)
    check_shared_failure(ranks)


def recipes() -> dict[str, Recipe]:
    """Return a tiny recipe with each loss, each penalty and some other plugins, without layers that couple a batch."""
    plain = {
        "train": {"batch_size": BATCH},
        "normalization": {"generator": {"use": "tiny_none"}},
        "optimizer": SGD,
    }
    recipes = {}
    for entry in Registry.installed().entries:
        if entry.distribution == "gankit" and (entry.kind in ("loss", "penalty") or entry.name in OTHERS):
            parts = {entry.load(): OTHERS.get(entry.name, {})}
            partner = PARTNERS.get(entry.name, {}) if entry.kind in ("loss", "penalty") else {}
            recipes[entry.name] = tiny_recipe(parts, plain | partner)
    patches = {"discriminator": {"use": f"{TOYS}:Patches"}, "tricks": {"shade": {"use": f"{TOYS}:Shade"}}}
    encode = {"tricks": {"encode": {"use": f"{TOYS}:Encode"}}}
    for kind in ("vector", "tokens", "image"):
        recipes[f"condition {kind}"] = tiny_recipe({}, plain | {"data": {"condition": kind}})
    return recipes | {"patches": tiny_recipe({}, plain | patches), "encode": tiny_recipe({}, plain | encode)}


@contextmanager
def same_random_numbers(ranks: Ranks) -> Iterator[None]:
    """Draw random numbers for the whole batch and give each rank its slice, so that they equal those of one rank."""
    source = torch.Generator().manual_seed(1)
    names = ("rand", "randn")

    def slice_of_batch(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def draw_slice(*shape: Any, **options: Any) -> Tensor:
            first, *others = shape[0] if isinstance(shape[0], tuple | torch.Size) else shape
            options_left = {name: value for name, value in options.items() if name not in ("generator", "device")}
            whole = draw(first * ranks.size, *others, generator=source, **options_left)
            return whole.chunk(ranks.size)[ranks.rank].clone()

        return draw_slice

    before = {name: getattr(torch, name) for name in (*names, "rand_like", "randn_like")}
    for name in names:
        replacement = slice_of_batch(before[name])
        setattr(torch, name, replacement)
        setattr(torch, f"{name}_like", lambda x, replacement=replacement: replacement(*x.shape))
    try:
        yield
    finally:
        for name, draw in before.items():
            setattr(torch, name, draw)


def trained(recipe: Recipe, ranks: Ranks, iterations: int = ITERATIONS) -> tuple[TrainingRun, dict[str, Tensor]]:
    """Return a run after some iterations, and all gradients and loss values of its steps."""
    run = assemble(recipe, ranks=ranks)
    run.load_data()
    run.start()
    results: dict[str, Tensor] = {}

    def record(run: TrainingRun, step: Any, player: Any) -> None:
        step_name = f"{player} {run.step_counts[player]}"
        names = {id(p): f"{part} {n}" for part, network in run.networks.items() for n, p in network.named_parameters()}
        for p in run.parameters[player]:
            results[f"{step_name} gradient {names[id(p)]}"] = torch.zeros(()) if p.grad is None else p.grad.clone()
        after_backward(run, step, player)

    after_backward, run.after_backward = run.after_backward, record
    with same_random_numbers(ranks):
        for _ in range(iterations):
            train_iteration(run)
            for player in PLAYERS:
                results |= {f"{player} {run.iteration} value {name}": v for name, v in run.values[player].items()}
    return run, results


def check_equals_one_rank(name: str, recipe: Recipe, ranks: Ranks) -> None:
    (_, expected), (_, actual) = trained(recipe, ALONE), trained(recipe, ranks)
    assert actual.keys() == expected.keys()
    for what, value in expected.items():
        difference = (actual[what] - value).abs().max().item()
        assert difference <= 2e-5 * max(1.0, value.abs().max().item()), f"{name}: {what} differs by {difference}"
    assert any(value.abs().max() > 0 for what, value in expected.items() if "gradient" in what)
    print(f"equals one rank: {name}", flush=True)


def check_equal_on_all_ranks(ranks: Ranks) -> None:
    """Check that the shared state stays equal on all ranks with every trick, though their random numbers differ."""
    for entry in Registry.installed().entries:
        if entry.distribution != "gankit" or entry.kind not in TRICK_KINDS or entry.name in NEED_MORE:
            continue
        changes = {"train": {"batch_size": BATCH}} | PARTNERS.get(entry.name, {})
        run = assemble(tiny_recipe({entry.load(): EAGER.get(entry.name, {})}, changes), ranks=ranks)
        run.load_data()
        run.start()
        for _ in range(ITERATIONS):
            train_iteration(run)
            run.after_iteration(run)
        digests = ranks.all_gather(shared_state_digest(run))
        assert len(set(digests)) == 1, f"{entry.name}: {digests}"
        draws = ranks.all_gather(str(torch.rand(()).item()))
        assert len(set(draws)) == ranks.size, f"{entry.name}: the ranks' random numbers are the same"
        print(f"equal on all ranks: {entry.name}", flush=True)


def shared_state_digest(run: TrainingRun) -> str:
    tensors, values = capture(run)
    del tensors["random.safetensors"], values["python_random"], values["numpy_random"]
    own = tuple(f"{key}/" for key, plugin in run.plugins.items() if plugin.state_scope != "shared")
    plugin_tensors = tensors.pop("plugins.safetensors")
    tensors["plugins"] = {name: value for name, value in plugin_tensors.items() if not name.startswith(own or ("-",))}
    text = json.dumps(
        [values, run.pending_warnings, {p: {n: v.item() for n, v in run.values[p].items()} for p in PLAYERS}]
    )
    return hashlib.sha256(b"".join(map(tensors_to_bytes, tensors.values())) + text.encode()).hexdigest()


def check_communication(ranks: Ranks) -> None:
    r, n = ranks.rank, ranks.size
    assert ranks.any(r == n - 1)
    assert not ranks.any(False)
    assert ranks.all_gather("x" * r) == ["x" * k for k in range(n)]
    assert ranks.gather(bytes([r]) * r) == ([bytes([k]) * k for k in range(n)] if r == 0 else [])
    own = [torch.full((2, 3), float(r)), torch.tensor(float(2 * r))]
    ranks.mean_(own)
    assert own[0].eq((n - 1) / 2).all()
    assert own[1] == n - 1
    first = torch.full((3,), float(r))
    ranks.broadcast_([first])
    assert first.eq(0).all()
    order = []
    assert ranks.run_on_all_ranks(lambda: order.append(1) or r) == r
    for who, error in (("first", InputError), ("last", GankitError)):
        try:
            ranks.run_on_all_ranks(lambda who=who: fail_as(who, ranks))
        except error as raised:
            assert str(raised) == ("a mistake" if who == "first" else f"rank {n - 1}: a mistake"), raised
        else:
            raise AssertionError(who)
    print("communication", flush=True)


def fail_as(who: str, ranks: Ranks) -> None:
    if who == "first" or ranks.rank == ranks.size - 1:
        raise InputError("a mistake")


def check_shared_batch_norm(ranks: Ranks) -> None:
    """Compare output, gradient and second gradient with torch's batch norm over the whole batch."""
    for shape in ((BATCH, 3, 4, 4), (BATCH, 3)):
        torch.manual_seed(0)
        whole, factor = torch.randn(shape).double() * 3 + 5, torch.randn(shape).double()
        reference = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3).double()
        nn.init.normal_(reference.weight)
        shared = SharedBatchNorm((nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3).double(), ranks.size)
        shared.load_state_dict(reference.state_dict())
        own = [x.chunk(ranks.size)[ranks.rank] for x in (whole, factor)]
        expected, actual = gradients_of(reference, whole, factor), gradients_of(shared, *own)
        for name, value in expected.items():
            if name.startswith("image"):
                assert torch.allclose(actual[name], value.chunk(ranks.size)[ranks.rank], atol=1e-9), name
            else:
                # Each rank has a part of the sum.
                total = ranks.mean(actual[name]) * ranks.size
                assert torch.allclose(total, value, atol=1e-9), name
        for name, state in reference.state_dict().items():
            assert torch.allclose(shared.state_dict()[name], state), name
        reference.eval(), shared.eval()
        assert torch.equal(shared(own[0]), reference(own[0]))
    print("batch norm", flush=True)


def gradients_of(layer: nn.Module, x: Tensor, factor: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    (gradient,) = torch.autograd.grad((y * factor).sum() + y.pow(3).sum(), x, create_graph=True)
    weight_gradient, image_gradient = torch.autograd.grad(gradient.square().sum(), [layer.weight, x])
    return {"image y": y, "image gradient": gradient, "image second": image_gradient, "weight second": weight_gradient}


def check_running_statistics(ranks: Ranks) -> None:
    """Check that the running statistics of batch norm are equal on all ranks, synchronised or not."""
    for synced in (False, True):
        recipe = tiny_recipe({}, {"train": {"batch_size": BATCH, "sync_batch_norm": synced}, "optimizer": SGD})
        run, actual = trained(recipe, ranks)
        own = torch.cat([b.flatten().double() for b in run.generator.buffers()])
        assert torch.equal(ranks.mean(own), own)
        if synced:
            alone, expected = trained(recipe, ALONE)
            assert all(torch.allclose(actual[name], expected[name], atol=1e-5) for name in expected)
            for name, state in alone.generator.state_dict().items():
                assert torch.allclose(run.generator.state_dict()[name].float(), state.float(), atol=1e-5), name
    print("statistics", flush=True)


def check_shared_failure(ranks: Ranks) -> None:
    """Check that a NaN ends all ranks and that the first one reports it. Afterwards they are disconnected."""
    rates = {player: {"use": "sgd", "lr": 1e30} for player in PLAYERS}
    recipe = tiny_recipe({}, {"train": {"batch_size": BATCH}, "optimizer": rates})
    out = None if ranks.rank else os.path.abspath(f"{os.environ['MASTER_PORT']}-broken")
    try:
        start(recipe, out, Reporter())
    except GankitError as error:
        assert "discriminator's" in str(error) or "generator's" in str(error), error
        assert error.rank == 0
        print("failed", flush=True)
    try:
        start(recipe, None, Reporter())
    except GankitError as error:
        assert "start torchrun again" in str(error), error
        print("disconnected", flush=True)
