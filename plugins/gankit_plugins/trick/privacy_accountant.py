"""Privacy accountant of DP-SGD: epsilon after a number of steps, computed by Opacus."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from gankit import InputError


class PrivacyAccountant:
    """Accountant of the subsampled Gaussian mechanism in Renyi differential privacy.

    Source: Mironov 2019 (Renyi Differential Privacy of the Sampled Gaussian Mechanism), computed by Opacus. The
    conversion to epsilon is that of Balle 2020, theorem 21.

    Args:
        q: probability with which each sample enters a step.
        sigma: noise multiplier, the standard deviation of the noise divided by the clipping norm. Above 0.
        delta: delta of the guarantee (epsilon, delta).

    Raises:
        InputError: Opacus is not installed.
    """

    def __init__(self, q: float, sigma: float, delta: float) -> None:
        self.delta = delta
        self.analysis = _library("opacus.accountants.analysis.rdp")
        self.orders: Sequence[float] = _library("opacus.accountants").RDPAccountant.DEFAULT_ALPHAS
        self.rdp = self.analysis.compute_rdp(q=q, noise_multiplier=sigma, steps=1, orders=self.orders)
        """Renyi divergence bound of one step for each order. The bounds of successive steps add up."""

    def epsilon(self, steps: int) -> float:
        """Return epsilon after a number of steps. It is 0 before the first step."""
        if steps == 0:
            return 0.0
        with warnings.catch_warnings():
            # Opacus warns if a finer set of orders could give a smaller epsilon. The returned epsilon is valid anyway.
            warnings.filterwarnings("ignore", "Optimal order")
            epsilon, _ = self.analysis.get_privacy_spent(orders=self.orders, rdp=self.rdp * steps, delta=self.delta)
        return float(epsilon)


def _library(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"opacus cannot be imported, which computes epsilon ({error}); run `pip install 'gankit[privacy]'`"
        ) from error
