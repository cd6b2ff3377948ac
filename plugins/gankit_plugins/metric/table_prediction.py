"""Usefulness of generated rows: a classifier that is trained on them is tested on real rows."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gankit import Comparison, InputError, Plugin, Settings, hookimpl
from gankit_plugins.layers.table_columns import categories, columns_of, decode_rows, row_features

UNITS, STEPS, RATE = 64, 300, 0.01
"""Hidden units of the classifier, number of Adam steps on all rows, and learning rate."""


def trained_classifier(x: Tensor, labels: Tensor, classes: int) -> nn.Module:
    """Train a classifier with one hidden layer on features x (N, D) and labels (N,), and return it."""
    network = nn.Sequential(nn.Linear(x.shape[1], UNITS), nn.ReLU(), nn.Linear(UNITS, classes))
    optimizer = torch.optim.Adam(network.parameters(), RATE, weight_decay=1e-4)
    with torch.enable_grad():
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(network(x), labels).backward()
            optimizer.step()
    return network


def balanced_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the mean over the classes of the proportion of correct predictions (N,), for labels (N,)."""
    correct = (predicted == labels).double()
    return torch.stack([correct[labels == label].mean() for label in labels.unique()]).mean().item()


class TablePrediction(Plugin):
    """Accuracy of a classifier that predicts a category of real rows, trained on generated rows or on real rows.

    The real rows are split in half. One classifier is trained on one half, another one on equally many generated rows,
    and both are tested on the other half. `accuracy_real` and `accuracy_generated` are their balanced accuracies, in
    which each word counts equally. `accuracy_gap` is the difference. A gap near 0 means that the generated rows are as
    useful as real rows for this prediction.

    Source: Esteban 2017, section 5.2 ("train on synthetic, test on real"); Xu 2019, section 5.2.

    When to use: for tables with a category that other columns predict.
    When not: if no column predicts the category. Both classifiers then guess, and the gap is near 0.
    """

    name = "table_prediction"
    kind = "metric"
    better: ClassVar = {"accuracy_generated": "higher", "accuracy_gap": "lower"}

    class Config(Settings):
        label: str | None = Field(None, description="category to predict; default: the last category of the table")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        columns = columns_of(comparison.real.encoding, self.name)
        names = [column.name for column in categories(columns)]
        if self.config.label not in (None, *names):
            there = ", ".join(names) or "none"
            raise InputError(f"label: {self.config.label!r} is no category of the table; there are {there}")
        if not names or len(columns) < 2:
            return None
        label = self.config.label or names[-1]
        position = [column.name for column in columns].index(label)
        (x, labels), (fake_x, fake_labels) = (
            (row_features(rows, columns, without=label), decode_rows(rows, columns)[position].long())
            for rows in (comparison.real.images, comparison.fake.images)
        )
        # Tables are often sorted, so the test rows are every second row and not the second half.
        half, classes = len(x[::2]), len(columns[position].words)
        accuracies = {}
        for name, inputs, targets in (
            ("real", x[::2], labels[::2]),
            ("generated", fake_x[:half], fake_labels[:half]),
        ):
            network = trained_classifier(inputs, targets, classes)
            accuracies[f"accuracy_{name}"] = balanced_accuracy(network(x[1::2]).argmax(1), labels[1::2])
        return accuracies | {"accuracy_gap": accuracies["accuracy_real"] - accuracies["accuracy_generated"]}
