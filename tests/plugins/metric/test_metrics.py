"""Each metric against an independent computation."""

import math
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from gankit import GankitError, InputError
from gankit.plugin.comparison import Comparison, Samples
from gankit.plugin.extractor import Extractor, Features
from gankit.training.best import improves
from gankit_plugins.metric.density_coverage import DensityCoverage
from gankit_plugins.metric.frechet_distance import (
    Fid,
    FrechetDistance,
    frechet_distance,
    frechet_distance_between,
    frechet_distance_by_svd,
    mean_and_covariance,
)
from gankit_plugins.metric.inception_score import InceptionScore, inception_score
from gankit_plugins.metric.kernel_distance import KernelDistance, Kid, squared_mmd
from gankit_plugins.metric.memorisation import Memorisation
from gankit_plugins.metric.modes import Modes, class_accuracies, class_divergence, num_covered
from gankit_plugins.metric.neighbours import nearest, nearest_others, neighbours, smallest_orders
from gankit_plugins.metric.precision_recall import PrecisionRecall


def cloud(count, size, seed, scale=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return scale * torch.randn(count, size, generator=generator, dtype=torch.float64) @ mix + shift


def distance(a, b):
    return frechet_distance(*mean_and_covariance(a), *mean_and_covariance(b)).item()


# Frechet distance


def by_numpy(a, b):
    """Return the Frechet distance by numpy, from the eigenvalues of the product, which is not symmetric."""
    a, b = a.double().numpy(), b.double().numpy()
    S_a, S_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = np.sqrt(np.clip(np.linalg.eigvals(S_a @ S_b).real, 0, None)).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(S_a) + np.trace(S_b) - 2 * cross


@pytest.mark.parametrize(("count", "size", "rel"), [(500, 3, 1e-6), (400, 64, 1e-6), (20, 64, 1e-4)])
def test_frechet_distance_equals_that_of_numpy(count, size, rel):
    a, b = cloud(count, size, 0).float(), cloud(count, size, 1, 1.3, 0.2).float()
    assert distance(a, b) == pytest.approx(by_numpy(a, b), rel=rel)


def test_frechet_distance_of_isotropic_gaussians():
    """For N(m, s^2 I) and N(n, t^2 I) in F dimensions: |m - n|^2 + F (s - t)^2 (Dowson and Landau 1982)."""
    F, eye = 5, torch.eye(5, dtype=torch.float64)
    m, n = torch.arange(5.0).double(), torch.ones(5).double()
    distance = frechet_distance(m, 4 * eye, n, 2.25 * eye).item()
    assert distance == pytest.approx(((m - n) ** 2).sum().item() + F * (2 - 1.5) ** 2, rel=1e-12)


@pytest.mark.parametrize(("a", "b", "size"), [(50, 60, 3), (300, 200, 64), (129, 500, 128)])
def test_both_forms_of_the_frechet_distance_are_equal(a, b, size):
    x, y = cloud(a, size, 0), cloud(b, size, 1, 1.3, 0.2)
    assert frechet_distance_by_svd(x, y).item() == pytest.approx(distance(x, y), rel=1e-8)


def test_frechet_distance_of_few_images_is_exact():
    """Two lines at an angle: for S_a = s^2 u u^T and S_b = t^2 v v^T, Tr (S_a S_b)^(1/2) = s t |u v|."""
    F = 12_288
    u, v = torch.zeros(2, F, dtype=torch.float64)
    u[0], v[0], v[1] = 1, 0.6, 0.8
    a, b = torch.randn(40, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
    expected = (a.mean() * u - b.mean() * v).square().sum() + a.var() + b.var() - 2 * a.std() * b.std() * 0.6
    distance = frechet_distance_between(a[:, None] * u, b[:, None] * v)
    assert distance.item() == pytest.approx(expected.item(), rel=1e-10)


# Kernel distance


def test_kernel_distance_equals_loops():
    x, y = cloud(7, 3, 0), cloud(9, 3, 1)

    def k(a, b):
        return ((a * b).sum().item() / 3 + 1) ** 3

    xx = sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (7 * 6)
    yy = sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / (9 * 8)
    xy = sum(k(a, b) for a in x for b in y) / 63
    assert squared_mmd(x, y).item() == pytest.approx(xx + yy - 2 * xy, rel=1e-10)


def test_kernel_distance_is_unbiased():
    """The mean for samples of one distribution is 0 at any count."""
    torch.manual_seed(0)
    for count in (10, 100):
        estimates = torch.stack([squared_mmd(torch.randn(count, 4), torch.randn(count, 4)) for _ in range(300)])
        assert abs(estimates.mean().item()) < 4 * estimates.std().item() / math.sqrt(300)


# Inception score


def test_inception_score_in_closed_form():
    confident = torch.eye(4) * 1000
    assert inception_score(confident).item() == pytest.approx(4)
    assert inception_score(torch.zeros(6, 4)).item() == pytest.approx(1)
    assert inception_score(confident[:1].repeat(5, 1)).item() == pytest.approx(1)
    # One confident prediction and one uniform prediction: the marginal is (0.75, 0.25).
    by_hand = math.exp((math.log(1 / 0.75) + 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)) / 2)
    assert inception_score(torch.tensor([[1000.0, 0.0], [0.0, 0.0]])).item() == pytest.approx(by_hand)


# Neighbours


def by_loops(x, y, k):
    """Return (len(x), len(y)) whether each point of x is within the ball of each point of y."""
    within = torch.zeros(len(x), len(y), dtype=torch.bool)
    for j, centre in enumerate(y):
        others = sorted((centre - other).norm().item() for i, other in enumerate(y) if i != j)
        for i, point in enumerate(x):
            within[i, j] = (point - centre).norm().item() <= others[k - 1]
    return within


@pytest.mark.parametrize("k", [1, 3, 24])
def test_precision_recall_density_and_coverage_equal_loops(k):
    real, fake = cloud(30, 2, 0).float(), cloud(25, 2, 0, 0.7, 0.5).float()
    metrics = computed(comparison(real, fake), PrecisionRecall, DensityCoverage, k=k)
    fake_in_real, real_in_fake = by_loops(fake.double(), real.double(), k), by_loops(real.double(), fake.double(), k)
    assert metrics == pytest.approx(
        {
            "precision": fake_in_real.any(1).double().mean().item(),
            "recall": real_in_fake.any(1).double().mean().item(),
            "density": fake_in_real.sum().item() / (k * len(fake)),
            "coverage": fake_in_real.any(0).double().mean().item(),
        }
    )


def test_a_point_is_not_its_own_neighbour():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert nearest_others(x, 1).tolist() == [[1], [1], [2], [4]]
    assert nearest_others(x, 3)[:, 2].tolist() == [7, 6, 4, 7]
    assert nearest(x[:1], x, 2).tolist() == [[0, 1]]


def test_a_ball_contains_its_boundary():
    radii = torch.tensor([[1.0, 2.0, 2.0], [3.0, 4.0, 5.0]])
    distances = torch.tensor([[1.0, 5.1], [1.5, 0.0], [2.0, 4.0]])
    assert smallest_orders(distances, radii).tolist() == [[1, 4], [2, 1], [2, 2]]


def test_neighbours_do_not_depend_on_the_block_size(monkeypatch):
    real, fake = cloud(40, 3, 0), cloud(30, 3, 1)
    whole = neighbours(real, fake, 3)
    monkeypatch.setattr("gankit_plugins.metric.neighbours.BLOCK", 7)
    for a, b in zip(whole, neighbours(real, fake, 3), strict=True):
        torch.testing.assert_close(a, b)


def test_metrics_share_their_distances(monkeypatch):
    counted = Mock(side_effect=torch.cdist)
    monkeypatch.setattr("gankit_plugins.metric.neighbours.distances", counted)
    computed(comparison(cloud(20, 3, 0), cloud(15, 3, 1)), PrecisionRecall, DensityCoverage, Memorisation)
    assert sorted(len(x) * len(y) for x, y in (call.args for call in counted.mock_calls)) == [225, 300, 400]


# Modes


def test_modes_and_class_divergence_by_hand():
    predicted = torch.tensor([0] * 90 + [1] * 9 + [2])
    assert num_covered(predicted, 4, 0.1).item() == 2  # an equal share is 25, a tenth of it 2.5
    assert num_covered(predicted, 4, 0.01).item() == 3
    assert num_covered(predicted, 4, 0).item() == 3  # as in the papers
    real = torch.arange(100) % 4
    by_hand = sum(p * math.log(p / 0.25) for p in (0.9, 0.09, 0.01))
    assert class_divergence(predicted, real, 4).item() == pytest.approx(by_hand)
    assert class_divergence(real, real, 4).item() == pytest.approx(0)
    # Classes without real images count as half an image.
    lost = class_divergence(real, torch.zeros(100, dtype=torch.int64), 4).item()
    assert lost == pytest.approx(0.25 * math.log(0.25 / (100 / 101.5)) + 0.75 * math.log(0.25 / (0.5 / 101.5)))


def test_requested_classes_are_compared_by_name():
    """The generator and the classifier have different classes in a different order."""
    requested = torch.tensor([0, 0, 1, 1, 2])
    predicted = torch.tensor([3, 0, 1, 1, 2])  # a cat, an ant, two dogs, an emu
    assert class_accuracies(predicted, requested, ("cat", "dog", "eel"), ("ant", "dog", "emu", "cat")) == [0.5, 1]
    assert class_accuracies(predicted, requested, ("x", "y", "z"), ("ant", "dog", "emu", "cat")) == []


# The plugins


def comparison(real, fake, logits=None, requested=None, names=(), name="none", **more):
    """Return a comparison whose features are the images, with given logits for both sides."""
    table = {} if logits is None else {len(real): logits[0], len(fake): logits[1]}

    def extract(images):
        return Features(images.flatten(1), table.get(len(images)))

    samples = [
        Samples(images[:, :, None, None].float(), labels) for images, labels in ((real, None), (fake, requested))
    ]
    return Comparison(*samples, Extractor({"extractor": name}, extract, names), {"seed": 0}, **more)


def computed(pair, *plugins, **settings):
    """Return the values of metrics by name."""
    metrics = {}
    for plugin in plugins:
        metrics |= plugin(plugin.Config(**settings)).compute_metrics(pair)
    return metrics


def test_metrics_of_equal_features():
    x = cloud(60, 3, 0)
    same = comparison(x, x)
    metrics = computed(same, FrechetDistance, PrecisionRecall, DensityCoverage, Memorisation)
    assert metrics["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert (metrics["precision"], metrics["recall"], metrics["coverage"]) == (1, 1, 1)
    assert (metrics["nearest_ratio"], metrics["near_copies"]) == (0, 1)
    assert same.protocol == {"extractor": "none", "seed": 0}


def test_metrics_of_a_collapsed_generator():
    """One repeated image: high precision, low recall and coverage, one mode."""
    real = cloud(100, 3, 0)
    fake = real[:1].repeat(90, 1) + 1e-3 * cloud(90, 3, 1)
    logits = torch.randn(100, 5), torch.tensor([[0.0, 9.0, 0, 0, 0]]).repeat(90, 1)
    collapsed = comparison(real, fake, logits, torch.arange(90) % 5, tuple("abcde"))
    plugins = FrechetDistance, PrecisionRecall, DensityCoverage, Modes, InceptionScore, Memorisation
    metrics = computed(collapsed, *plugins)
    assert metrics["precision"] == 1
    assert metrics["recall"] < 0.05
    assert metrics["coverage"] < 0.2
    assert (metrics["modes"], metrics["as_asked"], metrics["as_asked_worst"]) == (1, 0.2, 0)
    assert metrics["near_copies"] > 0.9
    assert metrics["mode_divergence"] > 1
    assert metrics["inception_score"] == pytest.approx(1, abs=1e-3)
    assert metrics["nearest_ratio"] < 0.1
    assert metrics["frechet_distance"] > 0.5


def test_declared_directions_prefer_real_images_to_noise():
    """`better` names each number except those of copies. The generated samples are real or far from all real ones."""
    real, labels = cloud(100, 3, 0), torch.arange(100) % 5
    logits, names = 9.0 * torch.eye(5)[labels], tuple("abcde")
    good = comparison(real, cloud(90, 3, 1), (logits, logits[:90]), labels[:90], names, "inception 0")
    bad = comparison(real, cloud(90, 3, 1) + 50, (logits, logits[:1].repeat(90, 1)), labels[:90], names, "inception 0")
    plugins = FrechetDistance, Fid, KernelDistance, Kid, PrecisionRecall, DensityCoverage, Modes, InceptionScore
    for plugin in plugins:
        high, low = computed(good, plugin), computed(bad, plugin)
        assert plugin.better.keys() == high.keys()
        assert all(improves(high[name], low[name], better) for name, better in plugin.better.items())
    assert not Memorisation.better


@pytest.mark.parametrize(("images", "covered", "warns"), [(90, 2, True), (90, 3, False), (4, 2, False)])
def test_a_run_that_ends_with_few_classes_warns(images, covered, warns):
    """Four images can cover at most four of five classes."""
    plugin, warnings = Modes(Modes.Config()), []
    run = SimpleNamespace(warn=warnings.append)
    plugin.on_stop(run)
    logits = torch.randn(100, 5), torch.eye(5)[torch.arange(images) % covered]
    plugin.compute_metrics(comparison(cloud(100, 3, 0), cloud(images, 3, 1), logits, None, tuple("abcde")))
    plugin.on_stop(run)
    assert len(warnings) == warns
    assert all(w.startswith("modes is 2: the images cover fewer than half of the 5 possible") for w in warnings)


def test_class_metrics_do_not_apply_without_logits():
    without_logits = comparison(cloud(20, 2, 0), cloud(20, 2, 1))
    assert Modes(Modes.Config()).compute_metrics(without_logits) is None
    assert InceptionScore(InceptionScore.Config()).compute_metrics(without_logits) is None


def test_few_images_reduce_k_and_the_block_size():
    few = computed(comparison(cloud(3, 2, 0), cloud(4, 2, 1)), PrecisionRecall, DensityCoverage, KernelDistance)
    assert all(math.isfinite(value) for value in few.values())


def test_fid_and_kid_require_inception():
    real, fake = cloud(60, 3, 0), cloud(50, 3, 1)
    inception = comparison(real, fake, name="inception 0123456789ab")
    for alias, general in ((Fid, FrechetDistance), (Kid, KernelDistance)):
        assert computed(inception, alias) == {alias.name: computed(inception, general)[general.name]}
        with pytest.raises(InputError, match=f"{alias.name} is defined for .* is classifier .* {general.name}"):
            computed(comparison(real, fake, name="classifier of classes 01"), alias)


# Copies


def comparison_with_part(real, count, fake):
    """Return a comparison with the first `count` real images of a dataset."""
    return comparison(real[:count], fake, dataset_features=lambda: Features(real.float()))


def test_copies_of_any_real_image_are_detected():
    """The copied images are not among the twentieth of the dataset that is compared."""
    torch.manual_seed(0)
    real, new = torch.randn(4000, 8), torch.randn(400, 8)
    copies = computed(comparison_with_part(real, 200, real[-400:]), Memorisation)
    assert copies["nearest_ratio"] < 1e-3
    assert copies["near_copies"] == 1
    fresh = computed(comparison_with_part(real, 200, new), Memorisation)
    assert fresh["nearest_ratio"] == pytest.approx(1, abs=0.1)
    assert fresh["near_copies"] < 0.04
    # One tenth of copies hardly changes the medians.
    some = computed(comparison_with_part(real, 200, torch.cat([new[:360], real[-40:]])), Memorisation)
    assert some["nearest_ratio"] > 0.9
    assert some["near_copies"] == pytest.approx(0.1, abs=0.04)


def test_memorisation_equals_loops():
    real, fake = cloud(30, 3, 0), cloud(9, 3, 1)
    metrics = computed(comparison_with_part(real, 11, fake), Memorisation)
    near = [min((x - y).norm().item() for y in real) for x in fake]
    apart = sorted(sorted((x - y).norm().item() for y in real)[1] for x in real[:11])
    assert metrics["nearest_ratio"] == pytest.approx(sorted(near)[4] / apart[5], rel=1e-5)
    edge = apart[0] + 0.01 * 10 * (apart[1] - apart[0])
    assert metrics["near_copies"] == pytest.approx(sum(d <= edge for d in near) / 9)


# Errors


@pytest.mark.parametrize(("real", "fake"), [(1, 5), (5, 1)])
def test_single_images_are_refused(real, fake):
    with pytest.raises(InputError, match="at least 2 of each are needed"):
        comparison(torch.rand(real, 2), torch.rand(fake, 2))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: Features(x.flatten(1) / 0), "odd: features of 3 of 3 images are NaN or infinite"),
        (lambda x: Features(x.flatten(1), x.flatten(1) * math.nan), "odd: logits of 3 images are NaN"),
        (lambda x: Features(x), r"odd returns features of shape \(3, 1, 2, 2\)"),
        (lambda x: Features(x.flatten(1), x), r"odd returns logits of shape"),
        (lambda x: {"features": x}, "odd returns a dict; it must return gankit.Features"),
        (lambda x: x @ torch.ones(7), "odd does not accept images of shape 1x2x2: .*size"),
    ],
    ids=["infinite", "NaN logits", "features", "logits", "type", "size"],
)
def test_invalid_features_are_errors(function, message):
    with pytest.raises(GankitError, match=message):
        Extractor({"extractor": "odd"}, function)(torch.ones(3, 1, 2, 2))


def test_separate_logits_are_computed_on_demand():
    logits = Mock(side_effect=lambda images: images.flatten(1))
    extractor = Extractor({"extractor": "two"}, lambda x: Features(x.flatten(1)), logits=logits)
    pair = Comparison(Samples(torch.rand(4, 1, 1, 2)), Samples(torch.rand(3, 1, 1, 2)), extractor, {})
    computed(pair, PrecisionRecall)
    logits.assert_not_called()
    for _ in range(2):
        assert computed(pair, InceptionScore)["inception_score"] >= 1
    logits.assert_called_once()


# Values without a meaning


def same_features(features):
    images = torch.arange(len(features)).to(torch.uint8).view(-1, 1, 1, 1)
    lookup = Extractor({"extractor": "lookup"}, lambda x: Features(features[x.flatten().long()]))
    return Comparison(Samples(images), Samples(images), lookup, {})


@pytest.mark.parametrize("count", [40, 200])
def test_distances_of_equal_images_are_not_negative(count):
    comparison = same_features(cloud(count, 64, seed=1).float())
    for metric in (FrechetDistance(FrechetDistance.Config()), KernelDistance(KernelDistance.Config(block=count))):
        value = metric.compute_metrics(comparison)[metric.name]
        assert 0 <= value < 1e-3


def test_neighbours_of_copies_have_no_metrics():
    distinct = cloud(10, 4, seed=2).float()
    comparison = same_features(distinct[torch.arange(40) % 10])
    for plugin in (PrecisionRecall, DensityCoverage, Memorisation):
        assert plugin(plugin.Config()).compute_metrics(comparison) is None
    few = torch.cat([cloud(30, 4, seed=3).float(), distinct[:1].expand(10, -1)])
    assert PrecisionRecall(PrecisionRecall.Config()).compute_metrics(same_features(few))["precision"] == 1
