"""Trick: progressive growing, in a run."""

import pytest
import torch
from safetensors.torch import load_file

from gankit import InputError, Sampler
from gankit.evaluation.evaluator import Evaluator
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import GridSampler
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit.testing.harness import tiny_registry
from gankit_plugins.layers.progressive import Growing, Growth, enlarge, growth_at, shrink
from gankit_plugins.trick.progressive_growing import ProgressiveGrowing

NETWORKS = {player: {"use": "pggan", "width": 2, "max_width": 3} for player in ("generator", "discriminator")}
SIXTEEN = NETWORKS | {"data": {"resolution": 16}, "normalization": {"generator": {"use": "pixel_norm"}}}
GROWTH = {ProgressiveGrowing: {"stable": 2, "fade": 2}}
AVERAGE = GROWTH | {"moving_average": {"decay": 0.9}, "gradient_penalty": {}}


def run_of(parts=GROWTH, **changes):
    return tiny_run(parts, SIXTEEN | changes)


def test_both_networks_follow_the_schedule():
    run = run_of()
    for t in range(12):
        train_iterations(run, 1)
        expected = growth_at(t, 2, 2, 3)
        for network in run.networks.values():
            assert network.now == expected
            assert tuple(network.growth.tolist()) == expected
        values = run.plugins["tricks.progressive_growing"].log_values()
        assert values == {"trained_side": 4 << expected.level, "alpha": expected.alpha}


def test_adam_does_not_move_levels_that_are_not_reached_or_left():
    run = run_of()

    def changed(iterations):
        before = {n: p.clone() for player in run.networks.values() for n, p in player.named_parameters()}
        train_iterations(run, iterations)
        after = {n: p for player in run.networks.values() for n, p in player.named_parameters()}
        return {".".join(n.split(".")[:2]) for n, p in after.items() if not torch.equal(before[n], p)} - {
            "head.weight",
            "head.bias",
        }

    parts = ("blocks", "to_image", "from_image")
    assert changed(2) == {f"{part}.0" for part in parts}
    assert changed(2) >= {f"{part}.1" for part in parts} | {"to_image.0", "from_image.0"}
    moved = changed(2)
    assert moved == {"blocks.0", "blocks.1", "to_image.1", "from_image.1"}
    assert not any(p.grad is not None for n, p in run.generator.named_parameters() if n.startswith("blocks.2"))


def test_images_that_enter_d():
    """D gets images of the level; the detail of real ones fades in, and generated ones are faded already."""
    run, seen = run_of(), []
    run.after_step["discriminator"] = lambda run, step: seen.append(
        (step.real, step.fake, step.real_inputs[0], step.fake_inputs[0])
    )
    train_iterations(run, 9)
    for t, (real, fake, real_input, fake_input) in enumerate(seen):
        level, step, steps = growth_at(t, 2, 2, 3)
        factor = 4 >> level
        assert real.shape == fake.shape == (8, 3, 16, 16)
        small, alpha = shrink(real, factor), step / steps
        torch.testing.assert_close(real_input, (1 - alpha) * enlarge(shrink(small)) + alpha * small)
        torch.testing.assert_close(fake_input, shrink(fake, factor))
        torch.testing.assert_close(enlarge(fake_input, factor), fake)


def test_gradient_penalty_is_that_of_the_small_images():
    """Its gradient is with respect to the pixels of the level: that of the full size would be shorter."""
    run = run_of(GROWTH | {"gradient_penalty": {}})
    shapes = []
    run.discriminator.register_forward_pre_hook(lambda module, inputs: shapes.append(inputs[0].shape[2]))
    train_iterations(run, 1)
    assert set(shapes) == {4}


@pytest.mark.parametrize("before", [1, 2, 3, 5, 7])
def test_resume_at_every_stage(before):
    check_resume(AVERAGE, SIXTEEN, before=before, after=4)


@pytest.mark.parametrize("train", [{"accumulate": 2}, {"precision": "bf16"}, {"channels_last": True}], ids=str)
def test_runs(train):
    train_iterations(run_of(AVERAGE, train=train), 9)


def test_the_deviation_in_d_couples_a_batch():
    """It causes a warning with accumulation, but none for the gradient penalty, which the paper has too."""
    run = run_of(AVERAGE, train={"accumulate": 2, "iterations": 8})
    assert run.recipe.coupling("discriminator") == ["discriminator"]
    assert run.recipe.coupling("generator") == []
    assert [warning.partition(":")[0] for warning in run.warnings] == ["discriminator"]


@pytest.mark.parametrize("iterations", [1, 3, 4, 8, 11])
@pytest.mark.parametrize("average", [False, True])
def test_a_file_from_the_middle_of_the_growth(tmp_path, iterations, average):
    """It has the images of the level at which the run stopped, and those of the averaged weights."""
    run = train_iterations(run_of(AVERAGE if average else GROWTH), iterations)
    save_generator(run, tmp_path / "generator.safetensors")
    loaded = Sampler.load(tmp_path / "generator.safetensors", registry=tiny_registry(GROWTH))
    assert tuple(load_file(tmp_path / "generator.safetensors")["growth"].tolist()) == growth_at(iterations - 1, 2, 2, 3)
    images, _ = loaded.sample(4, seed=1)
    assert torch.equal(images, Sampler.of_run(run).sample(4, seed=1)[0])
    level = growth_at(iterations - 1, 2, 2, 3).level
    blocks = images.unflatten(3, (-1, 4 >> level)).unflatten(2, (-1, 4 >> level))
    assert (blocks == blocks[:, :, :, :1, :, :1]).all()
    assert images.float().std() > 0


def test_average_has_the_level_of_the_run():
    run = train_iterations(run_of(AVERAGE), 5)
    assert run.sampled_generator().growth.tolist() == [1, 1, 1]
    assert run.sampled_generator() is not run.generator


def test_metrics_and_grids_during_the_growth():
    recipe = {"extractor": {"use": "pixels"}, "metrics": {"frechet_distance": {}}, "evaluation": {"count": 16}}
    run = train_iterations(run_of(AVERAGE, **recipe), 3)
    assert Evaluator(run).row()["metrics"]
    image, _ = GridSampler(run).draw()
    assert image.size[0] > 16


def test_wrapped_networks_grow():
    run = run_of(GROWTH | {"minibatch_discrimination": {"kernels": 2, "dims": 2}})
    assert not isinstance(run.discriminator, Growing)
    train_iterations(run, 3)
    assert run.discriminator.network.now == Growth(1, 0, 2)


def test_augmentations_before_it_act_on_full_images():
    parts = {"diff_augment": {}} | GROWTH
    run, sizes = run_of(parts), []
    inputs = run.input_hooks[0]
    run.input_hooks[0] = lambda images, *others: sizes.append(images.shape[2]) or inputs(images, *others)
    train_iterations(run, 1)
    assert set(sizes) == {16}


def test_other_networks_are_refused():
    for changes in ({}, {"generator": NETWORKS["generator"]}, {"discriminator": NETWORKS["discriminator"]}):
        with pytest.raises(InputError, match=r"tiny cannot grow; use pggan as generator and as discriminator"):
            tiny_run(GROWTH, changes)


def test_warning_if_the_run_is_too_short():
    run = run_of({ProgressiveGrowing: {"stable": 2, "fade": 3}}, train={"iterations": 9})
    assert run.pending_warnings == [
        "the full size is complete after 10 iterations, and train.iterations is 9; lower stable and fade of "
        "progressive_growing, or train for longer"
    ]
    assert not run_of({ProgressiveGrowing: {"stable": 2, "fade": 3}}, train={"iterations": 10}).pending_warnings
