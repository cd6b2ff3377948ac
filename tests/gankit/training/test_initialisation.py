"""Runs that start from trained networks: weights, table, origin, refusals and resume."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from gankit import InputError, Session
from gankit.sampling.generator_file import read_generator_file
from gankit.training.initialisation import initialise

ENCODE = {"tricks": {"encode": {"use": "Encode"}}}
NO_CHECKPOINTS = {"checkpoint_every": 100}


@pytest.fixture
def source(train_toy):
    """Return the directory of a trained run."""
    return train_toy("source", **ENCODE, seed=5).path


def tensors_equal(network, file, but=()):
    own, other = network.state_dict(), load_file(file)
    return [n for n in own if n not in but and not torch.equal(own[n], other[n])] == []


def checkpoint(run, name):
    return run / "checkpoints" / "000006" / f"{name}.safetensors"


def test_every_saved_network_can_start_from_a_run(toy_run, source):
    init = {name: str(source) for name in ("generator", "discriminator", "encoder", "critic")}
    run = toy_run(**ENCODE, init=init)
    messages = initialise(run)
    counters = [name for name in run.generator.state_dict() if name.endswith("num_batches_tracked")]
    assert counters
    for name in init:
        assert tensors_equal(run.networks[name], checkpoint(source, name), counters)
        assert run.origins[name]["path"] == str(checkpoint(source, name))
    assert (
        f"init.encoder: 2 of 2 tensors, 100% of the weights, from {checkpoint(source, 'encoder')}, iteration 6"
        in messages
    )


def test_only_the_named_networks_change(toy_run, source):
    run, plain = toy_run(init={"discriminator": str(source)}), toy_run()
    initialise(run)
    for name, tensor in plain.generator.state_dict().items():
        assert torch.equal(run.generator.state_dict()[name], tensor)
    assert tensors_equal(run.discriminator, checkpoint(source, "discriminator"))


def test_another_number_of_classes_begins_anew_where_it_matters(toy_run, source):
    run = toy_run(init={"generator": str(source), "discriminator": str(source)}, data={"classes": 4})
    before = run.generator.lift[0].weight.clone()
    messages = initialise(run)
    rows = {row["name"]: row for row in run.initial_weights["generator"]["tensors"]}
    assert rows["lift.0.weight"] == {
        "name": "lift.0.weight",
        "shape": "6x8",
        "source_shape": "6x6",
        "taken": False,
        "reason": "another shape in the source",
    }
    assert rows["lift.0.bias"]["reason"] == "the rest of its layer does not fit"
    assert [rows[name]["taken"] for name in ("paint.weight", "paint.bias", "lift.1.running_mean")] == [True] * 3
    assert torch.equal(run.generator.lift[0].weight, before)
    assert "  initial values kept, another shape in the source: lift.0.weight 6x8 (6x6)" in messages
    # Taken: 64 * 6 + 64 numbers of `paint`, and 4 * 6 of batch norm. Anew: 6 * 8 + 6 of `lift`, and a counter.
    assert messages[0].startswith(f"init.generator: 6 of 9 tensors, {472 / 527:.0%} of the weights, from ")


def test_names_from_elsewhere(toy_run, tmp_path):
    theirs = {f"ema.fc.{name}": torch.rand(shape) for name, shape in {"weight": (64, 6), "bias": (64,)}.items()}
    save_file({**theirs, "step": torch.zeros(1)}, tmp_path / "theirs.safetensors")
    table = {"generator": {"ema.fc": "paint"}}
    run = toy_run(init={"generator": "theirs.safetensors", "map": table})  # relative to the current folder
    with pytest.raises(InputError, match="there is no file"):
        initialise(run)
    run = toy_run(init={"generator": str(tmp_path / "theirs.safetensors"), "map": table})
    messages = initialise(run)
    assert torch.equal(run.generator.paint.weight, theirs["ema.fc.weight"])
    assert run.origins["generator"]["network"] is None
    assert messages[0].endswith("theirs.safetensors")
    assert messages[-1] == "  unused: step"


def test_a_state_dict_of_a_network_of_the_user(toy_run, toys, tmp_path):
    """The names of a network that is no plugin begin with `network`. The refusal has the table for them."""
    theirs = toys.PlainG()
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    plain = {"generator": {"use": f"{toys.__file__}:PlainG"}, "data": {"classes": 0}}
    init = {"generator": str(tmp_path / "theirs.safetensors")}
    with pytest.raises(InputError) as error:
        initialise(toy_run(**plain, init=init))
    assert str(error.value).endswith("""a table of names: init.map.generator='{"" = "network"}'""")
    run = toy_run(**plain, init=init | {"map": {"generator": {"": "network"}}})
    initialise(run)
    assert torch.equal(run.generator.network.layers[0].weight, theirs.layers[0].weight)


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ({"generatr": "S"}, "init.generatr: the run has no network 'generatr'; did you mean 'generator'? there are"),
        ({"teacher": "S"}, "init.teacher: the run has no network 'teacher'"),
        ({"map": {"generator": {"a": "b"}}}, "init.map.generator: there is no init.generator; add it"),
        ({"generator": "S", "map": {"generator": {"lifd": "b"}}}, "init.map.generator: the source has no tensor"),
        ({"generator": "S", "map": {"generator": {"": "b"}}}, "init.generator: no weight of"),
        ({"critic": "D"}, "init.critic: no weight of"),
    ],
)
def test_refusals(toy_run, source, init, expected):
    places = {"S": str(source), "D": str(checkpoint(source, "discriminator"))}
    run = toy_run(**ENCODE, init={k: places.get(v, v) if isinstance(v, str) else v for k, v in init.items()})
    with pytest.raises(InputError) as error:
        initialise(run)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_files_of_the_run_name_the_origin(train_toy, resume_toy, source):
    init = {"generator": str(source / "generator.safetensors"), "discriminator": str(source)}
    run = train_toy(init=init)
    table = json.loads((run.path / "init.json").read_text())
    origins = {name: table[name]["origin"] for name in ("generator", "discriminator")}
    assert origins["discriminator"]["iteration"] == 6
    assert json.loads((run.path / "environment.json").read_text())["origins"] == origins
    assert read_generator_file(run.path / "generator.safetensors")[0]["origins"] == origins
    assert any(message.startswith("init.generator: ") for message in run.reporter.messages)
    shutil.rmtree(source)
    resumed = resume_toy("run", "train.iterations=8")
    assert [m for m in resumed.reporter.messages if "init." in m] == []
    assert read_generator_file(run.path / "generator.safetensors")[0]["origins"] == origins
    last = json.loads((run.path / "environment.json").read_text())["resumed"][-1]
    assert last["origins"] == origins


def test_a_resumed_run_takes_no_other_source(train_toy, resume_toy, source):
    train_toy(init={"generator": str(source)})
    with pytest.raises(InputError, match=r"init: the run has a checkpoint, which contains the weights"):
        resume_toy("run", "train.iterations=8", f"init.generator={source}")


def test_a_plain_run_has_no_origin(train_toy):
    run = train_toy()
    assert not (run.path / "init.json").exists()
    assert "origins" not in json.loads((run.path / "environment.json").read_text())
    assert "origins" not in read_generator_file(run.path / "generator.safetensors")[0]
    assert "init" not in run.run.recipe.to_dict()


def test_a_refused_run_leaves_no_files(train_toy, tmp_path):
    with pytest.raises(InputError, match=r"init\.generator: there is no file or folder"):
        train_toy(init={"generator": str(tmp_path / "none")})
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_checkpoint_reads_the_source_again(train_toy, resume_toy, source):
    init = {"discriminator": str(source / "checkpoints" / "000006")}
    whole = train_toy("whole", init=init, output=NO_CHECKPOINTS)
    train_toy("run", init=init, output=NO_CHECKPOINTS)
    run = whole.path.parent / "run"
    shutil.rmtree(run / "checkpoints")
    (run / "generator.safetensors").unlink()
    (run / "init.json").unlink()
    assert resume_toy("run").generator == whole.generator
    assert (run / "init.json").read_bytes() == (whole.path / "init.json").read_bytes()


def test_a_source_that_changed_before_the_first_checkpoint_is_reported(train_toy, resume_toy, source):
    file = source / "generator.safetensors"
    train_toy(init={"generator": str(file)}, output=NO_CHECKPOINTS)
    run = source.parent / "run"
    shutil.rmtree(run / "checkpoints")
    (run / "generator.safetensors").unlink()
    shutil.copy(checkpoint(source, "generator"), file)
    messages = resume_toy("run").reporter.messages
    assert f"init.generator: {file} differs from the file of the first start; the result differs too" in messages


def test_a_restarted_run_reads_the_source_again(train_toy, resume_toy, source):
    first = train_toy(init={"generator": str(source)}).generator
    assert resume_toy("run", restart=True).generator == first


def test_other_ranks_wait_for_the_weights_of_the_first(toy_run, source):
    run, plain = toy_run(init={"generator": str(source)}), toy_run()
    run.ranks = SimpleNamespace(rank=1)
    assert initialise(run) == []
    assert torch.equal(run.generator.paint.weight, plain.generator.paint.weight)


def test_a_session_starts_from_a_generator_file(toy_recipe, source):
    file = source / "generator.safetensors"
    with Session(toy_recipe(init={"generator": str(file)}, normalization={"generator": {"use": "BatchNorm"}})) as new:
        old = load_file(file)
        assert torch.equal(new.run.generator.paint.weight, old["paint.weight"])
        new.save(source / "copy.safetensors")
    card, tensors = read_generator_file(source / "copy.safetensors")
    assert card["origins"]["generator"]["path"] == str(file)
    assert torch.equal(tensors["paint.weight"], old["paint.weight"])
