"""Base class for images whose captions are embedded by an encoder of sentences, such as that of another package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from gankit import Dataset, InputError, VectorCondition, hookimpl
from gankit_plugins.data.captions import FIELD, find_captions
from gankit_plugins.data.folder import open_files
from gankit_plugins.data.images import PREPARED, Images, Loaded, prepared_dataset, unprepared_images
from gankit_plugins.data.listing import common_folder, list_images


class EmbeddedImages(Images):
    """Your own images with captions, whose embeddings are the condition. A subclass defines the method `embed`.

    The condition is the embedding of the first caption of an image (`VectorCondition`). If images have several
    captions, the field `captions` has the embeddings of all of them for the trick `random_caption`. Each caption is
    embedded once, when the images are read. `gankit prepare` writes the embeddings to a file with the images.
    `gankit sample RUN --text` embeds the text of the user.

    Source: none. Zhang 2017 uses the embeddings of a trained encoder of sentences.
    """

    name = "embedded_images"

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings (N, K) of texts, in float32. K is the same for all texts."""
        raise NotImplementedError

    @hookimpl
    def load_data(self) -> Dataset:
        path = self.config.path
        if path.suffix == PREPARED and not path.is_dir():
            return prepared_dataset(self.config)
        with open_files(path) as files:
            listing, names = list_images(files, False, path), list(files.names())
            outer = common_folder({name.rpartition("/")[0] for name in names})
            captions, read = find_captions(files, names, outer, path)
        texts = list(dict.fromkeys(text for some in captions.values() for text in some))
        number, most = {text: index for index, text in enumerate(texts)}, max(map(len, captions.values()))
        index = torch.tensor([[number[some[i % len(some)]] for i in range(most)] for some in captions.values()])
        size = self.embed(texts[:1]).shape[1]
        # The listing has the numbers of the texts as its condition. They are replaced by the embeddings below.
        numbered = replace(
            listing,
            passed_over=listing.passed_over - read,
            described=VectorCondition(("text",)),
            values=index[:, 0],
            row={name: row for row, name in enumerate(names)},
            captions=index if most > 1 else None,
        )
        dataset = unprepared_images(self.config, numbered).dataset()

        @cache
        def table() -> Tensor:
            return self.embed(texts).detach().float().cpu()

        def embedded(loaded: Loaded) -> Loaded:
            images, rows, *fields = loaded
            assert rows is not None, "the listing has a condition"
            return (images, table()[rows], *({FIELD: table()[one[FIELD]]} for one in fields))  # type: ignore[return-value]

        def stream() -> Iterator[Loaded]:
            assert dataset.stream is not None, "images are read in chunks"
            yield from map(embedded, dataset.stream())  # type: ignore[arg-type]

        condition = VectorCondition(tuple(f"embedding_{i}" for i in range(size)))
        return replace(dataset, condition=condition, load=lambda: embedded(dataset.load()), stream=stream)  # type: ignore[arg-type]

    @hookimpl
    def sampling_conditions(self, count: int, requested: Mapping[str, str | float]) -> Tensor | None:
        if not requested:
            return None
        if other := next((name for name in requested if name != "text"), None):
            raise InputError(f"{other}: the generator takes texts; use --text")
        return self.embed([str(requested["text"])]).detach().float().cpu().expand(count, -1).clone()
