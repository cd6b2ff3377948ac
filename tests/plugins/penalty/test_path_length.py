"""Path length regularisation: its equation, closed forms, and the average of the lengths."""

import math

import pytest
import torch
from torch import nn

from gankit import InputError
from gankit.testing import tiny_run, train_iterations
from gankit_plugins.layers.style_generator import Synthesis
from gankit_plugins.penalty.path_length import PathLength, path_lengths, scale_of

STYLEGAN2 = {"use": "stylegan2", "w_size": 8, "mapping_layers": 2, "channel_base": 32, "max_channels": 8}


class LinearSynthesis(Synthesis):
    """Linear map A_l of the w of each layer l to an image, summed over the layers."""

    layers = 3

    def __init__(self, w_size=4, shape=(2, 3, 5)):
        super().__init__()
        torch.manual_seed(0)
        self.A = nn.Parameter(torch.randn(self.layers, w_size, *shape, dtype=torch.float64))

    def forward(self, ws):
        return torch.einsum("blw,lwchv->bchv", ws, self.A)


def test_lengths_of_a_linear_generator_have_a_closed_form():
    synthesis = LinearSynthesis()
    w, y = torch.randn(6, 4).double(), torch.randn(6, 2, 3, 5).double()
    ws = w[:, None].expand(-1, 3, -1).requires_grad_()
    J = synthesis.A.sum(0).flatten(1)  # (w, pixels)
    expected = torch.stack([(J @ y[i].flatten()).norm() for i in range(6)])
    torch.testing.assert_close(path_lengths(synthesis(ws), ws, y), expected)


def test_lengths_by_finite_differences():
    """The k-th entry of J^T y is the derivative of <g(w), y> along w_k."""

    def g(w):
        return torch.stack([(w * w.roll(1, 1)).sin(), w.exp()], 1)[..., None]

    w, y = torch.randn(3, 4).double(), torch.randn(3, 2, 4, 1).double()
    h, derivative = 1e-5, torch.zeros(3, 4).double()
    for k in range(4):
        step = h * torch.eye(4)[k].double()
        derivative[:, k] = ((g(w + step) - g(w - step)) * y).sum((1, 2, 3)) / (2 * h)
    ws = w[:, None].requires_grad_()
    torch.testing.assert_close(path_lengths(g(ws[:, 0]), ws, y), derivative.norm(dim=1), rtol=1e-7, atol=1e-7)


def test_mean_length_of_an_orthogonal_generator():
    """With J^T J = s^2 I, J^T y has independent components of the variance s^2 (Karras 2019, section 3.2)."""
    w_size, scale = 64, 3.0
    Q, _ = torch.linalg.qr(torch.randn(100, w_size))
    ws = torch.randn(4000, 1, w_size).requires_grad_()
    images = scale * (ws[:, 0] @ Q.T)[:, :, None, None]
    mean = path_lengths(images, ws, torch.randn_like(images)).mean().item()
    assert mean == pytest.approx(scale * math.sqrt(w_size), rel=0.01)


@pytest.mark.parametrize("size", [(1024, 1024), (32, 32), (16, 64)])
def test_weight_is_the_papers(size):
    r = math.sqrt(size[0] * size[1])
    assert scale_of(*size) == pytest.approx(math.log(2) / (r**2 * (math.log(r) - math.log(2))))


def run_with(changes=None, **settings):
    return tiny_run({PathLength: settings}, {"generator": STYLEGAN2} | (changes or {}))


def test_penalty_and_average_in_a_run(monkeypatch):
    run = run_with(every=2, decay=0.75, weight=3.0)
    (term,) = [term for term in run.terms["generator"] if term.name == "path_length"]
    assert (term.weight, term.every) == (3.0, 2)
    plugin = run.plugins["tricks.path_length"]
    lengths = []
    recorded = path_lengths

    def record(images, ws, y):
        assert len(images) == run.recipe.train.batch_size / 2
        lengths.append(recorded(images, ws, y))
        return lengths[-1]

    monkeypatch.setattr("gankit_plugins.penalty.path_length.path_lengths", record)
    average, means = None, []
    for iteration in range(5):
        train_iterations(run, 1)
        if iteration % 2 == 0:
            now = lengths[-1].detach()
            a = now.mean() if average is None else average
            value = scale_of(8, 8) * (now - a).square().mean()
            torch.testing.assert_close(run.values["generator"]["path_length"], value)
            average = now.mean() if average is None else 0.75 * average + 0.25 * now.mean()
            means.append(average)
        torch.testing.assert_close(plugin.average, means[-1])
    assert len(lengths) == 3


def test_average_over_the_parts_of_a_batch(monkeypatch):
    run = run_with({"train": {"accumulate": 2}}, every=1)
    lengths = []
    recorded = path_lengths
    monkeypatch.setattr(
        "gankit_plugins.penalty.path_length.path_lengths",
        lambda *arguments: lengths.append(recorded(*arguments)) or lengths[-1],
    )
    train_iterations(run, 1)
    assert len(lengths) == 2
    torch.testing.assert_close(run.plugins["tricks.path_length"].average, torch.cat(lengths).mean().detach())


def test_other_generators_are_refused():
    with pytest.raises(InputError, match="path_length needs a generator with a mapping network"):
        tiny_run({PathLength: {}})
