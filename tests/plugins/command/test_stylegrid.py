"""Command `gankit stylegrid`: the styles of each image, and refusals."""

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from gankit import InputError, Sampler
from gankit.sampling.generator_file import save_generator
from gankit.testing import tiny_run, train_iterations
from gankit_plugins.command.stylegrid import combined_images, command

STYLEGAN2 = {"use": "stylegan2", "w_size": 8, "mapping_layers": 2, "channel_base": 32, "max_channels": 8}
CHANGES = {
    "generator": {**STYLEGAN2, "noise": False},
    "latent": {"use": "normal", "size": 8},
    "normalization": {"generator": {"use": "none"}, "discriminator": {"use": "none"}},
}


@pytest.fixture
def file_of(tmp_path):
    """Function that saves the generator of a tiny run with changes, and returns the path."""

    def save(changes=None):
        run = train_iterations(tiny_run({}, CHANGES | (changes or {})), 2)
        save_generator(run, tmp_path / "generator.safetensors")
        return tmp_path / "generator.safetensors"

    return save


def run_command(*arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("coarse", [1, 3])
def test_rows_have_coarse_styles_and_columns_fine_ones(file_of, coarse):
    G = Sampler.load(file_of(), "cpu").generator
    with torch.no_grad():
        ws = G.styles(torch.randn(5, 8), None)
        images = combined_images(G, ws, 2, coarse).unflatten(0, (3, 4))
        single = G.synthesis(ws)
        assert (images[0, 0] == 1).all()
        torch.testing.assert_close(images[0, 1:], single[2:])
        torch.testing.assert_close(images[1:, 0], single[:2])
        for i in range(2):
            for j in range(3):
                styles = [ws[i, layer] if layer < coarse else ws[2 + j, layer] for layer in range(4)]
                torch.testing.assert_close(images[1 + i, 1 + j], G.synthesis(torch.stack(styles)[None])[0])


def test_grid_from_a_run_directory_is_the_same_for_a_seed(file_of, tmp_path):
    file = file_of({"generator": {**STYLEGAN2, "conditional": True}, "data": {"classes": 2}})
    (tmp_path / "recipe.toml").touch()
    options = ("--rows", 2, "--columns", 3, "--coarse", 2, "--device", "cpu")
    answer = run_command(tmp_path, "--out", tmp_path / "a.png", *options)
    assert answer.output == f"2 x 3 mixed images: {tmp_path / 'a.png'}\n"
    run_command(file, "--out", tmp_path / "b.png", *options)
    run_command(file, "--out", tmp_path / "c.png", *options, "--seed", 1)
    run_command(file, "--out", tmp_path / "d.png", *options, "generator.psi=0")
    run_command(file, "--out", tmp_path / "e.png", *options, "--class", "1")
    a, b, c, d, e = ((tmp_path / f"{name}.png").read_bytes() for name in "abcde")
    assert a == b
    assert len({a, c, d, e}) == 4
    width, height = Image.open(tmp_path / "a.png").size
    assert width > height


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "a.jpg"], r"--out a\.jpg: choose the name of a file that ends in \.png"),
        (["--out", "."], r"--out \.: choose the name of a file"),
        (
            ["--out", "a.png", "--coarse", "1", "--class", "cat"],
            "class 'cat': the generator is unconditional; leave it out",
        ),
        (["--out", "a.png"], "--coarse 4: leaves no layer for the styles of the columns; give 1 to 3"),
    ],
)
def test_mistakes(file_of, options, message):
    with pytest.raises(InputError, match=message):
        run_command(file_of(), *options, "--device", "cpu")


def test_other_generators_are_refused(file_of):
    file = file_of({"generator": {"use": "dcgan", "width": 2}})
    with pytest.raises(InputError, match="gankit stylegrid needs a generator with a mapping network"):
        run_command(file, "--out", "a.png", "--device", "cpu")
