"""StackGAN: the paper's shapes, the frozen first stage, its weights by `init`, and samples of a text from the file."""

import shutil
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from gankit import InputError, Sampler, Spec, TokenCondition
from gankit.cli import cli
from gankit.training.launch import resume
from gankit.training.reporter import Reporter
from gankit_plugins.discriminator.stackgan import StackGanDiscriminator, StackGanDiscriminatorNetwork
from gankit_plugins.generator.stackgan import StackGan2, StackGan2Generator, StackGanGenerator, TextCondition
from tests.plugins.conftest import train

WORDS = TokenCondition(("a", "red", "bird"), 4)
NETWORKS = {
    "generator": {"use": "stackgan", "width": 2, "text_size": 4, "condition_size": 3},
    "discriminator": {"use": "stackgan", "width": 4, "text_size": 4, "compressed_size": 3},
}
STAGE1 = {
    "train": {"iterations": 4, "batch_size": 4, "device": "cpu"},
    "output": {"log_every": 1, "checkpoint_every": 2, "sample_every": 4, "sample_count": 4},
    "data": {"use": "captioned_shapes", "resolution": 8, "count": 24},
    "latent": {"use": "normal", "size": 5},
    "normalization": {"generator": {"use": "batch_norm"}, "discriminator": {"use": "batch_norm"}},
    "tricks": {"mismatched_pairs": {}, "moving_average": {}},
    **NETWORKS,
}
STAGE2 = STAGE1 | {
    "data": {"use": "captioned_shapes", "resolution": 16, "count": 24},
    "latent": {"use": "normal", "size": 8},
    "generator": {
        "use": "stackgan2", "stage1_width": 2, "width": 2, "text_size": 4, "condition_size": 3, "halvings": 1,
        "joint_side": 4, "blocks": 1,
    },
}  # fmt: skip


def shapes_of(network, inputs, kinds):
    """Return the output shapes of the modules of some types, in the order of the calls, without the batch size."""
    shapes = []
    handles = [
        module.register_forward_hook(lambda m, i, output: shapes.append(tuple(output.shape[1:])))
        for module in network.modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        network(*inputs)
    for handle in handles:
        handle.remove()
    return shapes


def test_stage_1_has_the_shapes_of_the_paper():
    spec = Spec((3, 64, 64), WORDS, latent_size=228)
    generator = StackGanGenerator(spec, 128, 128, 128)
    assert generator.noise_size == 100
    tokens = WORDS.blank(2)
    assert generator.condition(tokens, torch.randn(2, 128)).shape == (2, 128)
    assert shapes_of(generator, (torch.randn(2, 228), tokens), nn.Conv2d) == [
        (512, 8, 8), (256, 16, 16), (128, 32, 32), (64, 64, 64), (3, 64, 64)
    ]  # fmt: skip
    assert generator.project[0].out_features == 1024 * 4 * 4
    discriminator = StackGanDiscriminatorNetwork(spec, StackGanDiscriminator.Config())
    inputs = (torch.randn(2, 3, 64, 64), tokens)
    assert shapes_of(discriminator, inputs, nn.Conv2d) == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)
    ]  # fmt: skip
    assert discriminator.joint[0].in_channels == 512 + 128
    assert discriminator(*inputs).logits.shape == (2,)


def test_stage_2_joins_text_and_image_at_16_pixels_and_has_four_residual_blocks():
    spec = Spec((3, 256, 256), WORDS, latent_size=356)
    with torch.device("meta"):
        generator = StackGan2Generator(spec, StackGan2.Config())
        images = shapes_of(generator, (torch.randn(2, 356), WORDS.blank(2).to("meta")), nn.Conv2d)
    stage1, rest = images[:5], images[5:]
    assert stage1[-1] == (3, 64, 64)
    assert rest[:4] == [(128, 64, 64), (256, 32, 32), (512, 16, 16), (512, 16, 16)]
    assert generator.joint[0].in_channels == 512 + 128
    assert rest[4:12] == [(512, 16, 16)] * 8  # two convolutions in each of four blocks
    assert rest[12:] == [(256, 32, 32), (128, 64, 64), (64, 128, 128), (32, 256, 256), (3, 256, 256)]


@pytest.mark.parametrize("size", [(8, 8), (10, 13), (5, 30)])
def test_images_may_have_any_size(size):
    spec = Spec((1, *size), WORDS, latent_size=9)
    config = StackGan2.Config(
        width=1, stage1_width=1, text_size=2, condition_size=3, joint_side=4, halvings=1, blocks=1
    )
    for generator in (StackGanGenerator(spec, 1, 2, 3), StackGan2Generator(spec, config)):
        assert generator(torch.randn(2, 9), WORDS.blank(2)).shape == (2, 1, *size)
    discriminator = StackGanDiscriminatorNetwork(spec, StackGanDiscriminator.Config(width=2))
    assert discriminator(torch.randn(2, 1, *size), WORDS.blank(2)).logits.shape == (2,)


def test_z_must_have_room_for_the_augmentation(assembled):
    with pytest.raises(InputError, match="z has 3 numbers, and the conditioning augmentation needs 3 of them"):
        assembled(STAGE1 | {"latent": {"use": "normal", "size": 3}})


def test_the_divergence_is_a_term_of_its_own(start_run):
    run = start_run(STAGE1)
    terms = {term.name: term for term in run.terms["generator"]}
    assert terms["condition_divergence"].weight == 1
    (text,) = (m for m in run.generator.modules() if isinstance(m, TextCondition))
    nn.init.zeros_(text.augmentation.distribution.weight)
    nn.init.constant_(text.augmentation.distribution.bias, 0.0)
    text.augmentation.distribution.bias.data[0] = 2.0  # mean 2 in one dimension: a divergence of 2^2 / 2

    class Step:
        condition = WORDS.blank(2)

    assert terms["condition_divergence"].function(Step) == 2


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Run directories of both stages."""
    top = tmp_path_factory.mktemp("stages")
    first = train(STAGE1, top / "first")
    init = {"generator": str(first / "generator.safetensors"), "map": {"generator": {"": "stage1"}}}
    return first, train(STAGE2 | {"init": init}, top / "second")


def test_stage_2_starts_from_stage_1_and_keeps_it(stages, tmp_path):
    first, second = (Sampler.load(run) for run in stages)
    trained = first.generator.state_dict()
    kept = second.generator.stage1.state_dict()
    assert trained.keys() == kept.keys()
    assert all(torch.equal(trained[name], kept[name]) for name in trained if "num_batches" not in name)
    tokens = second.conditions(2, {"text": "a small red circle on dark green"})
    z = second.latent(2, tokens, 0)
    with torch.no_grad():
        assert torch.equal(first.generator(z[:, :5], tokens), second.generator.stage1(z[:, :5], tokens))


def test_both_stages_resume_to_the_same_bytes(stages, tmp_path):

    for number, run in enumerate(stages):
        copy = tmp_path / str(number)
        shutil.copytree(run, copy)
        final = (copy / "generator.safetensors").read_bytes()
        shutil.rmtree(max((copy / "checkpoints").iterdir()))
        resume(copy, [], Reporter())
        assert (copy / "generator.safetensors").read_bytes() == final


def test_a_text_is_sampled_from_the_file_alone(stages, tmp_path):
    file = tmp_path / "g.safetensors"
    file.write_bytes((stages[1] / "generator.safetensors").read_bytes())
    sample = ["sample", str(file), "--count", "2", "--out", str(tmp_path / "x"), "--text"]
    done = CliRunner().invoke(cli, [*sample, "A small RED circle, on dark green!"])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "x").glob("*_a_small_red_circle_on_dark_green.png"))) == 2
    command = [sys.executable, "-m", "gankit", *sample[:-2], str(tmp_path / "y"), "--text", "a smal circl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "the words 'smal' and 'circl' are unknown; near 'smal': small" in done.stderr
    assert "near 'circl': circle" in done.stderr
    assert not (tmp_path / "y").exists()


def test_stage_2_without_the_weights_of_stage_1_is_a_warning(assembled):
    assert any("stage 1 has random weights" in warning for warning in assembled(STAGE2).warnings)
