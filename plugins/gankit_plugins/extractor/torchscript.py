"""Feature extractor with a network from a TorchScript file."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import torch
from pydantic import Field

from gankit import Dataset, Extractor, InputError, Plugin, RecipePath, Settings, hookimpl, network_extractor


def load(path: Path, device: torch.device) -> tuple[torch.jit.ScriptModule, str]:
    """Load a network from a TorchScript file. Return the network in evaluation mode, and the SHA-256 of the file.

    Raises:
        InputError: the file cannot be read, or is not a TorchScript file.
    """
    try:
        data = path.read_bytes()
        return torch.jit.load(BytesIO(data), map_location=device).eval(), hashlib.sha256(data).hexdigest()
    except OSError as error:
        raise InputError(f"path: {path} cannot be read: {error.strerror}") from error
    except RuntimeError as error:
        raise InputError(f"path: {path} is not a TorchScript file: {str(error).splitlines()[0]}") from error


class TorchScript(Plugin):
    """Features of any network in a TorchScript file.

    The network takes images (B, 3, H, W) in [-1, 1]; grey images are repeated in three channels. The network returns
    features (B, F), or features and logits (B, K). The code in the file is executed, so use only files that you trust.
    For a network in Python, use `extractor.use = "package.module:Class"`.

    Source: none.

    When to use: if you have a network that suits the images better than Inception.
    When not: to compare with papers, which use other networks.
    """

    name = "torchscript"
    kind = "extractor"

    class Config(Settings):
        path: RecipePath = Field(description="path of the file")
        size: int | None = Field(None, ge=1, description="height and width to which images are resized, bilinearly")
        dataset_classes: bool = Field(
            False,
            description="whether its logits, or its only output, are of the dataset's classes; `modes` requires it",
        )

    config: Config

    @hookimpl
    @torch.no_grad()
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        if self.config.dataset_classes and not dataset.class_names:
            raise InputError("dataset_classes: the dataset has no classes; remove this setting")
        network, digest = load(self.config.path, device)
        class_names = dataset.class_names if self.config.dataset_classes else ()
        return network_extractor(
            network, device, f"{self.config.path.name} {digest[:12]}", self.config.size, class_names
        )
