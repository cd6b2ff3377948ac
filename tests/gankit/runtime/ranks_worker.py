"""What the processes of test_ranks.py do: each is a rank, forked from a server that has imported torch already."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch._dynamo  # which torch's optimisers import for themselves, once they are made
from torch import Tensor, nn

import gankit.cli
import gankit.cli.resume
import gankit.cli.run
import gankit.runtime.ranks
from gankit import GankitError, InputError
from gankit.plugin.registry import Registry
from gankit.plugin.slots import PLAYERS
from gankit.recipe.recipe import Recipe
from gankit.runtime.ranks import ALONE, Ranks, current_ranks
from gankit.runtime.sync_batch_norm import SharedBatchNorm
from gankit.storage.atomic_io import tensors_to_bytes
from gankit.testing.harness import tiny_recipe
from gankit.training.assembly import assemble
from gankit.training.launch import start
from gankit.training.run import TrainingRun
from gankit.training.state import capture
from gankit.training.update import train_iteration

BATCH = 8
ROUNDS = 2
SGD = {player: {"use": "sgd", "lr": 0.05} for player in PLAYERS}
"""Adam would make much of what differs in the last digits."""

SIDES = ("losses", "penalties")
"""Folders of plugins of which each must do with several ranks what it does with one."""

FURTHER: dict[str, dict[str, Any]] = {
    "unrolled_discriminator": {"steps": 2},
    "gradient_norm_clipping": {"norm": 0.01},
    "instance_noise": {"sigma": 0.3},
    "packing": {},
    "spectral_norm": {},
    "dragan": {"spread": 50.0},
}
"""Other plugins that meet the ranks' averages in a place of their own, and settings that make all of it count."""


EAGER: dict[str, dict[str, Any]] = {
    "balanced_steps": {"low": 0.5, "high": 0.51},
    "ada": {"initial": 0.5, "every": 1},
    "training_monitor": {"every": 1, "sure": 100.0, "alike": 0.99},
    "collapse_guard": {"every": 1, "threshold": 100.0, "patience": 2},
    "experience_replay": {"capacity": 16},
    "minibatch_discrimination": {"kernels": 3, "dims": 2},
    "unrolled_discriminator": {"steps": 2},
}
"""Settings with which a trick acts within a few iterations."""

NEED_AN_EXTRA = ("tensorboard", "wandb", "mlflow")


def become(rank: int, size: int, port: int, said: str) -> None:
    """This process is a rank from now on, and writes all that it says into a file."""
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    torch.set_num_threads(1)
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)


def command_line(rank: int, size: int, port: int, said: str, arguments: list[str]) -> None:
    become(rank, size, port, said)
    sys.argv = ["gankit", *arguments]
    gankit.cli.main(arguments)


def on_machines(rank: int, size: int, port: int, said: str, folders: list[str], arguments: list[str]) -> None:
    """The command line of a rank that is alone on its machine, which has a disk of its own."""
    become(rank, size, port, said)
    os.environ |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    os.chdir(folders[rank])
    sys.argv = ["gankit", *arguments]
    gankit.cli.main(arguments)


def comparison(rank: int, size: int, port: int, said: str) -> None:
    """All that is compared with what a single process does; prints a line for each thing compared."""
    become(rank, size, port, said)
    ranks = current_ranks()
    check_what_ranks_tell_one_another(ranks)
    check_shared_batch_norm(ranks)
    for name, recipe in recipes().items():
        check_same(name, recipe, ranks)
    check_the_same_everywhere(ranks)
    check_running_statistics(ranks)
    check_a_breakdown(ranks)


def recipes() -> dict[str, Recipe]:
    """A tiny game with each loss, each penalty and some more, no layer of which couples the images of a batch."""
    plain = {
        "train": {"batch_size": BATCH},
        "normalization": {"generator": {"use": "tiny_none"}},
        "optimizer": SGD,
    }
    made = {}
    for entry in Registry.installed().entries:
        folder = entry.value.split(".")[1]
        if entry.distribution == "gankit" and (folder in SIDES or entry.name in FURTHER):
            settings = FURTHER.get(entry.name, {})
            made[entry.name] = tiny_recipe({entry.load(): settings}, plain)
    return made


@contextmanager
def drawing_alike(ranks: Ranks) -> Iterator[None]:
    """Random numbers are of the whole batch, of which each rank takes its slice: one rank draws what several do."""
    source = torch.Generator().manual_seed(1)
    drawing = ("rand", "randn")

    def of_whole(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def drawn(*shape: Any, **options: Any) -> Tensor:
            first, *others = shape[0] if isinstance(shape[0], tuple | torch.Size) else shape
            kept = {name: value for name, value in options.items() if name not in ("generator", "device")}
            whole = draw(first * ranks.size, *others, generator=source, **kept)
            return whole.chunk(ranks.size)[ranks.rank].clone()

        return drawn

    before = {name: getattr(torch, name) for name in (*drawing, "rand_like", "randn_like")}
    for name in drawing:
        instead = of_whole(before[name])
        setattr(torch, name, instead)
        setattr(torch, f"{name}_like", lambda x, instead=instead: instead(*x.shape))
    try:
        yield
    finally:
        for name, draw in before.items():
            setattr(torch, name, draw)


def played(recipe: Recipe, ranks: Ranks, rounds: int = ROUNDS) -> tuple[TrainingRun, dict[str, Tensor]]:
    """A game after some iterations, and all gradients and values that its turns have come to."""
    run = assemble(recipe, ranks=ranks)
    run.load_data()
    run.start()
    found: dict[str, Tensor] = {}

    def noted(run: TrainingRun, step: Any, player: Any) -> None:
        turn = f"{player} {run.step_counts[player]}"
        names = [name for name, p in run.networks[player].named_parameters() if p.requires_grad]
        for name, p in zip(names, run.parameters[player], strict=True):
            found[f"{turn} gradient {name}"] = torch.zeros(()) if p.grad is None else p.grad.clone()
        after_backward(run, step, player)

    after_backward, run.after_backward = run.after_backward, noted
    with drawing_alike(ranks):
        for _ in range(rounds):
            train_iteration(run)
            for player in PLAYERS:
                found |= {f"{player} {run.iteration} value {name}": v for name, v in run.values[player].items()}
    return run, found


def check_same(name: str, recipe: Recipe, ranks: Ranks) -> None:
    (_, wanted), (_, found) = played(recipe, ALONE), played(recipe, ranks)
    assert found.keys() == wanted.keys()
    for what, value in wanted.items():
        far = (found[what] - value).abs().max().item()
        assert far <= 2e-5 * max(1.0, value.abs().max().item()), f"{name}: {what} is {far} off"
    assert any(value.abs().max() > 0 for what, value in wanted.items() if "gradient" in what)
    print(f"alike: {name}", flush=True)


def check_the_same_everywhere(ranks: Ranks) -> None:
    """Under every trick, with random numbers of each rank's own, all that is shared stays the same to the byte."""
    for entry in Registry.installed().entries:
        if entry.distribution != "gankit" or entry.kind != "trick" or entry.name in NEED_AN_EXTRA:
            continue
        run = assemble(
            tiny_recipe({entry.load(): EAGER.get(entry.name, {})}, {"train": {"batch_size": BATCH}}), ranks=ranks
        )
        run.load_data()
        run.start()
        for _ in range(ROUNDS):
            train_iteration(run)
            run.after_iteration(run)
        seen = ranks.all_gather(digest_of_shared(run))
        assert len(set(seen)) == 1, f"{entry.name}: {seen}"
        draws = ranks.all_gather(str(torch.rand(()).item()))
        assert len(set(draws)) == ranks.size, f"{entry.name}: the ranks' random numbers are the same"
        print(f"the same: {entry.name}", flush=True)


def digest_of_shared(run: TrainingRun) -> str:
    tensors, plain = capture(run)
    del tensors["random.safetensors"], plain["python_random"], plain["numpy_random"]
    own = tuple(f"{key}/" for key, plugin in run.plugins.items() if plugin.state_scope != "shared")
    of_plugins = tensors.pop("plugins.safetensors")
    tensors["plugins"] = {name: value for name, value in of_plugins.items() if not name.startswith(own or ("-",))}
    said = json.dumps([plain, run.said, {p: {n: v.item() for n, v in run.values[p].items()} for p in PLAYERS}])
    return hashlib.sha256(b"".join(map(tensors_to_bytes, tensors.values())) + said.encode()).hexdigest()


def check_what_ranks_tell_one_another(ranks: Ranks) -> None:
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
            assert str(raised) == ("it is wrong" if who == "first" else f"rank {n - 1}: it is wrong"), raised
        else:
            raise AssertionError(who)
    print("told", flush=True)


def fail_as(who: str, ranks: Ranks) -> None:
    if who == "first" or ranks.rank == ranks.size - 1:
        raise InputError("it is wrong")


def check_shared_batch_norm(ranks: Ranks) -> None:
    """Forward, gradient and double gradient of maps and of vectors, against torch's own over the whole batch."""
    for shape in ((BATCH, 3, 4, 4), (BATCH, 3)):
        torch.manual_seed(0)
        whole, factor = torch.randn(shape).double() * 3 + 5, torch.randn(shape).double()
        torchs = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3).double()
        nn.init.normal_(torchs.weight)
        ours = SharedBatchNorm((nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3).double(), ranks.size)
        ours.load_state_dict(torchs.state_dict())
        own = [x.chunk(ranks.size)[ranks.rank] for x in (whole, factor)]
        wanted, found = through(torchs, whole, factor), through(ours, *own)
        for name, value in wanted.items():
            if name.startswith("image"):
                assert torch.allclose(found[name], value.chunk(ranks.size)[ranks.rank], atol=1e-9), name
            else:
                # Each rank's part of a sum.
                total = ranks.mean(found[name]) * ranks.size
                assert torch.allclose(total, value, atol=1e-9), name
        for name, state in torchs.state_dict().items():
            assert torch.allclose(ours.state_dict()[name], state), name
        torchs.eval(), ours.eval()
        assert torch.equal(ours(own[0]), torchs(own[0]))
    print("batch norm", flush=True)


def through(layer: nn.Module, x: Tensor, factor: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    (gradient,) = torch.autograd.grad((y * factor).sum() + y.pow(3).sum(), x, create_graph=True)
    of_weight, of_image = torch.autograd.grad(gradient.square().sum(), [layer.weight, x])
    return {"image y": y, "image gradient": gradient, "image second": of_image, "weight second": of_weight}


def check_running_statistics(ranks: Ranks) -> None:
    """Batch norm's are the same on all ranks, whether each normalises by its own images or not."""
    for synced in (False, True):
        recipe = tiny_recipe({}, {"train": {"batch_size": BATCH, "sync_batch_norm": synced}, "optimizer": SGD})
        run, found = played(recipe, ranks)
        own = torch.cat([b.flatten().double() for b in run.generator.buffers()])
        assert torch.equal(ranks.mean(own), own)
        if synced:
            alone, wanted = played(recipe, ALONE)
            assert all(torch.allclose(found[name], wanted[name], atol=1e-5) for name in wanted)
            for name, state in alone.generator.state_dict().items():
                assert torch.allclose(run.generator.state_dict()[name].float(), state.float(), atol=1e-5), name
    print("statistics", flush=True)


def check_a_breakdown(ranks: Ranks) -> None:
    """A loss that is no number ends all ranks, and the first one is to tell it. The last that they do together."""
    rates = {player: {"use": "sgd", "lr": 1e30} for player in PLAYERS}
    recipe = tiny_recipe({}, {"train": {"batch_size": BATCH}, "optimizer": rates})
    out = None if ranks.rank else os.path.abspath(f"{os.environ['MASTER_PORT']}-broken")
    try:
        start(recipe, out, gankit.training.loop.Reporter())
    except GankitError as error:
        assert "discriminator's" in str(error) or "generator's" in str(error), error
        assert error.rank == 0
        print("failed", flush=True)
    try:
        start(recipe, None, gankit.training.loop.Reporter())
    except GankitError as error:
        assert "start torchrun anew" in str(error), error
        print("parted", flush=True)
