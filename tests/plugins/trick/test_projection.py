"""Trick: projection discriminator."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from gankit import DiscriminatorOutput
from gankit.errors import RecipeError
from gankit.plugin.slots import PLAYERS
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit_plugins.trick.projection import Projection, ProjectionDiscriminator

CONDITIONAL = {
    "generator": {"use": "conditional_dcgan", "width": 2},
    "discriminator": {"use": "dcgan", "width": 2},
    "tricks": {"projection": {}},
}


def normalized(player, use):
    return {"normalization": {player: {"use": use}}}


class Network(nn.Module):
    """Discriminator with several logits for each image."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, images, labels):
        return DiscriminatorOutput(self.logits, images.flatten(1), {"other": images})


@pytest.mark.parametrize("shape", [(), (1,), (1, 2, 3)])
def test_logits_by_a_naive_loop(shape):
    labels, images = [2, 0, 2, 1], torch.randn(4, 2, 3, 1, dtype=torch.float64)
    logits = torch.randn(4, *shape, dtype=torch.float64)
    D = ProjectionDiscriminator(Network(logits), nn.Embedding(3, 6).double())
    output = D(images, torch.tensor(labels))
    assert output.logits.shape == logits.shape
    assert torch.equal(output.features, images.flatten(1))
    assert torch.equal(output.extra["other"], images)
    for i, label in enumerate(labels):
        share = sum(D.embedding.weight[label, f] * images[i].flatten()[f] for f in range(6))
        torch.testing.assert_close(output.logits[i], logits[i] + share)


def test_gradient_of_a_logit_is_the_features_in_the_row_of_the_class():
    images = torch.randn(2, 1, 2, 2)
    D = ProjectionDiscriminator(Network(torch.zeros(2)), nn.Embedding(3, 4))
    D(images, torch.tensor([2, 0])).logits.sum().backward()
    expected = torch.stack([images[1].flatten(), torch.zeros(4), images[0].flatten()])
    torch.testing.assert_close(D.embedding.weight.grad, expected)


def test_inner_product_is_computed_in_float32():
    """256 + 1 in bfloat16 is 256."""
    D = ProjectionDiscriminator(Network(torch.zeros(1)), nn.Embedding(1, 2))
    D.embedding.weight.data.copy_(torch.tensor([[1.0, -1.0]]))
    images = torch.tensor([257.0, 256.0]).view(1, 2, 1, 1)
    assert D(images, torch.tensor([0])).logits.item() == 1


def test_logit_in_a_run(start_run):
    run = start_run(CONDITIONAL)
    D, (images, labels, _) = run.discriminator.eval(), run.draw_real()
    plain = D.network(images, labels)
    expected = plain.logits + torch.einsum("bf,bf->b", D.embedding.weight[labels], plain.features)
    torch.testing.assert_close(D(images, labels).logits, expected)
    assert D.embedding.weight.shape == (2, plain.features.shape[1])
    assert run.terms.keys() == {"generator", "discriminator"}
    assert [term.name for term in run.terms["discriminator"]] == ["adversarial"]


def test_swapped_labels_change_the_logits(start_run):
    run = start_run(CONDITIONAL)
    train_iterations(run, 2)
    images, labels, _ = run.draw_real()
    run.discriminator.eval()
    ours, swapped = (run.discriminator(images, y).logits for y in (labels, 1 - labels))
    assert ((ours - swapped).abs() > 1e-6).all()


def share_as_requested(run):
    """Return the share of generated circles and rings that are nearer to the mean of their class than of the other."""
    images, labels, _ = run.dataset.read()
    x = images.flatten(1) / 127.5 - 1
    means = torch.stack([x[labels == c].mean(0) for c in (0, 1)])
    requested = torch.arange(200) % 2
    with torch.no_grad():
        generated = run.generator.eval()(run.draw_latent(200, requested), requested).flatten(1)
    return (torch.cdist(generated, means).argmin(1) == requested).double().mean().item()


def test_generator_learns_the_requested_classes_by_the_projection_only(start_run):
    change = {
        "data": {"use": "shapes", "kinds": ["circle", "ring"], "resolution": 8, "count": 64},
        "train": {"batch_size": 32},
        "generator": {"use": "mlp", "hidden": [16]},
        "discriminator": {"use": "mlp", "hidden": [16]},
        "normalization": {"generator": {"use": "conditional_batch_norm"}},
        "optimizer": {player: {"use": "adam", "lr": 0.01} for player in PLAYERS},
    }
    shares = [
        share_as_requested(train_iterations(start_run(change | {"tricks": tricks}), 120))
        for tricks in ({}, {"projection": {}})
    ]
    assert shares[0] < 0.65
    assert shares[1] > 0.75


def test_spectral_norm_divides_the_embedding_by_its_largest_singular_value(start_run):
    run = start_run(CONDITIONAL | normalized("discriminator", "spectral_norm"))
    train_iterations(run, 3)
    D = run.discriminator.eval()
    raw = D.embedding.parametrizations.weight.original
    largest = torch.linalg.svdvals(raw)[0]
    assert largest > 0
    torch.testing.assert_close(D.embedding.weight, raw / largest, rtol=1e-3, atol=1e-5)
    parametrized = [module for module in D.modules() if parametrize.is_parametrized(module, "weight")]
    assert all(len(module.parametrizations.weight) == 1 for module in parametrized)
    # The two convolutions or more, the last layer and the embedding.
    assert len(parametrized) == sum(isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding) for m in D.modules())


@pytest.mark.parametrize("use", ["none", "batch_norm", "layer_norm", "instance_norm", "group_norm"])
def test_other_normalisations_do_not_act_on_the_embedding(assembled, use):
    D = assembled(CONDITIONAL | normalized("discriminator", use)).discriminator
    assert not parametrize.is_parametrized(D.embedding)
    assert type(D.embedding) is nn.Embedding


def test_spectral_norm_in_the_generator_does_not_act_on_the_embedding(assembled):
    D = assembled(CONDITIONAL | normalized("generator", "spectral_norm")).discriminator
    assert not parametrize.is_parametrized(D.embedding)


def test_embedding_begins_with_glorots_uniform_distribution(assembled):
    run = assembled(CONDITIONAL | {"discriminator": {"use": "dcgan", "width": 64}})
    weight = run.discriminator.embedding.weight
    bound = (6 / sum(weight.shape)) ** 0.5
    assert 0.99 * bound < weight.abs().max() <= bound


def test_run_with_spectral_norm_resumes_exactly():
    changes = {"data": {"classes": 3}} | normalized("discriminator", "spectral_norm")
    check_resume({Projection: {}}, changes)


def test_with_packing_a_pack_has_the_label_of_its_images(start_run):
    run = start_run({**CONDITIONAL, "train": {"batch_size": 8}, "tricks": {"packing": {}, "projection": {}}})
    seen = []
    run.discriminator.register_forward_hook(lambda module, inputs, output: seen.append((*inputs, output.logits)))
    train_iterations(run, 1)
    for packs, labels, logits in seen:
        assert packs.shape[:2] == (4, 6)
        assert labels.shape == logits.shape == (4,)


@pytest.mark.parametrize("tricks", [["gradient_penalty"], ["unrolled_discriminator"], ["minibatch_stddev"]])
def test_with_other_tricks(start_run, tricks):
    for order in ([*tricks, "projection"], ["projection", *tricks]):
        train_iterations(start_run(CONDITIONAL | {"tricks": {name: {} for name in order}}), 1)


def test_one_class_is_enough():
    parts = {Projection: {}, "minibatch_discrimination": {"kernels": 2, "dims": 2}}
    train_iterations(tiny_run(parts, {"data": {"classes": 1}}), 1)


def test_data_without_labels_are_refused():
    with pytest.raises(RecipeError, match="the data have no condition, and the projection needs classes or numbers"):
        tiny_run({Projection: {}})
    with pytest.raises(RecipeError, match="the data have texts of up to 3 words, 3 known words, and the projection"):
        tiny_run({Projection: {}}, {"data": {"condition": "tokens"}})


def test_numbers_are_embedded_by_a_matrix():
    numbers, images = torch.randn(4, 2, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    D = ProjectionDiscriminator(Network(torch.zeros(4, dtype=torch.float64)), nn.Linear(2, 3, bias=False).double())
    for logit, c, x in zip(D(images, numbers).logits, numbers, images, strict=True):
        share = sum(D.embedding.weight[f, k] * c[k] * x[f] for f in range(3) for k in range(2))
        torch.testing.assert_close(logit, share)
    run = train_iterations(tiny_run({Projection: {}}, {"data": {"condition": "vector"}}), 1)
    assert run.discriminator.embedding.weight.shape[1] == 2
    check_resume({Projection: {}}, {"data": {"condition": "vector"}})


def test_discriminator_for_each_class_gives_a_warning(assembled):
    (warning,) = [w for w in assembled({"tricks": {"projection": {}}}, "igan_vn").warnings if "projection" in w]
    assert "igan_per_class has a last layer for each class already" in warning


def test_generator_without_labels_is_refused():
    with pytest.raises(RecipeError, match="the generator dcgan takes no labels, so it cannot"):
        tiny_run({"projection": {}}, {"data": {"classes": 2}, "generator": {"use": "dcgan", "width": 2}})
