"""Tests of sampling: seeds, classes, truncation, image files."""

import math

import pytest
import torch

from gankit import Dataset, InputError, Plugin, Settings, hookimpl, read_prepared
from gankit.data.prepared import prepare
from gankit.errors import PluginError
from gankit.evaluation.evaluator import Evaluator
from gankit.plugin.condition import ClassCondition
from gankit.sampling.generator_file import read_generator_file, save_generator
from gankit.sampling.sampler import REDRAWS, RangedSetting, Sampler, ranged_settings
from gankit.testing import tiny_run
from gankit.testing.harness import tiny_registry


def test_samples_depend_on_the_seed(file):
    sampler = Sampler.load(file())
    assert torch.equal(sampler.sample(5, seed=1)[0], sampler.sample(5, seed=1)[0])
    assert not torch.equal(sampler.sample(5, seed=1)[0], sampler.sample(5, seed=2)[0])
    assert sampler.sample(5)[0].dtype == torch.uint8


def test_chunks_do_not_change_the_images(file):
    sampler = Sampler.load(file())
    z = sampler.latent(200, None, seed=3)
    labels = sampler.conditions(200)
    in_chunks = torch.cat(list(sampler.images(z, labels)))
    one_by_one = torch.cat([next(sampler.images(z[i : i + 1], labels[i : i + 1])) for i in range(0, 200, 37)])
    assert torch.equal(in_chunks[::37], one_by_one)


def test_classes_are_found_by_name_and_by_number(file):
    sampler = Sampler.load(file(data={"classes": 3}))
    found = [sampler.conditions(1, {"class": wanted}).item() for wanted in ("a", "c", "0", "2")]
    assert found == [0, 2, 0, 2]
    assert sampler.sample(4, {"class": "2"})[1].tolist() == [2, 2, 2, 2]
    assert sampler.sample(4)[1].tolist() == [0, 1, 2, 0]
    for wrong in ("d", "3", "-1", ""):
        with pytest.raises(InputError, match="there are a, b, c"):
            sampler.conditions(1, {"class": wrong})
    sampler.condition = ClassCondition(("1", "0"))
    assert sampler.conditions(1, {"class": "1"}).item() == 0  # a name takes precedence over a number


def test_an_unconditional_generator_has_no_classes(file):
    sampler = Sampler.load(file(data={"classes": 0}))
    assert sampler.sample(2)[1] is None
    with pytest.raises(InputError, match="class 'a': the generator is unconditional"):
        sampler.conditions(1, {"class": "a"})


def test_truncation_draws_numbers_beyond_the_threshold_again(file):
    sampler = Sampler.load(file())
    free, cut = sampler.latent(500, None, 7), sampler.latent(500, None, 7, truncation=0.8)
    assert free.abs().max() > 0.8
    assert cut.abs().max() <= 0.8
    near = free.abs() <= 0.8
    assert torch.equal(free[near], cut[near])
    # Numbers that are drawn again are truncated normal. Their variance is 0.1824, by integration.
    again = cut[~near]
    assert len(again) > 500
    assert again.mean().abs() < 0.06
    assert abs(again.var().item() - 0.1824) < 0.03
    assert torch.equal(sampler.latent(5, None, 7, truncation=100.0), sampler.latent(5, None, 7))


@pytest.mark.parametrize("truncation", [0.0, -1.0])
def test_a_truncation_that_is_too_small_is_refused(file, truncation, monkeypatch):
    monkeypatch.setattr("gankit.sampling.sampler.REDRAWS", 20)
    with pytest.raises(InputError, match=f"truncation {truncation}: .*use a larger truncation"):
        Sampler.load(file()).latent(2, None, 0, truncation=truncation)
    assert REDRAWS > 20


def test_a_prior_without_truncate_latent_refuses_truncation(file, monkeypatch):
    """Without a threshold, and with an infinite one, nothing is refused."""
    sampler = Sampler.load(file())
    monkeypatch.setattr(sampler, "_truncate_latent", None)
    assert torch.equal(sampler.latent(3, None, 0, truncation=math.inf), sampler.latent(3, None, 0))
    with pytest.raises(InputError, match="truncation: z of the prior 'toy_normal' cannot be truncated"):
        sampler.latent(3, None, 0, truncation=0.5)


def test_sampling_latent_acts_in_order_and_is_needed_by_the_file(shelf, train_toy):
    class Scaled(Plugin):
        name = "scaled"

        @hookimpl
        def sampling_latent(self, z, redraw):
            return torch.where(z.abs() > 1, redraw(), z) * 0.5

    class Shifted(Plugin):
        name = "shifted"

        @hookimpl
        def sampling_latent(self, z, generator):
            return z + 100 + torch.rand(len(z), 1, generator=generator)

    for plugin in (Scaled, Shifted):
        shelf.add(plugin)
    run = train_toy("changed", tricks={"a": {"use": "Scaled"}, "b": {"use": "Shifted"}})
    plain = train_toy("plain")
    assert run.generator[-100:] == plain.generator[-100:]  # tensors: the training is not affected
    randomness = torch.Generator().manual_seed(7)
    first, second = (torch.randn(5, 4, generator=randomness) for _ in range(2))
    expected = torch.where(first.abs() > 1, second, first) * 0.5 + 100 + torch.rand(5, 1, generator=randomness)
    sampler = Sampler(run.run.generator, run.run.hooks, run.run.spec, run.run.device)
    assert torch.equal(sampler.latent(5, None, 7), expected)
    card, _ = read_generator_file(run.path / "generator.safetensors")
    assert {"tricks.a", "tricks.b"} <= set(card["needed"])


def test_image_files_are_named_by_class_and_stay_in_the_folder(file, tmp_path):
    sampler = Sampler.load(file())
    sampler.condition = ClassCondition(("../a", "b c"))
    labels = sampler.conditions(3)
    out = tmp_path / "x" / "y"
    sampler.save(sampler.latent(3, labels, 0), labels, out)
    assert sorted(p.name for p in out.iterdir()) == ["000000_.._a.png", "000001_b_c.png", "000002_.._a.png"]


def test_a_missing_device_is_refused(file):
    with pytest.raises(InputError, match="'cuda:77' cannot be used here"):
        Sampler.load(file(), device="cuda:77")


def test_ranges_of_settings_need_names_of_settings_and_numbers():
    class Ranged(Plugin):
        name = "ranged"
        sampling_ranges = {"strength": (0.0, 2.0), "limit": (0.0, 1.0)}

        class Config(Settings):
            strength: float = 1.0
            limit: float | None = None

    assert ranged_settings({"tricks.ranged": Ranged(Ranged.Config())}) == {
        "tricks.ranged.strength": RangedSetting(1.0, 0.0, 2.0, "")
    }
    Ranged.sampling_ranges = {"strenght": (0.0, 2.0)}
    with pytest.raises(PluginError, match=r"tricks.ranged: sampling_ranges: there is no setting 'strenght' in Config"):
        ranged_settings({"tricks.ranged": Ranged(Ranged.Config())})


def test_the_encoding_of_the_data_is_in_files_and_metrics(tmp_path):
    encoding = {"columns": [{"name": "a", "range": [0.5, None]}]}
    seen = []

    class Encoded(Plugin):
        name, kind = "encoded", "data"
        sample_suffixes = (".txt",)

        @hookimpl
        def load_data(self):
            images = torch.zeros(8, 3, 8, 8)
            return Dataset((3, 8, 8), None, lambda: (images, None), encoding=encoding)

        @hookimpl
        def compute_metrics(self, comparison):
            seen.append(comparison.real.encoding)

        @hookimpl
        def save_sample_file(self, samples, path, spec):
            path.write_text(repr((len(samples), spec.encoding)))
            return path

    run = tiny_run({Encoded: {}})
    save_generator(run, tmp_path / "g.safetensors")
    loaded = Sampler.load(tmp_path / "g.safetensors", "cpu", trust=True, registry=tiny_registry({Encoded: {}}))
    loaded.save_file(loaded.latent(70, None, 0), None, tmp_path / "new" / "rows.TXT")
    assert (tmp_path / "new" / "rows.TXT").read_text() == repr((70, encoding))
    with pytest.raises(InputError, match=r"rows\.csv: the generator writes no such file; .* ends in \.txt or \.png"):
        loaded.save_file(loaded.latent(2, None, 0), None, tmp_path / "rows.csv")
    Evaluator(run).row()
    prepare(run.dataset, tmp_path / "d.safetensors", "test")
    assert [*seen, read_prepared(tmp_path / "d.safetensors").encoding] == [encoding, encoding]
