"""The Fashion-MNIST dataset: images of clothes."""

from __future__ import annotations

from gankit import Dataset, Plugin, hookimpl
from gankit_plugins.data.idx_collection import Collection, IdxSettings

FASHION_MNIST = Collection(
    name="fashion_mnist",
    raw="FashionMNIST",
    class_names=(
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    # The second mirror is unencrypted (http). This is safe, because gankit checks the MD5 digest of each file.
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    md5={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
)


class FashionMnist(Plugin):
    """Fashion-MNIST: 70,000 grey images of clothes, 28x28 pixels, in ten classes.

    The file format is the same as for MNIST. The files are downloaded only if `download = true`.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms" (2017).

    When to use: for experiments that need harder images than MNIST, but no colour.
    When not: for conclusions about natural textures or high resolutions.
    """

    name = "fashion_mnist"
    kind = "data"

    class Config(IdxSettings):
        pass

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        return FASHION_MNIST.dataset(self.config)
