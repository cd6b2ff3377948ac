"""The MNIST dataset: images of handwritten digits."""

from __future__ import annotations

from gankit import Dataset, Plugin, hookimpl
from gankit_plugins.data.idx_collection import Collection, IdxSettings

MNIST = Collection(
    name="mnist",
    raw="MNIST",
    class_names=tuple("0123456789"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    md5={
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
)


class Mnist(Plugin):
    """MNIST: 70,000 grey images of handwritten digits, 28x28 pixels, in ten classes.

    The files are downloaded only if `download = true`.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998).

    When to use: for a first recipe with real images, and for comparisons with papers.
    When not: for comparisons of good methods, because nearly all methods work on MNIST.
    """

    name = "mnist"
    kind = "data"

    class Config(IdxSettings):
        pass

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        return MNIST.dataset(self.config)
