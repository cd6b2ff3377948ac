"""Training of the feature networks that gankit's wheel contains.

    python benchmarks/feature_networks.py --data DIR --out DIR [--device cuda] [--only colour,grey] [--epochs N]

DIR of `--data` contains `cifar10/train.zip` and `cifar10/test.zip` (JPEG or PNG files in a folder for each class) and
the idx files of MNIST in `mnist/`. The program writes `colour.safetensors` (CIFAR-10, 32x32) and `grey.safetensors`
(MNIST, 28x28). Batch norm is merged into the convolutions. The metadata hold the accuracy on the test images.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from timing import parser_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from gankit_plugins.data.images import Images
from gankit_plugins.data.mnist import Mnist
from gankit_plugins.extractor.feature_network import FeatureNetwork

BATCH, SEED = 256, 0
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.4, 0.9, 5e-4
LABEL_SMOOTHING = 0.1
SHIFT = 4
"""Largest shift of a training image in x and in y, in pixels."""


class Task(NamedTuple):
    """Classification task on which a feature network is trained."""

    name: str
    training_data: str
    channels: int
    epochs: int
    flip: bool
    """Whether a mirrored image keeps its class."""


TASKS = (Task("colour", "CIFAR-10", 3, 40, True), Task("grey", "MNIST", 1, 2, False))


def images_of(task: Task, data: Path, split: str) -> tuple[Tensor, Tensor]:
    """Return the images (N, C, H, W) uint8 and labels (N,) of a split."""
    if task.name == "colour":
        settings = Images.Config(path=data / "cifar10" / f"{split}.zip", resolution=32)
        images, labels = Images(settings).load_data().read()[:2]
    else:
        images, labels = Mnist(Mnist.Config(folder=data / "mnist", split=split)).load_data().read()[:2]
    assert labels is not None
    return images, labels


def augment(images: Tensor, flip: bool) -> Tensor:
    """Return images (B, C, H, W) with random shifts and, with `flip`, random reflections."""
    batch, _, height, width = images.shape
    device = images.device
    padded = pad(images, (SHIFT,) * 4, mode="reflect")
    rows = torch.randint(2 * SHIFT + 1, (batch, 1), device=device) + torch.arange(height, device=device)
    columns = torch.randint(2 * SHIFT + 1, (batch, 1), device=device) + torch.arange(width, device=device)
    if flip:
        columns = torch.where(torch.rand(batch, 1, device=device) < 0.5, columns, columns.flip(1))
    index = torch.arange(batch, device=device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def train(task: Task, images: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    """Return a feature network that is trained on images (N, C, H, W) uint8 and labels (N,), on their device."""
    torch.manual_seed(SEED)
    device = images.device
    network = FeatureNetwork(task.channels, 10, nn.BatchNorm2d).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(), LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * steps)
    precision = torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
    for epoch in range(epochs):
        began, total = time.monotonic(), torch.zeros((), device=device)
        for index in torch.randperm(len(images), device=device)[: steps * BATCH].split(BATCH):
            inputs = augment(images[index].float() / 127.5 - 1, task.flip).contiguous(memory_format=torch.channels_last)
            with precision:
                _, logits = network(inputs)
                loss = cross_entropy(logits.float(), labels[index], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        print(f"{task.name}: epoch {epoch + 1}/{epochs}, loss {total / steps:.4f}, {time.monotonic() - began:.1f} s")
    return network.eval()


def fold(network: nn.Module) -> None:
    """Merge each batch norm of a network in evaluation mode into the convolution before it, in place."""
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place, (convolution, norm) in enumerate(zip(sequence, list(sequence)[1:], strict=False), start=1):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fused = torch.nn.utils.fuse_conv_bn_eval(convolution, norm)
                sequence[place - 1], sequence[place] = fused, nn.Identity()


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the proportion of images (N, C, H, W) uint8 whose class the network predicts."""
    predicted = torch.cat([network(part.float() / 127.5 - 1)[1].argmax(1) for part in images.split(500)])
    return (predicted == labels).double().mean().item()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10/ and mnist/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the networks")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--only", default="colour,grey", help="networks to train, separated by commas")
    parser.add_argument("--epochs", type=int, help="number of epochs, instead of that of each network")
    parser.add_argument("--images", type=int, help="number of training images, for a trial")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    for task in [task for task in TASKS if task.name in given.only.split(",")]:
        images, labels = (tensor[: given.images].to(given.device) for tensor in images_of(task, given.data, "train"))
        network = train(task, images, labels, given.epochs or task.epochs)
        fold(network)
        # The features are computed from the rounded weights, so the accuracy is measured with them.
        network.half().float().cpu()
        result = accuracy(network, *images_of(task, given.data, "test"))
        facts = {"training data": task.training_data, "accuracy": f"{result:.4f}", "version": "1"}
        weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
        save_file(weights, given.out / f"{task.name}.safetensors", facts)
        print(f"{task.name}: accuracy {result:.4f} on the test images of {task.training_data}")


if __name__ == "__main__":
    main()
