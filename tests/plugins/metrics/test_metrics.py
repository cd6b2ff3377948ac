"""Every measure against its equation, worked out another way."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit.evaluation.comparison import Comparison, Extractor, Features, Samples
from gankit_plugins.metrics.density_coverage import DensityCoverage, density_and_coverage
from gankit_plugins.metrics.frechet_distance import FrechetDistance, frechet_distance, mean_and_covariance
from gankit_plugins.metrics.inception_score import InceptionScore, inception_score
from gankit_plugins.metrics.kernel_distance import KernelDistance, squared_mmd
from gankit_plugins.metrics.memorisation import Memorisation
from gankit_plugins.metrics.modes import Modes, covered, divergence_from
from gankit_plugins.metrics.neighbours import kth_nearest
from gankit_plugins.metrics.precision_recall import PrecisionRecall, share_within


def cloud(count, size, seed, scale=1.0, shift=0.0):
    randomness = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=randomness, dtype=torch.float64)
    return scale * torch.randn(count, size, generator=randomness, dtype=torch.float64) @ mix + shift


def distance(a, b):
    return frechet_distance(*mean_and_covariance(a), *mean_and_covariance(b)).item()


# Frechet distance


def by_numpy(a, b):
    """With the eigenvalues of the product itself, which is not symmetric, by another library."""
    a, b = a.double().numpy(), b.double().numpy()
    S_a, S_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = np.sqrt(np.clip(np.linalg.eigvals(S_a @ S_b).real, 0, None)).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(S_a) + np.trace(S_b) - 2 * cross


@pytest.mark.parametrize(("count", "size"), [(500, 3), (400, 64), (2000, 128)])
def test_the_frechet_distance_is_that_of_an_independent_computation(count, size):
    a, b = cloud(count, size, 0).float(), cloud(count, size, 1, 1.3, 0.2).float()
    assert distance(a, b) == pytest.approx(by_numpy(a, b), rel=1e-6)


def test_the_frechet_distance_of_gaussians_is_known():
    """Of N(m, s^2 I) and N(n, t^2 I) in F dimensions: |m - n|^2 + F (s - t)^2 (Dowson and Landau 1982)."""
    F, eye = 5, torch.eye(5, dtype=torch.float64)
    m, n = torch.arange(5.0).double(), torch.ones(5).double()
    found = frechet_distance(m, 4 * eye, n, 2.25 * eye).item()
    assert found == pytest.approx(((m - n) ** 2).sum().item() + F * (2 - 1.5) ** 2, rel=1e-12)


def test_the_frechet_distance_of_samples_comes_near_that_of_the_gaussians_and_from_above():
    """The bias at small counts: for equal clouds the distance is above 0 and falls with the number."""
    means = []
    for count in (100, 400, 1600):
        pairs = [(torch.randn(count, 16), torch.randn(count, 16)) for _ in range(8)]
        means.append(sum(distance(a, b) for a, b in pairs) / len(pairs))
    assert means[0] > 2 * means[1] > 4 * means[2] > 0


@given(st.integers(0, 2**20), st.integers(2, 8))
@settings(max_examples=20, deadline=None)
def test_the_frechet_distance_is_symmetric_and_0_for_equals(seed, size):
    a, b = cloud(40, size, seed), cloud(50, size, seed + 1, 2.0, 1.0)
    assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-8)
    assert distance(a, a) == pytest.approx(0, abs=1e-6 * mean_and_covariance(a)[1].trace().item())


def test_fewer_images_than_features_are_no_trouble():
    a, b = cloud(20, 64, 0), cloud(20, 64, 1)
    assert distance(a, b) == pytest.approx(by_numpy(a, b), rel=1e-4)


# Kernel distance


def test_the_kernel_distance_by_naive_loops():
    x, y = cloud(7, 3, 0), cloud(9, 3, 1)

    def k(a, b):
        return (sum(p * q for p, q in zip(a.tolist(), b.tolist(), strict=True)) / 3 + 1) ** 3

    xx = sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (7 * 6)
    yy = sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / (9 * 8)
    xy = sum(k(a, b) for a in x for b in y) / 63
    assert squared_mmd(x, y).item() == pytest.approx(xx + yy - 2 * xy, rel=1e-10)


def test_the_kernel_distance_is_unbiased():
    """Of clouds with one law it is 0 on average, at any count."""
    torch.manual_seed(0)
    for count in (10, 100):
        estimates = torch.stack([squared_mmd(torch.randn(count, 4), torch.randn(count, 4)) for _ in range(300)])
        assert abs(estimates.mean().item()) < 4 * estimates.std().item() / math.sqrt(300)


# Inception score


def test_the_inception_score_in_closed_form():
    sure = torch.eye(4) * 1000
    assert inception_score(sure).item() == pytest.approx(4)
    assert inception_score(torch.zeros(6, 4)).item() == pytest.approx(1)
    assert inception_score(sure[:1].repeat(5, 1)).item() == pytest.approx(1)
    # Half of the images sure, half of them of no opinion: by hand.
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    marginal = p.mean(0)
    by_hand = math.exp(
        (math.log(1 / marginal[0]) + 0.5 * math.log(0.5 / marginal[0]) + 0.5 * math.log(0.5 / marginal[1])) / 2
    )
    assert inception_score(torch.tensor([[1000.0, 0.0], [0.0, 0.0]])).item() == pytest.approx(by_hand)


# Neighbours


def by_loops(x, y, k):
    """For each of x, whether it is within a ball of y; and for each of y, how many of x."""
    within = torch.zeros(len(x), len(y), dtype=torch.bool)
    for j, centre in enumerate(y):
        others = sorted((centre - other).norm().item() for i, other in enumerate(y) if i != j)
        for i, point in enumerate(x):
            within[i, j] = (point - centre).norm().item() <= others[k - 1]
    return within


@pytest.mark.parametrize("k", [1, 3])
def test_precision_recall_density_and_coverage_by_loops(k):
    real, fake = cloud(30, 2, 0), cloud(25, 2, 0, 0.7, 0.5)
    within = by_loops(fake, real, k)
    assert share_within(fake, real, k).item() == pytest.approx(within.any(1).double().mean().item())
    density, coverage = density_and_coverage(real, fake, k)
    assert density.item() == pytest.approx(within.sum().item() / (k * len(fake)))
    assert coverage.item() == pytest.approx(within.any(0).double().mean().item())


def test_kth_nearest_leaves_the_point_itself_out():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert kth_nearest(x, 1).tolist() == [1, 1, 2, 4]
    assert kth_nearest(x, 3).tolist() == [7, 6, 4, 7]


def test_neighbours_in_chunks_are_the_same(monkeypatch):
    real, fake = cloud(40, 3, 0), cloud(30, 3, 1)
    whole = share_within(fake, real, 3), *density_and_coverage(real, fake, 3)
    for module in ("neighbours", "precision_recall", "density_coverage"):
        monkeypatch.setattr(f"gankit_plugins.metrics.{module}.CHUNK", 7)
    assert (share_within(fake, real, 3), *density_and_coverage(real, fake, 3)) == whole


# Modes


def test_modes_and_their_divergence_by_hand():
    seen = torch.tensor([0] * 90 + [1] * 9 + [2])
    assert covered(seen, 4, 0.1).item() == 2  # an even share is 25, a tenth of it 2.5
    assert covered(seen, 4, 0.01).item() == 3
    real = torch.arange(100) % 4
    by_hand = sum(p * math.log(p / 0.25) for p in (0.9, 0.09, 0.01))
    assert divergence_from(seen, real, 4).item() == pytest.approx(by_hand)
    assert divergence_from(real, real, 4).item() == pytest.approx(0)
    assert math.isfinite(divergence_from(real, torch.zeros(100, dtype=torch.int64), 4).item())


# The plugins


def comparison(real, fake, logits=None, asked=None, names=()):
    """Features that are the images, and logits that are given for both sides."""
    table = {} if logits is None else {len(real): logits[0], len(fake): logits[1]}

    def look(images):
        return Features(images.flatten(1), table.get(len(images)))

    samples = [Samples(images[:, :, None, None].float(), labels) for images, labels in ((real, None), (fake, asked))]
    return Comparison(*samples, Extractor({"extractor": "none"}, look, names), {"seed": 0})


def test_equal_clouds_are_as_good_as_can_be():
    x = cloud(60, 3, 0)
    same = comparison(x, x)
    found = {}
    for plugin in (FrechetDistance, KernelDistance, PrecisionRecall, DensityCoverage, Memorisation):
        found |= plugin(plugin.Config()).measure(same)
    assert found["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert found["nearest_ratio"] == 0
    assert same.protocol == {"extractor": "none", "seed": 0}


def test_a_collapsed_generator_is_seen():
    """One image again and again: precise, perhaps, but nothing is recalled or covered, and one mode is left."""
    real = cloud(100, 3, 0)
    fake = real[:1].repeat(90, 1) + 1e-3 * cloud(90, 3, 1)
    logits = torch.randn(100, 5), torch.tensor([[0.0, 9.0, 0, 0, 0]]).repeat(90, 1)
    seen = comparison(real, fake, logits, torch.arange(90) % 5, tuple("abcde"))
    found = {}
    for plugin in (FrechetDistance, PrecisionRecall, DensityCoverage, Modes, InceptionScore, Memorisation):
        found |= plugin(plugin.Config()).measure(seen)
    assert found["precision"] == 1
    assert found["recall"] < 0.05
    assert found["coverage"] < 0.2
    assert (found["modes"], found["as_asked"], found["as_asked_worst"]) == (1, 0.2, 0)
    assert found["mode_divergence"] > 1
    assert found["inception_score"] == pytest.approx(1, abs=1e-3)
    assert found["nearest_ratio"] < 0.1
    assert found["frechet_distance"] > 0.5


@pytest.mark.parametrize(("images", "covered", "said"), [(90, 2, True), (90, 3, False), (4, 2, False)])
def test_a_run_that_ends_with_few_classes_says_so(images, covered, said):
    """Of four images no more than four of five classes can be."""
    plugin, sentences = Modes(Modes.Config()), []
    run = SimpleNamespace(advise=sentences.append)
    plugin.on_stop(run)
    seen = torch.eye(5)[torch.arange(images) % covered]
    plugin.measure(comparison(cloud(100, 3, 0), cloud(images, 3, 1), (torch.randn(100, 5), seen), None, tuple("abcde")))
    plugin.on_stop(run)
    assert [s.startswith("modes is 2: the generated images are of fewer than half of the 5") for s in sentences] == [
        True
    ] * said


def test_without_classes_nothing_is_said_of_classes():
    nothing = comparison(cloud(20, 2, 0), cloud(20, 2, 1))
    assert Modes(Modes.Config()).measure(nothing) is None
    assert InceptionScore(InceptionScore.Config()).measure(nothing) is None


def test_few_images_make_k_smaller_and_blocks_too():
    few = comparison(cloud(3, 2, 0), cloud(4, 2, 1))
    for plugin in (PrecisionRecall, DensityCoverage, KernelDistance):
        assert all(math.isfinite(v) for v in plugin(plugin.Config()).measure(few).values())
