"""`gankit audit`: generators and discriminators that know the training data, and others that do not."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import gankit
from gankit.cli import run_command_line
from gankit.data.load import load_dataset
from gankit.errors import InputError
from gankit.plugin.condition import VectorCondition
from gankit.training.audit import sample_scores

NETWORKS = '''
import numpy as np
import torch
from torch import nn

IMAGES = torch.from_numpy(np.load({members!r})).permute(0, 3, 1, 2).float() / 127.5 - 1


class Copying(nn.Module):
    """Generator of copies of the training images."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, z):
        index = (z[:, 0].abs() * 1000).long() % len(IMAGES)
        return IMAGES[index] * self.gain


class Noise(nn.Module):
    """Generator that has not seen the training images."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 64)

    def forward(self, z):
        return self.layer(z).tanh().view(-1, 1, 8, 8)


class Knowing(nn.Module):
    """Discriminator with large logits for the training images."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images):
        distance = torch.cdist(images.flatten(1), IMAGES.flatten(1)).amin(1)
        return -distance * self.weight
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with 100 training images, 100 held-out images, networks and two trained runs."""
    folder = tmp_path_factory.mktemp("audit")
    pixels = np.random.default_rng(1).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
    np.save(folder / "members.npy", pixels[:100])
    (folder / "held_out").mkdir()
    for number, image in enumerate(pixels[100:]):
        Image.fromarray(image[..., 0]).save(folder / "held_out" / f"{number}.png")
    (folder / "same").mkdir()
    for number, image in enumerate(pixels[:100]):
        Image.fromarray(image[..., 0]).save(folder / "same" / f"{number}.png")
    (folder / "nets.py").write_text(NETWORKS.format(members=str(folder / "members.npy")))
    for name, networks in {"copying": ("Copying", "Knowing"), "noise": ("Noise", "")}.items():
        discriminator = {"use": "./nets.py:Knowing"} if name == "copying" else {"use": "mlp", "hidden": [4]}
        recipe = {
            "train": {"iterations": 1, "batch_size": 8, "device": "cpu"},
            "data": {"use": "numpy", "path": str(folder / "members.npy")},
            "extractor": {"use": "pixels"},
            "latent": {"use": "normal", "size": 4},
            "generator": {"use": f"./nets.py:{networks[0]}"},
            "discriminator": discriminator,
            "optimizer": {"generator": {"lr": 1e-9}, "discriminator": {"lr": 1e-9}},
            "normalization": {"generator": "none", "discriminator": "none"},
        }
        (folder / f"{name}.toml").write_text(gankit_toml(recipe))
        gankit.train(folder / f"{name}.toml", folder / name)
    return folder


def gankit_toml(recipe):
    import tomli_w

    return tomli_w.dumps(recipe)


def audit(folder, name, against="held_out", **options):
    return gankit.audit(folder / name, str(folder / against), trust=True, generated=500, **options)


def test_copies_and_a_knowing_discriminator_are_found(folder):
    result = audit(folder, "copying")
    assert [attack.name for attack in result.attacks] == ["discriminator", "monte_carlo", "nearest_sample"]
    for attack in result.attacks:
        assert attack.auc.low > 0.95, attack
        assert attack.true_positive_rate > 0.8, attack
    assert (result.members, result.non_members, result.generated) == (100, 100, 500)
    assert result.copies["near_copies"] == 1


def test_a_generator_that_has_not_seen_the_data_is_not_accused(folder):
    result = audit(folder, "noise")
    for attack in result.attacks:
        assert abs(attack.auc.value - 0.5) < 0.15, attack  # 3.5 standard deviations for 100 samples of each
    assert result == audit(folder, "noise")  # the same seed
    assert result.attacks != audit(folder, "noise", seed=1, count=30).attacks


def test_samples_for_other_conditions_than_classes_are_not_compared(folder):
    """Samples for the source images of the training data are near the training data without any leak."""
    sampler = SimpleNamespace(condition=VectorCondition(("age",)))
    dataset = load_dataset({"use": "numpy", "path": str(folder / "members.npy")}, "test")
    with pytest.raises(InputError, match="are near them in any case"):
        sample_scores(sampler, dataset.read(), dataset.read(), dataset, 10, 0)


def test_samples_of_the_training_data_are_no_held_out_samples(folder):
    with pytest.raises(InputError, match="all samples are in the training data"):
        audit(folder, "noise", "same")
    (folder / "mixed").mkdir()
    for source, number in (("same", 0), ("held_out", 1), ("held_out", 2), ("held_out", 3)):
        (folder / "mixed" / f"{number}.png").write_bytes((folder / source / f"{number}.png").read_bytes())
    assert audit(folder, "noise", "mixed").non_members == 3


def test_a_generator_file_has_no_discriminator(folder, capsys):
    file = folder / "copying" / "generator.safetensors"
    arguments = [
        "audit",
        file,
        "--against",
        folder / "held_out",
        "--trust",
        "--generated",
        100,
        "--count",
        20,
        "--json",
    ]
    assert run_command_line([*map(str, arguments)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["attacks"]) == ["monte_carlo", "nearest_sample"]
    assert "has no discriminator" in result["left_out"][0]
    assert result["members"] == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "nowhere"], "no such folder, file or dataset"),
        (["--against", "mnist", "train.iterations=2"], "train: unknown key"),
        ([], "Missing option '--against'"),
        (
            ["--against", "HELD_OUT", "data.resolution=16"],
            "the samples are 1x16x16, and those of the training data 1x8x8",
        ),
    ],
)
def test_mistakes_are_sentences(folder, arguments, message, capsys):
    arguments = [str(folder / "held_out") if one == "HELD_OUT" else one for one in arguments]
    assert run_command_line(["audit", str(folder / "noise"), "--trust", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_code_is_not_imported_without_trust(folder, capsys):
    assert run_command_line(["audit", str(folder / "noise"), "--against", str(folder / "held_out")]) == 2
    assert "--trust" in capsys.readouterr().err


def test_the_table(folder, capsys):
    arguments = ["audit", folder / "copying", "--against", folder / "held_out", "--trust", "--generated", 200]
    assert run_command_line([*map(str, arguments)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["attack", "AUC", "95%", "interval", "TPR", "at", "FPR", "1%"]
    assert [line.split()[0] for line in lines[1:4]] == ["discriminator", "monte_carlo", "nearest_sample"]
    assert lines[4] == "samples: 100 of the training data, 100 held out, 200 generated"
    assert float(lines[1].split()[1]) > 0.99
