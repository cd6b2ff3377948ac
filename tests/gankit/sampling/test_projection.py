"""Tests of the projection of images into z and w."""

import math

import pytest
import torch
from torch import nn

from gankit import ClassCondition, InputError, Plugin, Projection, Sampler, Spec, VectorCondition, hookimpl
from gankit.plugin.hooks import Hooks
from gankit.sampling.projection import (
    LatentPoint,
    Projector,
    descend,
    noise_factor,
    norm_limit,
    project,
    psnr,
    pyramid_distance,
    rate_factor,
)
from gankit.sampling.projection_file import read_projection, save_projection
from gankit.sampling.projection_path import ProjectionPath
from gankit.storage.atomic_io import tensors_to_bytes

CPU = torch.device("cpu")
SHAPE = (1, 4, 4)  # so small that the image pyramid has one level, and the nearest image is that of least squares


class Prior(Plugin):
    """Prior N(0, 1), uniform on [-1, 1), or with a one-hot code.

    Source: none.
    """

    name, kind = "prior", "latent"
    shape = "normal"

    @hookimpl
    def sample_latent(self, count, device, generator):
        if self.shape == "coded":
            code = torch.eye(2)[torch.randint(2, (count,), generator=generator)]
            return torch.cat([code, torch.randn(count, 1, generator=generator)], 1)
        if self.shape == "uniform":
            return torch.rand(count, 3, generator=generator) * 2 - 1
        return torch.randn(count, 3, generator=generator)


class Linear(nn.Module):
    """Generator that is linear in z, plus an offset of each class."""

    def __init__(self, classes=0):
        super().__init__()
        torch.manual_seed(3)
        self.A = nn.Parameter(torch.randn(3, 16) / 8)
        self.offsets = torch.linspace(-0.5, 0.5, classes) if classes else None

    def forward(self, z, condition):
        images = (z @ self.A).view(-1, *SHAPE)
        if self.offsets is None:
            return images
        weights = condition if condition.dim() == 2 else nn.functional.one_hot(condition, len(self.offsets)).float()
        return images + (weights @ self.offsets).view(-1, 1, 1, 1)


class Styled(nn.Module):
    style_layers = 2

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.A = nn.Parameter(torch.randn(5, 16) / 8)

    def map_latent(self, z, condition):
        w = torch.cat([z, z.square()], 1)[:, :5] + 0.5
        return w if condition is None else w + condition[:, None]

    def styles(self, z, condition):
        return self.map_latent(z, condition)[:, None].expand(-1, 2, -1)

    def synthesize(self, ws):
        return (ws.mean(1) @ self.A).view(-1, *SHAPE)

    def forward(self, z, condition):
        return self.synthesize(self.styles(z, condition))


def sampler_of(network, shape="normal", condition=None, mixes=False):
    prior = Prior(Prior.Config())
    prior.shape = shape
    spec = Spec(SHAPE, condition, latent_size=3, conditional=condition is not None)
    sampler = Sampler(network, Hooks({"latent": prior}), spec, CPU)
    sampler.spherical_prior, sampler.mixes_classes = shape == "normal", mixes
    return sampler


def least_squares(A, image):
    return torch.linalg.lstsq(A.detach().T, image.flatten()[:, None]).solution[:, 0]


def test_distance_is_that_of_a_naive_pyramid():
    torch.manual_seed(0)
    images, target = torch.randn(3, 2, 9, 11), torch.randn(2, 9, 11)
    for image, distance in zip(images, pyramid_distance(images, target), strict=True):
        errors, a, b = [], image, target
        while True:
            errors.append(((a - b) ** 2).mean().item())
            if min(a.shape[1:]) <= 4:
                break

            def halved(x):
                rows, columns = (-(-side // 2) for side in x.shape[1:])
                blocks = [
                    [x[:, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean((1, 2)) for c in range(columns)]
                    for r in range(rows)
                ]
                return torch.stack([torch.stack(row, -1) for row in blocks], -2)

            a, b = halved(a), halved(b)
        assert len(errors) == 3
        assert distance.item() == pytest.approx(sum(errors) / 3, rel=1e-5)


def test_units_and_schedules():
    assert psnr(4.0) == 0
    assert psnr(0.04) == pytest.approx(20)
    assert psnr(0.0) == math.inf
    assert [rate_factor(t) for t in (0, 0.025, 0.05, 0.5, 0.75)] == pytest.approx([0, 0.5, 1, 1, 1])
    assert [rate_factor(t) for t in (0.875, 1)] == pytest.approx([0.5, 0])
    assert [noise_factor(t) for t in (0, 0.375, 0.75, 1)] == pytest.approx([1, 0.25, 0, 0])
    points = torch.tensor([[3.0, 4.0], [0.3, 0.4], [1.2, 1.6]])
    expected = torch.tensor([[1.8, 2.4], [0.6, 0.8], [1.2, 1.6]])
    torch.testing.assert_close(norm_limit(1, 3)(points), expected)


def test_descent_finds_the_least_squares_solution_from_each_start_with_and_without_noise():
    network = Linear()
    target = torch.randn(SHAPE) / 4
    expected = least_squares(network.A, target)
    for noise in (0.0, 0.5):
        seen = []
        paths = descend(
            lambda points: network(points, None),
            torch.randn(4, 3),
            target,
            150,
            0.1,
            noise,
            lambda points: points,
            0,
            lambda step, distance: seen.append((step, distance.item())),  # noqa: B023
        )
        assert paths.shape == (101, 4, 3)
        torch.testing.assert_close(paths[-1], expected.expand(4, -1), atol=0.02, rtol=0)
        assert [step for step, _ in seen] == list(range(1, 151))
        assert seen[-1][1] < seen[0][1]
    assert network.A.grad is None


def test_own_image_is_found_in_z_with_its_class_and_with_the_same_numbers_for_a_seed():
    sampler = sampler_of(Linear(3), condition=ClassCondition(("a", "b", "c")))
    image = next(sampler.outputs(torch.tensor([[0.9, -1.0, 0.7]]), torch.tensor([2])))[0]
    before = torch.get_rng_state()
    first, second = (project(sampler, image[None], steps=60, seed=5)[0] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(first, Projection)
    assert (first.point.space, first.point.label) == ("z", 2)
    assert torch.equal(first.point.latent, second.point.latent)
    assert first.error < 1e-4 < first.random_error
    torch.testing.assert_close(first.point.latent, torch.tensor([0.9, -1.0, 0.7]), atol=0.05, rtol=0)
    torch.testing.assert_close(first.path[-1], first.point.latent)
    assert project(sampler, image[None], "b", 2)[0].point.label == 1
    # With 0 steps, the result is the nearest random image.
    none = project(sampler, image[None], steps=0, seed=5)[0]
    assert none.error == pytest.approx(none.random_error, rel=1e-5)
    assert len(none.path) == 1


def test_w_is_searched_from_the_mean_of_w():
    sampler = sampler_of(Styled())
    target = torch.randn(SHAPE)
    expected = least_squares(sampler.generator.A, target)
    result = Projector(sampler).project(target, 150)
    assert (result.point.space, result.point.label) == ("w", None)
    torch.testing.assert_close(result.point.latent, expected, atol=0.05, rtol=0)
    # The mean of (z, z^2) + 0.5 over a normal prior.
    torch.testing.assert_close(result.path[0], torch.tensor([0.5, 0.5, 0.5, 1.5, 1.5]), atol=0.06, rtol=0)
    assert result.encoder_error is None


def test_encoder_is_a_start_and_its_error_is_that_without_steps():
    network = Linear()
    inverse = torch.linalg.pinv(network.A.detach())
    sampler = sampler_of(network)
    image = next(sampler.outputs(torch.tensor([[0.3, 1.2, -0.9]]), None))[0]
    exact = Projector(sampler, encode=lambda images: images.flatten(1) @ inverse).project(image, 0)
    assert exact.error == exact.encoder_error < 1e-10
    torch.testing.assert_close(exact.point.latent, torch.tensor([0.3, 1.2, -0.9]))
    far = Projector(sampler, encode=lambda images: torch.full((1, 3), 2.0)).project(image, 60)
    assert far.error < 1e-3 < far.encoder_error


def test_number_of_starts():
    for classes, starts in ((1, 8), (3, 9), (9, 9)):
        names = ClassCondition(tuple("abcdefghi"[:classes]))
        _, groups = Projector(sampler_of(Linear(classes), condition=names))._starts(torch.zeros(SHAPE))
        assert groups.bincount().tolist() == [starts // classes] * classes


def test_search_that_becomes_nan_is_not_the_result():
    network = Linear()
    # The gradient is NaN for all z, and the images are finite.
    network.register_forward_hook(
        lambda module, inputs, images: images + (inputs[0][:, :1] * 0)[..., None, None].sqrt()
    )
    result = Projector(sampler_of(network)).project(torch.zeros(SHAPE), 2)
    assert result.path.isnan().sum() == 0
    assert result.error == result.random_error


def test_z_stays_plausible():
    far = torch.full(SHAPE, 10.0)
    normal = Projector(sampler_of(Linear())).project(far, 40).point.latent
    # The quantile 0.99 of the norm of three independent numbers from N(0, 1) is 3.37.
    assert normal.norm().item() == pytest.approx(3.37, abs=0.15)
    uniform = Projector(sampler_of(Linear(), "uniform")).project(far, 40).point.latent
    assert 0.99 < uniform.abs().max() <= 1
    coded = Projector(sampler_of(Linear(), "coded")).project(far, 40)
    assert sorted(coded.point.latent[:2].tolist()) == [0, 1]
    assert (coded.path[:, :2] == coded.path[0, :2]).all()
    assert (coded.path[-1] != coded.path[0]).any()


def test_refusals(tmp_path):
    image = torch.zeros(1, *SHAPE)
    many = ClassCondition(tuple(map(str, range(21))))
    for condition, expected in ((VectorCondition(("age",)), "takes 1 number: age"), (many, "has 21 classes")):
        with pytest.raises(InputError, match=expected):
            project(sampler_of(Linear(21), condition=condition), image)
    with pytest.raises(InputError, match="class"):
        project(sampler_of(Linear()), image, "cat")
    with pytest.raises(InputError, match=r"the images are \(3, 4, 4\)"):
        project(sampler_of(Linear()), torch.zeros(1, 3, 4, 4))
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(InputError, match=r"x\.png: cannot be used as images"):
        project(sampler_of(Linear()), [tmp_path / "x.png"])


def test_files_give_back_the_point_and_refuse_another_generator(tmp_path):
    result = Projector(sampler_of(Styled())).project(torch.zeros(SHAPE), 3)
    save_projection(result, tmp_path / "deep/a.safetensors", "abc", seed=0)
    point = read_projection(tmp_path / "deep/a.safetensors", "abc")
    assert (point.space, point.label) == ("w", None)
    assert torch.equal(point.latent, result.point.latent)
    with pytest.raises(InputError, match="projected with another generator"):
        read_projection(tmp_path / "deep/a.safetensors", "abd")
    (tmp_path / "b.safetensors").write_bytes(tensors_to_bytes({"z": torch.zeros(3)}))
    with pytest.raises(InputError, match="is not a projection"):
        read_projection(tmp_path / "b.safetensors", "abc")
    with pytest.raises(InputError, match="there is no projection"):
        read_projection(tmp_path / "c.safetensors", "abc")


def points_of(*labels, space="z", size=3):
    return [LatentPoint(space, torch.randn(size, generator=torch.Generator().manual_seed(n)), k) for n, k in labels]


def test_path_leads_through_all_points_and_classes():
    network = Linear(2)
    condition = ClassCondition(("a", "b"))
    points = points_of((0, 0), (1, 0), (2, 1))
    path = ProjectionPath(sampler_of(network, condition=condition, mixes=True), points)
    rows = path.rows(5).unflatten(0, (2, 5))
    own = torch.cat([network(point.latent[None], torch.tensor([point.label])) for point in points])
    torch.testing.assert_close(rows[:, 0], own[:2])
    torch.testing.assert_close(rows[:, -1], own[1:])
    for number in range(3):
        torch.testing.assert_close(path.at(number / 3)[0], own[number])
    # Halfway, the class weights are equal, so the offsets -0.5 and 0.5 cancel.
    z = torch.linalg.lstsq(network.A.detach().T, rows[1, 2].flatten()[:, None]).solution[:, 0]
    assert z.norm() > 0.9 * min(points[1].latent.norm(), points[2].latent.norm())
    torch.testing.assert_close((z @ network.A).view(SHAPE), rows[1, 2])


def test_path_in_w_is_straight_and_needs_no_class():
    points = points_of((0, 0), (1, 1), space="w", size=5)
    path = ProjectionPath(sampler_of(Styled(), condition=ClassCondition(("a", "b"))), points)
    w = torch.stack([point.latent for point in points]).mean(0)
    torch.testing.assert_close(path.rows(3)[1], (w @ path.sampler.generator.A).view(SHAPE))


def test_paths_that_do_not_exist():
    whole = sampler_of(Linear(2), condition=ClassCondition(("a", "b")))
    with pytest.raises(InputError, match="have the classes a, b, and the generator takes only whole classes"):
        ProjectionPath(whole, points_of((0, 0), (1, 1)))
    with pytest.raises(InputError, match="two or more images"):
        ProjectionPath(whole, points_of((0, 0)))
    codes = [LatentPoint("z", torch.tensor(z), None) for z in ([0.0, 1.0, 0.3], [1.0, 0.0, 0.3])]
    with pytest.raises(InputError, match="different discrete codes"):
        ProjectionPath(sampler_of(Linear(), "coded"), codes)
