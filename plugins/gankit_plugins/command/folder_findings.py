"""Findings about a folder of images: sizes, modes, classes, duplicates and unusable files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gankit import FileFacts

MAX_NAMED = 3
"""Maximum number of files that a row of the table names."""

BITS_OF_BYTE = 8
SQUARE = 1.1
"""Largest ratio of the sides of an image that counts as a square."""


@dataclass(frozen=True)
class Findings:
    """Findings about the image files of a folder or a zip file. Sizes, modes and classes are those of usable images."""

    total: int
    unusable: tuple[FileFacts, ...]
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each image, in pixels, in the order of their areas."""

    modes: Counter[str]
    classes: Counter[str]
    """Number of images of each class. Empty if the images have no classes."""

    duplicates: tuple[str, ...]
    """Names of files whose content is the same as that of an earlier file."""

    transparent: int
    grey: bool
    """True if all pixels of all images are grey."""

    highest: int | None
    """Largest value of the images if all are grey with more than 8 bits for each pixel. None otherwise."""

    loose: bool = False
    """True if images lie beside the folders of the classes, so that the classes are left out."""

    @property
    def usable(self) -> int:
        """Number of usable images."""
        return self.total - len(self.unusable)

    @property
    def distinct(self) -> int:
        """Number of different usable images."""
        return self.usable - len(self.duplicates)

    @property
    def median_side(self) -> int:
        """Median of the smaller side of the images, in pixels."""
        sides = sorted(min(size) for size in self.sizes)
        return sides[len(sides) // 2]

    @property
    def squares(self) -> float:
        """Share of the images that are squares, or nearly."""
        return sum(max(size) <= SQUARE * min(size) for size in self.sizes) / len(self.sizes)

    @property
    def bits(self) -> int | None:
        """Number of bits of the largest value, or None if the images have 8 bits."""
        return None if self.highest is None else max(BITS_OF_BYTE, self.highest.bit_length())


def summarize(files: Iterable[FileFacts]) -> Findings:
    """Return the findings about image files."""
    every = list(files)
    usable = [file for file in every if file.error is None]
    sizes = sorted((file.size for file in usable if file.size is not None), key=lambda size: size[0] * size[1])
    first: dict[bytes, str] = {}
    for file in usable:
        first.setdefault(file.digest, file.name)
    values = [file.highest for file in usable]
    return Findings(
        total=len(every),
        unusable=tuple(file for file in every if file.error is not None),
        sizes=tuple(sizes),
        modes=Counter(file.mode for file in usable),
        classes=Counter(file.class_name for file in usable if file.class_name is not None),
        duplicates=tuple(file.name for file in usable if first[file.digest] != file.name),
        transparent=sum(file.transparent for file in usable),
        grey=all(file.grey for file in usable),
        highest=max((v for v in values if v is not None), default=None) if None not in values else None,
    )


def table_rows(findings: Findings) -> list[tuple[str, str]]:
    """Return the findings as rows of a table: a name and a text."""
    rows = [("images", f"{findings.usable:,}")]
    if findings.sizes:
        sizes = findings.sizes
        texts = [f"{width}x{height}" for width, height in (sizes[0], sizes[len(sizes) // 2], sizes[-1])]
        all_same = len(set(sizes)) == 1
        rows += [
            ("sizes", f"all {texts[0]}" if all_same else "smallest {}, median {}, largest {}".format(*texts)),
            ("squares", f"{findings.squares:.0%}"),
            ("modes", ", ".join(f"{count:,} {mode}" for mode, count in findings.modes.most_common())),
            ("colours", "only grey" if findings.grey else "yes"),
        ]
    if findings.highest is not None:
        rows.append(("bits", f"{findings.bits} of 16 used, the largest value is {findings.highest}"))
    if findings.transparent:
        rows.append(("transparent", f"{findings.transparent:,}; transparent areas become white"))
    if findings.classes:
        counts = findings.classes.most_common()
        named = ", ".join(f"{name} {count:,}" for name, count in counts[: 2 * MAX_NAMED])
        rest = len(counts) - 2 * MAX_NAMED
        rows.append(("classes", f"{len(counts)}: {named}" + (f" and {rest} more" if rest > 0 else "")))
    if findings.duplicates:
        rows.append(("duplicates", f"{len(findings.duplicates):,}: {_named(findings.duplicates)}"))
    if findings.unusable:
        names = [f"{file.name} ({file.error})" for file in findings.unusable]
        rows.append(("unusable", f"{len(names):,}: {_named(names)}"))
    return rows


def _named(names: list[str] | tuple[str, ...]) -> str:
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
