"""Several ranks: the same result as one process, and one end for all of them."""

import importlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore

from gankit.cli import main
from gankit.cli.next_steps import print_next, resume_command
from gankit.runtime.ranks import ALONE, current_ranks
from gankit.runtime.signals import Interrupt
from gankit.runtime.torchrun_env import Place, place_of_process

HERE = str(Path(__file__).parent)
TOYS = Path(__file__).parents[1] / "toys.py"
RECIPES = Path(__file__).parents[3] / "recipes"
sys.path.insert(0, HERE)
ranks_worker = importlib.import_module("ranks_worker")

server = multiprocessing.get_context("forkserver")

SMALL = ["train.iterations=120", "train.batch_size=16", "train.discriminator_steps=2", "data.count=64"]
OFTEN = ["output.log_every=20", "output.checkpoint_every=20", "output.sample_every=1000", "output.sample_count=20"]
TRICKS = [
    "tricks.experience_replay.capacity=32",
    "tricks.moving_average.decay=0.9",
    "normalization.generator=batch_norm",
]
RECIPE = ["gaussian_ring", *SMALL, *OFTEN, *TRICKS]
ENDLESS = [*RECIPE, "train.iterations=100000"]


@pytest.fixture(scope="module", autouse=True)
def fork_server():
    """Start the server that ranks are forked from, with torch imported."""
    server.set_forkserver_preload(["ranks_worker"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", HERE)
        forkserver.ensure_running()


class Group:
    """Ranks that are started together, each with the worker's function of this name."""

    def __init__(self, folder, size, function, *arguments):
        # The store, like that of torchrun, outlives the ranks.
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        port = self.store.port
        self.files = [folder / f"{port}-{rank}.txt" for rank in range(size)]
        target = getattr(ranks_worker, function)
        self.processes = [
            server.Process(target=target, args=(rank, size, port, str(file), *arguments))
            for rank, file in enumerate(self.files)
        ]
        for process in self.processes:
            process.start()

    def end(self, seconds=150):
        """Return the exit codes and the outputs of the ranks."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0, deadline - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        return codes, [file.read_text() for file in self.files]


def wait_until(condition, seconds=150):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.02)


def checkpoints(run):
    return sorted(path.name for path in (run / "checkpoints").glob("[0-9]*"))


@pytest.mark.parametrize(("size", "plugins"), [(2, True), (4, False)])
def test_several_ranks_have_the_result_of_one(tmp_path, size, plugins, monkeypatch):
    monkeypatch.chdir(tmp_path)
    codes, outputs = Group(tmp_path, size, "comparison", plugins).end()
    assert codes == [0] * size, "\n".join(outputs)
    for text in outputs:
        assert {"communication", "batch norm", "statistics", "failed", "disconnected"} <= set(text.splitlines())
    if plugins:
        compared = [line.partition(": ")[::2] for line in outputs[0].splitlines()]
        equal_to_one = {name for check, name in compared if check == "equals one rank"}
        assert {"gradient_penalty", "relativistic_average", "dragan"} <= equal_to_one
        assert len(equal_to_one) > 20
        equal_on_all = {name for check, name in compared if check == "equal on all ranks"}
        assert {"ada", "balanced_steps", "collapse_guard", "training_monitor"} <= equal_on_all


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Return a run of two ranks without interruption."""
    folder = tmp_path_factory.mktemp("ranks")
    codes, texts = Group(folder, 2, "command_line", ["run", *RECIPE, "--out", str(folder / "unbroken")]).end()
    assert codes == [0, 0], texts
    assert "done: " in texts[0]
    assert texts[1] == ""
    return folder / "unbroken"


def final_files(run):
    place = run / "checkpoints" / "000120"
    return {path.name: path.read_bytes() for path in [*place.iterdir(), run / "generator.safetensors"]}


def test_a_checkpoint_holds_the_state_of_each_rank(unbroken):
    place = unbroken / "checkpoints" / "000120"
    first, second = load_file(place / "plugins.safetensors"), load_file(place / "rank-1.safetensors")
    key = "tricks.experience_replay/images"
    assert first[key].shape == second[key].shape == (16, 2, 1, 1)
    assert not torch.equal(first[key], second[key])
    assert not torch.equal(load_file(place / "random.safetensors")["cpu"], second["random/cpu"])
    assert [name for name in second if "moving_average" in name] == []
    environment = json.loads((unbroken / "environment.json").read_text())
    assert len(set(environment["training_seeds"])) == 2
    assert any("images of its own rank" in sentence for sentence in environment["warnings"])


def test_a_killed_rank_ends_the_run_and_a_resume_has_the_same_bytes(unbroken, tmp_path):
    run = tmp_path / "killed"
    ranks = Group(tmp_path, 2, "command_line", ["run", *RECIPE, "--out", str(run)])
    wait_until(lambda: checkpoints(run))
    ranks.processes[1].kill()
    # torchrun then sends SIGTERM to the other ranks.
    ranks.processes[1].join()
    ranks.processes[0].terminate()
    codes, texts = ranks.end(30)
    assert codes == [1, -signal.SIGKILL]
    assert texts[0].count("error: rank 1 has ended: it left no message") == 1, texts
    codes, texts = Group(tmp_path, 2, "command_line", ["resume", str(run)]).end()
    assert codes == [0, 0], texts
    assert "resuming from" in texts[0]
    assert "ranks: " not in texts[0]
    assert texts[1] == ""
    assert final_files(run) == final_files(unbroken)


def test_all_ranks_roll_back_together_and_a_resume_has_the_same_bytes(tmp_path):
    tricks = [f"tricks.fragile.use={TOYS}:Fragile", "tricks.fragile.limit=1e-4", "tricks.fragile.iteration=50"]
    changes = ["train.iterations=70", "train.rollbacks=1", "train.rollback_factor=0.01", "output.keep_checkpoints=9"]
    changes += ["output.keep_best=good", "evaluation.every=10", "evaluation.count=50", "evaluation.budget=1"]
    run, copy = tmp_path / "run", tmp_path / "copy"
    codes, texts = Group(tmp_path, 2, "command_line", ["run", *RECIPE, *tricks, *changes, "--out", str(run)]).end()
    assert codes == [0, 0], texts
    assert texts[0].count("warning: rollback 1 of 1: from iteration 60 back to the checkpoint of iteration 40") == 1
    assert "done: 70 iterations" in texts[0]
    assert texts[1] == ""
    shutil.copytree(run, copy)
    for later in ("000060", "000070"):
        shutil.rmtree(copy / "checkpoints" / later)
    codes, texts = Group(tmp_path, 2, "command_line", ["resume", str(copy)]).end()
    assert codes == [0, 0], texts
    for file in (*(run / "checkpoints" / "000070").iterdir(), *run.glob("*.safetensors")):
        assert (copy / file.relative_to(run)).read_bytes() == file.read_bytes(), file
    assert (run / "best.safetensors").exists()


def test_a_run_without_improvement_ends_on_all_ranks(tmp_path):
    metric = f"metrics.m={{use='{TOYS}:Scripted', values=['3', '4', '5', '6', '7']}}"
    changes = ["train.iterations=5", "output.keep_best=error", "output.patience=2", f"extractor={TOYS}:Plain", metric]
    changes += ["evaluation.every=1", "evaluation.count=50", "evaluation.budget=1"]
    run = tmp_path / "run"
    codes, texts = Group(tmp_path, 2, "command_line", ["run", *RECIPE, *changes, "--out", str(run)]).end()
    assert codes == [0, 0], texts
    assert "ended at iteration 3: error has not improved for 2 evaluations; the best is error 3 at" in texts[0]
    assert checkpoints(run) == ["000003"]


def test_a_signal_leaves_a_checkpoint_for_another_number_of_ranks(tmp_path, capsys):
    run = tmp_path / "stopped"
    ranks = Group(tmp_path, 2, "command_line", ["run", *ENDLESS, "--out", str(run)])
    wait_until(lambda: checkpoints(run))
    # torchrun passes SIGTERM on to all ranks.
    for process in ranks.processes:
        process.terminate()
    codes, texts = ranks.end()
    assert "a checkpoint is written" in texts[0], texts
    assert texts[1] == ""
    stopped = int(checkpoints(run)[-1])
    with pytest.raises(SystemExit) as ended:
        main(["resume", str(run), f"train.iterations={stopped + 2}"])
    assert not ended.value.code
    output = capsys.readouterr().out
    assert "ranks: 2 wrote the checkpoint and 1 resume it; " in output
    assert "random states and the state of tricks.experience_replay belong to single ranks and start anew" in output
    newest = run / "checkpoints" / checkpoints(run)[-1]
    assert not (newest / "rank-1.safetensors").exists()
    codes, texts = Group(tmp_path, 2, "command_line", ["resume", str(run), f"train.iterations={stopped + 4}"]).end()
    assert codes == [0, 0], texts
    assert "ranks: 1 wrote the checkpoint and 2 resume it; " in texts[0]


def test_ctrl_c_writes_a_checkpoint_and_a_resume_has_the_same_bytes(unbroken, tmp_path):
    run = tmp_path / "stopped"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gankit"]
    # In a process group of its own, as a shell starts it, so that Ctrl-C reaches torchrun and all ranks.
    process = subprocess.Popen(
        [*command, "run", *RECIPE, "--out", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: checkpoints(run))
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=150)
    assert output.count("a checkpoint is written") == 1, output
    assert f"torchrun --nproc-per-node 2 -m gankit resume {run}" in output
    assert "error: " not in output
    codes, texts = Group(tmp_path, 2, "command_line", ["resume", str(run)]).end()
    assert codes == [0, 0], texts
    assert final_files(run) == final_files(unbroken)


def test_a_second_ctrl_c_ends_all_ranks_at_once(tmp_path):
    trick = tmp_path / "sleeps.py"
    trick.write_text(
        "import time\n"
        "from gankit import Plugin, hookimpl\n"
        "class Sleeps(Plugin):\n"
        '    name = "sleeps"\n'
        "    @hookimpl\n"
        "    def on_grid(self, run):\n"
        "        (run.directory / 'sleeping').touch()\n"
        "        time.sleep(100)\n"
    )
    run = tmp_path / "stopped"
    options = [f"tricks.sleeps.use='{trick}:Sleeps'", "output.sample_every=30"]
    ranks = Group(tmp_path, 2, "command_line", ["run", *RECIPE, *options, "--out", str(run)])
    wait_until((run / "sleeping").exists)
    for process in ranks.processes:
        os.kill(process.pid, signal.SIGINT)
    # The terminal sends SIGINT to each rank, and torchrun sends SIGTERM at the same time. On a busy machine a rank may
    # handle the first signal so late that it ignores the second one.
    for _ in range(3):
        time.sleep(1.5 * Interrupt.DEBOUNCE_SECONDS)
        for process in [p for p in ranks.processes if p.is_alive()]:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
                os.kill(process.pid, signal.SIGTERM)
    codes, texts = ranks.end(60)
    output = "".join(texts)
    assert None not in codes
    assert output.count("stopped at once, without a new checkpoint") == 1, output
    assert "error: " not in output
    assert checkpoints(run) == ["000020"]
    assert json.loads((run / "environment.json").read_text())["ended"]["state"] == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "gaussian_ring", "loss=nothing"], "loss"),
        (["run", "gaussian_ring", "train.batch_size=63"], "2 ranks share each batch evenly, so it must be a multiple"),
        (["run", "gaussian_ring", "train.device='cuda:1'"], "with several ranks it must be cuda"),
        (["resume", "nowhere"], "is not a run directory"),
        (["run", "--colour"], "--colour"),
        (["ablate", "gaussian_ring"], "start it without torchrun"),
        (["eval", "nowhere"], "gankit eval runs in one process"),
    ],
)
def test_a_mistake_is_reported_once(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    codes, texts = Group(tmp_path, 2, "command_line", arguments).end()
    assert codes == [2, 2]
    assert message in texts[0]
    assert texts[1] == ""
    assert not (tmp_path / "runs").exists()


def test_a_failure_of_one_rank_is_reported_with_its_number(tmp_path):
    trick = tmp_path / "breaks.py"
    trick.write_text(
        "from gankit import GankitError, Plugin, hookimpl\n"
        "class Breaks(Plugin):\n"
        '    name = "breaks"\n'
        "    @hookimpl\n"
        "    def after_iteration(self, run):\n"
        "        if run.iteration == 30 and run.ranks.rank == 1:\n"
        "            raise GankitError('a failure')\n"
    )
    run = tmp_path / "run"
    broken = [f"tricks.breaks.use='{trick}:Breaks'", "--out", str(run)]
    codes, texts = Group(tmp_path, 2, "command_line", ["run", *RECIPE, *broken]).end()
    assert codes == [1, 1]
    assert texts[1] == "error: rank 1: a failure\n"
    assert texts[0].count("error: rank 1 has ended: a failure; `gankit resume` continues from the last") == 1
    assert checkpoints(run) == ["000020"]


def test_a_single_process_is_the_only_rank():
    x = torch.ones(2, requires_grad=True)
    assert ALONE.mean(x) is x
    assert ALONE.any(True)
    assert ALONE.all_gather("text") == ["text"]
    assert ALONE.gather(b"data") == [b"data"]
    assert ALONE.device("cuda:1") == "cuda:1"


def test_one_variable_alone_does_not_make_a_rank(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert place_of_process() == Place()
    monkeypatch.setenv("RANK", "1")
    assert place_of_process() == Place(1, 2, 1, 2)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "two"}, "WORLD_SIZE=two: it must be a whole number"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "the ranks are 0 to 1"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "0"}, "this is rank 0 of 0 on its machine"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "4"}, "WORLD_SIZE=2, but this is rank 0 of 4 on its"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, "MASTER_ADDR is not set, so the ranks cannot connect"),
    ],
)
def test_inconsistent_variables_are_refused(tmp_path, monkeypatch, capsys, variables, message):
    monkeypatch.chdir(tmp_path)
    current_ranks.cache_clear()
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(["run", "gaussian_ring"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_command_to_resume_on_several_machines(monkeypatch, capsys):
    place = {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "first"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    print_next(resume_command("runs/mine"))
    assert capsys.readouterr().out.splitlines() == [
        "next:",
        "  torchrun --nnodes 2 --master-addr first --node-rank 0 --nproc-per-node 4 -m gankit resume runs/mine",
        "(on the other machines with their own --node-rank)",
    ]


@pytest.fixture
def machines(tmp_path):
    """Return the folders of two machines without a shared disk."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    return folders


def on_machines(machines, *arguments):
    return Group(machines[0].parent, 2, "command_line", list(arguments), list(map(str, machines))).end()


def test_machines_with_different_recipes_are_refused(machines):
    for folder, size in zip(machines, (16, 32), strict=True):
        text = (RECIPES / "gaussian_ring.toml").read_text()
        assert "batch_size = 128" in text
        (folder / "ring.toml").write_text(text.replace("batch_size = 128", f"batch_size = {size}"))
    codes, texts = on_machines(machines, "run", "ring.toml", "--out", "run")
    assert codes == [2, 2]
    assert "rank 1 would train another run: train.batch_size is 32 there and 16 on rank 0" in texts[0]
    assert texts[1] == ""
    assert not (machines[0] / "run").exists()


def test_a_machine_without_the_run_directory_is_named(unbroken, machines):
    shutil.copytree(unbroken, machines[0] / "run")
    codes, texts = on_machines(machines, "resume", "run", "train.iterations=122")
    assert codes == [2, 2]
    assert "rank 1: run is not a run directory: it does not exist on this machine; to resume, every" in texts[0]


def test_a_machine_with_an_older_checkpoint_is_named(unbroken, machines):
    for folder in machines:
        shutil.copytree(unbroken, folder / "run")
    shutil.rmtree(machines[1] / "run" / "checkpoints" / "000120")
    codes, texts = on_machines(machines, "resume", "run", "train.iterations=122")
    assert codes == [2, 2]
    assert "the iteration of the checkpoint is 100 there and 120 on rank 0" in texts[0]


RECORDED = """
import os
from pathlib import Path

from gankit import Plugin, hookimpl

class Recorded(Plugin):
    name = "recorded"
    @hookimpl
    def on_start(self, run):
        place = Path(__file__).with_name(f"rank-{os.environ['RANK']}")
        place.write_text(repr([p.tolist() for p in run.generator.parameters()]))
"""


def test_all_ranks_start_from_the_weights_of_a_trained_network(tmp_path, unbroken):
    (tmp_path / "recorded.py").write_text(RECORDED)
    settings = [f"init.generator={unbroken}", f"tricks.recorded.use={tmp_path}/recorded.py:Recorded"]
    command = ["run", *RECIPE, "train.iterations=1", *settings, "--out", str(tmp_path / "run")]
    codes, texts = Group(tmp_path, 2, "command_line", command).end()
    assert codes == [0, 0], texts
    assert "init.generator: " in texts[0]
    assert texts[1] == ""
    source = load_file(unbroken / "checkpoints" / "000120" / "generator.safetensors")
    first, second = ((tmp_path / f"rank-{rank}").read_text() for rank in range(2))
    assert first == second
    expected = {name: tensor.tolist() for name, tensor in source.items()}
    assert all(parameter in expected.values() for parameter in eval(first))
