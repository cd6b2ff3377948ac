"""Texts from a file to samples: the recipe `wgan_gp_lines`, the generator file, and metrics."""

import pytest
from click.testing import CliRunner

from gankit import Recipe, Sampler, prepare
from gankit.cli import cli
from gankit.evaluation.evaluator import Evaluator
from gankit.recipe.bundled import find_recipe
from gankit.sampling.generator_file import save_generator
from gankit.testing import train_iterations
from gankit.training.assembly import assemble

TINY = ["generator.width=4", "discriminator.width=4", "train.batch_size=4", "train.device=cpu", "evaluation.count=40"]
NAMES = ["Anna", "Øyvind", "Li Na", "Bo"] * 10


def run_of(*changes):
    run = assemble(Recipe.load(find_recipe("wgan_gp_lines"), [*TINY, *changes]))
    run.load_data()
    run.start()
    return train_iterations(run, 1)


def test_the_recipe_has_the_settings_in_its_header():
    recipe = Recipe.load(find_recipe("wgan_gp_lines"))
    assert (recipe.train.batch_size, recipe.train.discriminator_steps) == (64, 5)
    for player in ("generator", "discriminator"):
        config = recipe.components[f"optimizer.{player}"].config
        assert config.betas == (0.5, 0.9)
        assert recipe.use_of(f"normalization.{player}") == "none"
    assert recipe.components["tricks.gradient_penalty"].config.weight == 10
    assert (recipe.use_of("loss"), recipe.use_of("latent")) == ("wasserstein", "normal")


@pytest.mark.parametrize("generator", ["character_resnet", "gumbel_character_resnet"])
def test_samples_of_the_generator_file_are_lines_of_the_alphabet(tmp_path, generator):
    text = tmp_path / "names.txt"
    text.write_text("\n".join(NAMES), encoding="utf-8")
    run = run_of("data.use=lines", f"data.path={text}", "data.length=8", f"generator.use={generator}")
    assert run.dataset.encoding["characters"] == "".join(sorted(set("".join(NAMES))))
    save_generator(run, tmp_path / "generator.safetensors")
    prepare(run.dataset, tmp_path / "names.safetensors", "names.txt")
    text.unlink()  # sampling needs the generator file alone
    sampler = Sampler.load(tmp_path / "generator.safetensors", "cpu")
    z = sampler.latent(5, None, 0)
    sampler.save_file(z, None, tmp_path / "lines.txt")
    lines = (tmp_path / "lines.txt").read_text(encoding="utf-8").split("\n")
    assert len(lines) == 6
    assert max(map(len, lines)) <= 8
    assert set("".join(lines)) <= set("".join(NAMES))
    sampler.save(z, None, tmp_path / "folder")
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [f"{n:06d}.txt" for n in range(5)]
    for out, noun in (("more", "samples"), ("more.txt", "samples"), ("more.png", "images")):
        options = ["sample", str(tmp_path / "generator.safetensors"), "--count", "5", "--out", str(tmp_path / out)]
        assert CliRunner().invoke(cli, options).output == f"5 {noun}: {tmp_path / out}\n"
    prepared = run_of("data.use=lines", f"data.path={tmp_path / 'names.safetensors'}")
    assert prepared.spec.encoding == run.spec.encoding
    assert prepared.spec.shape == run.spec.shape


def test_metrics_compare_texts():
    metrics = Evaluator(run_of("data.count=40")).row()["metrics"]
    assert set(metrics) == {"well_formed", "correct", "new_of_correct", *(f"ngrams_{n}" for n in (1, 2, 3, 4))}
    assert all(0 <= metrics[f"ngrams_{n}"] <= 1 for n in (1, 2, 3, 4))
    assert metrics["ngrams_4"] > metrics["ngrams_1"] > 0
