"""Split of z into parts, one part for each level of a generator."""

from __future__ import annotations

from gankit import InputError


def part_sizes(latent_size: int, levels: int) -> list[int]:
    """Return the sizes of the parts of z, one part for each level of the generator.

    The parts have equal sizes if `latent_size` is a multiple of `levels`. Otherwise the first parts have one more
    value, as in `Tensor.tensor_split`.

    Raises:
        InputError: z has fewer values than the generator has levels.
    """
    if latent_size < levels:
        raise InputError(
            f"latent.size: {latent_size} values cannot be split among the {levels} levels of the generator; set "
            f"{levels} or more"
        )
    each, left = divmod(latent_size, levels)
    return [each + (level < left) for level in range(levels)]
