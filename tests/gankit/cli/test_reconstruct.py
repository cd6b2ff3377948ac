"""`gankit reconstruct`."""

import shutil

import pytest
import torch
from PIL import Image

from gankit.images.grid import to_bytes
from gankit.images.io import read_image
from gankit.recipe.recipe import Recipe
from gankit.training.assembly import assemble
from gankit.training.launch import resume
from gankit.training.reconstruction import encode, reconstruct
from gankit.training.reporter import Reporter
from gankit.training.state import load_networks

ENCODING = ("tricks.encoding.use=./toy.py:Encoding", "train.iterations=4")


@pytest.fixture
def run(toy_run):
    return toy_run("run", *ENCODING)


@pytest.fixture
def pairs(gankit, run):
    return lambda *arguments, of="run": gankit("reconstruct", of, *arguments, "--trust", "--device", "cpu")


@pytest.fixture
def pictures(toy):
    """Folder with five grey images of 20x10 pixels, whose levels are 0, 50, ..., 200."""
    (toy / "pictures").mkdir()
    for number in range(5):
        Image.new("L", (20, 10), 50 * number).save(toy / "pictures" / f"{number}.png")
    return toy / "pictures"


def cells(path, columns):
    """Return the values of each image of a grid of 8x8 images, which are enlarged eight times."""
    sheet = read_image(path)
    rows = (sheet.height // 8 - 1) // 9
    corners = [(8 * (1 + 9 * column), 8 * (1 + 9 * row)) for row in range(rows) for column in range(columns)]
    return [
        list(sheet.crop((x, y, x + 64, y + 64)).resize((8, 8), Image.Resampling.NEAREST).tobytes()) for x, y in corners
    ]


def test_the_picture_has_each_image_beside_its_reconstruction(pairs, run):
    answer = pairs("--count", 3, "--out", "new/pairs.png")
    images, _, _ = assemble(Recipe.load(run / "recipe.toml")).dataset.read()
    chosen = images[[0, 20, 39]]
    real = chosen.float() / 127.5 - 1
    trained = assemble(Recipe.load(run / "recipe.toml"))
    load_networks(trained, run / "checkpoints" / "000004")
    for network in trained.networks.values():
        network.eval()
    with torch.no_grad():
        labels = torch.tensor([0, 0, 1])
        fake = trained.generator(trained.networks["encoder"](real), labels)
    error = (
        sum((a - b) ** 2 for a, b in zip(real.flatten().tolist(), fake.flatten().tolist(), strict=True)) / real.numel()
    )
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"3 images at iteration 4, mean squared error {error:.4g}: new/pairs.png\n"
    shown = cells("new/pairs.png", 6)
    assert len(shown) == 6
    for number in range(3):
        assert shown[2 * number] == chosen[number].flatten().tolist()
        assert shown[2 * number + 1] == to_bytes(fake[number]).flatten().tolist()


def test_the_default_file_is_in_the_run(pairs, run):
    assert pairs().out.endswith("run/reconstructions.png\n")
    # 32 pairs, eight in a row.
    assert Image.open(run / "reconstructions.png").size == ((16 * 9 + 1) * 8, (4 * 9 + 1) * 8)
    before = (run / "reconstructions.png").read_bytes()
    assert pairs().code == 0
    assert (run / "reconstructions.png").read_bytes() == before
    # The files of the run are still those of a run.
    assert resume(run, [], Reporter())[1].iterations == 4


@pytest.fixture
def unlabelled(toy_run):
    return toy_run("plain", *ENCODING, "data.classes=0")


def test_images_of_a_folder_and_of_files(pairs, unlabelled, pictures):
    whole = pairs(pictures, "--out", "folder.png", of="plain")
    assert whole.out.startswith("5 images at iteration 4, ")
    levels = [set(cell) for cell in cells("folder.png", 10)[::2]]
    assert levels == [{0}, {50}, {100}, {150}, {200}]
    files = [pictures / f"{number}.png" for number in (4, 0)]
    assert pairs(*files, "--out", "files.png", of="plain").out.startswith("2 images at iteration 4, ")
    assert [set(cell) for cell in cells("files.png", 4)[::2]] == [{200}, {0}]
    assert pairs(files[0], "--out", "one.png", of="plain").out.startswith("1 image at iteration 4, ")
    assert cells("one.png", 2) == cells("files.png", 4)[:2]
    some = pairs(pictures, "--count", 2, "--out", "some.png", of="plain")
    assert some.out.startswith("2 images")
    assert [set(cell) for cell in cells("some.png", 4)[::2]] == [{0}, {200}]


def test_prepared_images(gankit, pairs, unlabelled):
    assert gankit("prepare", "./toy.py:Blobs", "--out", "it.safetensors", "count=3", "classes=0").code == 0
    assert pairs("it.safetensors", of="plain").out.startswith("3 images")
    gankit("prepare", "./toy.py:Blobs", "--out", "large.safetensors", "count=3", "classes=0", "resolution=16")
    answer = pairs("large.safetensors", of="plain")
    assert answer.code == 2
    assert answer.err == (
        "error: large.safetensors: the images are 1x16x16, and images of 1x8x8 are needed; name other images\n"
    )


def test_a_run_without_an_encoder(pairs, toy_run):
    toy_run("without", "train.iterations=1")
    answer = pairs(of="without")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "error: without: the run has no encoder, because no plugin of its recipe provides `encode`; train with a "
        "plugin that has one, such as the discriminator of a BiGAN\n"
    )


def test_code_of_the_recipe_is_imported_only_with_trust(gankit, run):
    answer = gankit("reconstruct", "run")
    assert answer.code == 2
    assert "imports ./toy.py:" in answer.err or "imports /" in answer.err
    assert "--trust" in answer.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["pictures", "pictures/1.png"], "pictures: is a folder; name either one folder or image files"),
        (["pictures"], "run: the generator needs the condition of each image, such as its class, and the given"),
        (["--out", "x.jpg"], "--out x.jpg: unknown file type; the name of the file must end in .png"),
    ],
)
def test_errors(pairs, pictures, arguments, expected):
    answer = pairs(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {expected}")
    assert answer.err.count("\n") == 1


def test_a_file_that_is_no_image(pairs, unlabelled, pictures, toy):
    (toy / "text.png").write_text("no image")
    answer = pairs("text.png", pictures / "0.png", of="plain")
    assert answer.code == 2
    assert "text.png" in answer.err
    assert "error: 1 file of 2 cannot be used; leave them out" in answer.err


def test_not_a_run(pairs, toy):
    answer = pairs(of="toy.py")
    assert (answer.code, answer.err) == (2, "error: toy.py is not a run directory: it is a file\n")


def test_a_run_without_a_checkpoint(pairs, run):
    shutil.rmtree(run / "checkpoints")
    answer = pairs()
    assert answer.code == 2
    assert answer.err == "error: run: no checkpoint is saved yet; `gankit resume run` resumes the run\n"


def test_a_plugin_that_draws_all_samples_as_one_plot(pairs, toy_run):
    toy_run("plots", *ENCODING, "tricks.scattered.use=./toy.py:Scattered")
    answer = pairs(of="plots")
    assert answer.code == 2
    assert "a plugin draws all samples as one plot" in answer.err


def test_z_of_a_wrong_shape_names_the_plugin(pairs, toy_run):
    toy_run("wrong", *ENCODING, "tricks.encoding.outputs=3")
    answer = pairs(of="wrong")
    assert answer.code == 2
    assert (
        "tricks.encoding: `encode` returns a tensor of shape (32, 3); it must return z of shape (32, 4)" in answer.err
    )


def test_the_networks_are_those_of_the_checkpoint_and_stay_in_their_mode(run):
    trained = assemble(Recipe.load(run / "recipe.toml"))
    before = trained.networks["encoder"][1].weight.detach().clone()
    load_networks(trained, run / "checkpoints" / "000004")
    assert not torch.equal(trained.networks["encoder"][1].weight, before)
    random = torch.get_rng_state()
    encode(trained, torch.zeros(2, 1, 8, 8))
    assert all(network.training for network in trained.networks.values())
    assert torch.equal(torch.get_rng_state(), random)
    # A call does not depend on the batch.
    images = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(encode(trained, images)[:1], encode(trained, images[:1]))


def test_state_of_plugins_is_restored(run):
    trained = assemble(Recipe.load(run / "recipe.toml"))
    load_networks(trained, run / "checkpoints" / "000004")
    assert trained.plugins["tricks.encoding"].steps == 4
    assert trained.iteration == 0


def test_all_images_are_encoded_in_chunks(run):
    result = reconstruct(run, (), 40, "cpu", trust=True)
    few = reconstruct(run, (), 2, "cpu", trust=True)
    assert result.originals.shape == result.reconstructions.shape == (40, 1, 8, 8)
    assert torch.equal(result.reconstructions[[0, 39]], few.reconstructions)
