"""The picture with a row for each generator of MGAN."""

import generators_by_row
import pytest
import torch

from gankit import Recipe, Sampler
from gankit.errors import InputError
from gankit.sampling.generator_file import save_generator
from gankit.testing import tiny_run
from gankit.training.assembly import assemble
from gankit_plugins.latent.mgan import Mgan, mixture_latent


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves the generator of a run and loads it again."""

    def load(run):
        save_generator(run, tmp_path / "generator.safetensors")
        return Sampler.load(tmp_path / "generator.safetensors")

    return load


def ring(**latent):
    recipe = {"data": {"use": "gaussian_ring", "count": 40}, "generator": "mlp", "discriminator": "mlp"}
    recipe |= {"train": {"iterations": 1, "device": "cpu"}, "latent": latent}
    return assemble(Recipe.from_dict(recipe))


def test_each_row_has_the_samples_of_one_generator_from_the_same_noise(saved):
    run = ring(use="mgan", generators=3, noise=2)
    samples = generators_by_row.samples_of_each(saved(run), 4, 0)
    assert samples.shape == (3, 4, 2, 1, 1)
    z = Sampler.of_run(run).latent(4, None, 0)
    noise = z[:, :6].view(4, 3, 2)[z[:, 6:] == 1]
    for k in range(3):
        choice = torch.zeros(4, 3)
        choice[:, k] = 1
        with torch.no_grad():
            torch.testing.assert_close(samples[k], run.generator(mixture_latent(noise, choice), None))


def test_points_have_a_plot_for_each_generator(saved):
    assert generators_by_row.picture(saved(ring(use="mgan", generators=5, noise=2)), points=7).size == (1064, 580)
    assert generators_by_row.picture(saved(ring(use="mgan", generators=1, noise=2)), points=7).size == (272, 294)


def test_images_have_a_row_for_each_generator(tmp_path):
    run = tiny_run({Mgan: {"generators": 3, "noise": 2}})
    sampler = Sampler.of_run(run)
    sampler.card = {"recipe": run.recipe.to_dict()}
    one_row, three = (generators_by_row.grid(torch.zeros(n, 3, 8, 8).byte(), 4, ["generator 1"]) for n in (4, 12))
    assert generators_by_row.picture(sampler, 4).size == three.size != one_row.size


def test_other_priors_are_refused(saved):
    with pytest.raises(InputError, match="the prior is normal, and only mgan has several generators"):
        generators_by_row.picture(saved(ring(use="normal", size=2)))


def test_the_program_writes_a_file(tmp_path):
    save_generator(ring(use="mgan", generators=2, noise=2), tmp_path / "generator.safetensors")
    generators_by_row.main([str(tmp_path / "generator.safetensors"), "--out", str(tmp_path / "rows.png")])
    assert (tmp_path / "rows.png").stat().st_size > 0
