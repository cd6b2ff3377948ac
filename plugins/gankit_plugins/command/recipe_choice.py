"""Choice of a system and its settings for a folder of images, a machine and a duration. All functions are pure.

Sources: docs/choosing.md has the reasons for the systems, docs/systems.md the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gankit_plugins.command.folder_findings import Findings
from gankit_plugins.command.this_machine import Machine

FEW, VERY_FEW = 5000, 100
"""Numbers of different images below which D memorises them without augmentation, and in spite of augmentation."""

CLASSES = (2, 50)
"""Smallest and largest number of classes for AC-GAN."""

IMAGES_PER_CLASS = 100
"""Smallest number of images of the rarest class for a conditional generator."""

IMBALANCE = 10
"""Ratio of the largest to the smallest class from which each batch has equal numbers of all classes."""

SMALLEST_SIDE, LOWEST, LARGEST_DCGAN = 16, 32, 64
"""Resolution of the smallest images, lowest resolution that is tried to save time, and largest one for DCGAN."""

LONG = 120.0
"""Minutes on a GPU from which StyleGAN2 is preferred."""

HALF_HOUR = 30.0
"""Minutes on a GPU from which images of 128x128 are tried."""

SHORT = 10.0
"""Minutes on a CPU below which images of 32x32 are preferred."""

ALWAYS_SKIPPED, BAD_LIMIT = 3, 0.01
"""Number and share of unusable files that the data plugin `images` always skips."""

TRAINING_SHARE = 0.9
"""Share of the remaining time for training. The rest is for grids, checkpoints and the report."""

EVALUATIONS, EVALUATION_SHARE = 4, 0.1
"""Largest number of evaluations in a run, and largest share of the time for them. There is at least one evaluation."""

EVALUATION_COUNT = 1000
"""Number of generated images, and largest number of real images, in an evaluation."""

GRIDS = 20
"""Number of sample grids in a run."""

Table = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """System with its settings, and the reason for each choice."""

    system: str
    settings: Table
    """Recipe as nested tables."""

    reasons: Mapping[str, str]
    """Reason for a setting or a table, by its key in the recipe, such as `train.batch_size`."""

    least: int
    """Number of iterations below which the system shows little more than noise."""

    notes: tuple[str, ...] = field(default=())
    """Sentences about what to expect, for the head of the recipe."""

    def changed(self, key: str, value: Any, reason: str) -> Plan:
        """Return a copy with another value of a setting, such as `train.batch_size`, and its reason."""
        table, _, name = key.rpartition(".")
        settings = {one: dict(values) if isinstance(values, dict) else values for one, values in self.settings.items()}
        (settings[table] if table else settings)[name] = value
        return replace(self, settings=settings, reasons={**self.reasons, key: reason})

    @property
    def batch(self) -> int:
        """Number of images in a step."""
        return int(self.settings["train"]["batch_size"])


ADAM = {"use": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}

DCGAN: Table = {
    "latent": {"use": "normal", "size": 100},
    "generator": {"use": "dcgan", "width": 32},
    "discriminator": {"use": "dcgan", "width": 32},
    "loss": {"use": "hinge"},
    "normalization": {"generator": "batch_norm", "discriminator": "spectral_norm"},
    "optimizer.generator": ADAM,
    "optimizer.discriminator": ADAM,
}
AC_GAN: Table = DCGAN | {
    "generator": {"use": "conditional_dcgan", "width": 32},
    "loss": {"use": "non_saturating"},
    "normalization": {"generator": "batch_norm", "discriminator": "batch_norm"},
    "tricks.auxiliary_classifier": {},
}
FASTGAN: Table = DCGAN | {
    "latent": {"use": "normal", "size": 128},
    "generator": {"use": "fastgan", "width": 256},
    "discriminator": {"use": "fastgan", "width": 128},
    "tricks.discriminator_reconstruction": {},
}
STYLEGAN2: Table = {
    "latent": {"use": "normal", "size": 128},
    "generator": {"use": "stylegan2", "w_size": 128, "mapping_layers": 2, "channel_base": 4096, "max_channels": 128},
    "discriminator": {"use": "stylegan2", "channel_base": 4096, "max_channels": 128},
    "loss": {"use": "non_saturating"},
    "optimizer.generator": {"use": "adam", "lr": 2.5e-3, "betas": [0.0, 0.99]},
    "optimizer.discriminator": {"use": "adam", "lr": 2.5e-3, "betas": [0.0, 0.99]},
    "tricks.style_mixing": {},
    "tricks.r1": {"gamma": 1.0, "every": 16},
    "tricks.path_length": {},
}
SYSTEMS = {"dcgan": DCGAN, "ac_gan": AC_GAN, "fastgan": FASTGAN, "stylegan2": STYLEGAN2}
BATCHES = {"dcgan": 32, "ac_gan": 64, "fastgan": 16, "stylegan2": 16}
LEAST = {"dcgan": 500, "ac_gan": 500, "fastgan": 1500, "stylegan2": 4000}

WHY = {
    "dcgan": "DCGAN has the most iterations in a given time, and in a short training this counts more than the "
    "architecture (measured on CIFAR-10)",
    "ac_gan": "DCGAN with the class: D classifies the images too (AC-GAN), which had the most requested images of "
    "three ways on CIFAR-10",
    "fastgan": "FastGAN is for few images: D also reconstructs the images, so it cannot judge them by single details",
    "stylegan2": "StyleGAN2 has lower published distances than DCGAN, if a GPU can train it for hours",
}


def candidates(findings: Findings, machine: Machine, minutes: float, resolution: int | None = None) -> list[Plan]:
    """Return the plans for a folder, from the preferred one to the fastest one.

    Args:
        findings: findings about the images. At least two different images are usable.
        machine: machine that trains.
        minutes: duration of the run.
        resolution: side of the images that the user requests, in pixels, or None.
    """
    fitting = largest_power(findings.median_side)
    cap = resolution or min(fitting, largest_resolution(machine, minutes))
    sides = [cap]
    while resolution is None and sides[-1] > LOWEST:
        sides.append(sides[-1] // 2)
    first = preferred(findings, machine, minutes)
    plans = []
    for side in sides:
        fastest = "ac_gan" if uses_classes(findings) else "dcgan"
        systems = list(dict.fromkeys([first, fastest]))
        for system in systems:
            powers_only = system == "stylegan2" and side != largest_power(side)
            too_large = system in ("dcgan", "ac_gan") and side > LARGEST_DCGAN and resolution is None
            if not powers_only and not too_large:
                plans.append(plan_of(system, side, findings, machine, minutes, resolution))
    return plans


def largest_power(side: int) -> int:
    """Return the largest power of two that is not above a side, but at least `SMALLEST_SIDE`."""
    return max(SMALLEST_SIDE, 1 << (side.bit_length() - 1))


def largest_resolution(machine: Machine, minutes: float) -> int:
    """Return the largest resolution that is worth trying, in pixels."""
    if machine.gpu is None:
        return 32 if minutes < SHORT else 64
    return 256 if minutes >= 2 * LONG else 128 if minutes >= HALF_HOUR else 64


def uses_classes(findings: Findings) -> bool:
    """Return True if the images have a suitable number of classes, each with enough images."""
    counts = findings.classes.values()
    return CLASSES[0] <= len(counts) <= CLASSES[1] and min(counts) >= IMAGES_PER_CLASS


def preferred(findings: Findings, machine: Machine, minutes: float) -> str:
    """Return the name of the preferred system."""
    if machine.gpu is not None and minutes >= LONG:
        return "stylegan2"
    if uses_classes(findings):
        return "ac_gan"
    large = machine.gpu is not None and minutes >= HALF_HOUR and findings.median_side > LARGEST_DCGAN
    return "fastgan" if large or findings.distinct < FEW else "dcgan"


def plan_of(
    system: str, side: int, findings: Findings, machine: Machine, minutes: float, requested: int | None
) -> Plan:
    """Return the plan of a system at a resolution, without a length."""
    conditional = uses_classes(findings)
    tables = {name: dict(values) for name, values in SYSTEMS[system].items()}
    reasons = {"generator": WHY[system]}
    if system == "stylegan2" and conditional:
        tables["generator"]["conditional"] = True
        tables["tricks.projection"] = {}
    batch, why_batch = batch_of(system, findings)
    train: Table = {"iterations": LEAST[system], "batch_size": batch, "precision": "auto"}
    reasons["train.batch_size"] = why_batch
    reasons["train.precision"] = "bf16 if the processor supports it, which is faster"
    if conditional and max(findings.classes.values()) >= IMBALANCE * min(findings.classes.values()):
        train["class_balanced"] = True
        reasons["train.class_balanced"] = "the largest class has at least ten times as many images as the smallest"
    data, why_data = data_settings(side, findings, machine, minutes, requested)
    settings = {"train": train, "output": {}, "evaluation": {"count": EVALUATION_COUNT}, "data": data} | tables
    reasons |= why_data
    return with_tricks(Plan(system, settings, reasons, LEAST[system], notes_of(findings)), findings)


def batch_of(system: str, findings: Findings) -> tuple[int, str]:
    """Return the batch size of a system for a folder, and the reason."""
    usual, classes = BATCHES[system], len(findings.classes)
    if uses_classes(findings) and max(findings.classes.values()) >= IMBALANCE * min(findings.classes.values()):
        return classes * max(1, usual // classes), "equal numbers of each class in every batch"
    if usual <= findings.distinct:
        return usual, "usual for this system at this size"
    return 1 << (findings.distinct.bit_length() - 1), f"no more than the {findings.distinct} different images"


def data_settings(
    side: int, findings: Findings, machine: Machine, minutes: float, requested: int | None
) -> tuple[Table, dict[str, str]]:
    """Return the table `[data]` without the path, and the reason for each setting."""
    data: Table = {"use": "images", "resolution": side}
    reasons = {}
    if requested is not None:
        reasons["data.resolution"] = "as requested"
    elif side == largest_power(findings.median_side):
        reasons["data.resolution"] = f"the median of the smaller sides is {findings.median_side} pixels"
    else:
        where = machine.gpu or f"{machine.cores} CPU cores"
        reasons["data.resolution"] = f"what {where} can train in {minutes:g} minutes; the images have more detail"
    if findings.squares < 1:
        share = 1 - findings.squares
        reasons["data.resolution"] += (
            f". {share:.0%} of the images are not squares; the largest centred square is used, without distortion. If "
            "their edges matter, pad the images first"
        )
    if findings.grey:
        data["channels"] = 1
        reasons["data.channels"] = "all pixels are grey; one channel saves time"
    if findings.highest is not None:
        data["channels"], data["value_range"] = 1, [0, 2 ** (findings.bits or 8) - 1]
        reasons["data.value_range"] = (
            f"16-bit grey images keep their full precision; the largest value is {findings.highest}"
        )
    if findings.classes and not uses_classes(findings):
        data["classes"] = False
        least = min(findings.classes.values())
        reasons["data.classes"] = (
            f"{len(findings.classes)} classes, and the rarest has {least} images; a conditional generator is chosen "
            f"for {CLASSES[0]} to {CLASSES[1]} classes of at least {IMAGES_PER_CLASS} images each"
        )
    if findings.loose:
        data["classes"] = False
        reasons["data.classes"] = "some images lie beside the folders of the classes; move them, to use the classes"
    if beyond_limit(findings):
        # Round up to three decimals, so that the share of unusable files is not above the limit.
        data["bad_limit"] = (1000 * len(findings.unusable) // findings.total + 1) / 1000
        reasons["data.bad_limit"] = (
            f"{len(findings.unusable)} of {findings.total} files cannot be used and are skipped; remove or replace "
            "them, then delete this line"
        )
    return data, reasons


def beyond_limit(findings: Findings) -> bool:
    """Return True if a run would refuse the images, because too many files cannot be used."""
    return len(findings.unusable) > max(ALWAYS_SKIPPED, int(BAD_LIMIT * findings.total))


def with_tricks(plan: Plan, findings: Findings) -> Plan:
    """Return a plan with an augmentation for few images, a moving average and metrics."""
    settings, reasons = dict(plan.settings), dict(plan.reasons)
    if findings.distinct < FEW:
        name = "ada" if plan.system == "stylegan2" else "diff_augment"
        settings[f"tricks.{name}"] = {"target": 0.6, "kimg": 50.0} if name == "ada" else {}
        reasons[f"tricks.{name}"] = (
            f"{findings.distinct:,} images: D would memorise them. D gets real and generated images with the same "
            "random changes, which do not appear in the samples"
        )
    settings["tricks.moving_average"] = {"decay": 0.995}
    reasons["tricks.moving_average"] = "samples from the average of the weights are better than from the last weights"
    settings["metrics.frechet_distance"] = {}
    reasons["metrics.frechet_distance"] = "distance to the real images; lower is better"
    if findings.distinct < FEW:
        settings["metrics.memorisation"] = {}
        reasons["metrics.memorisation"] = "shows whether samples are near copies of the few images"
    if findings.highest is not None:
        settings["extractor"] = {"use": "pixels"}
        reasons["extractor"] = "the bundled feature networks take 8-bit images only"
    return replace(plan, settings=settings, reasons=reasons)


def notes_of(findings: Findings) -> tuple[str, ...]:
    """Return sentences about what to expect from a folder."""
    notes = []
    if findings.distinct < VERY_FEW:
        notes.append(
            f"{findings.distinct} different images are very few: expect near copies of them and mixtures, not new "
            "images. 100 or more similar images help most; a trained network of similar images helps too "
            "(docs/start-from-trained.md)."
        )
    if findings.duplicates:
        notes.append(
            f"{len(findings.duplicates):,} files are exact copies of others, so G learns to draw them more often."
        )
    if findings.unusable:
        limit = "; data.bad_limit allows so many" if beyond_limit(findings) else ""
        notes.append(f"{len(findings.unusable):,} files cannot be used. `gankit run` skips them and names them{limit}.")
    return tuple(notes)


def with_length(plan: Plan, minutes: float, reading: float, iteration: float, evaluation: float) -> Plan:
    """Return a plan whose training fills the time, with metrics every so often.

    Args:
        plan: plan.
        minutes: duration of the run.
        reading: time in seconds until the first iteration.
        iteration: time of an iteration in seconds.
        evaluation: time of an evaluation in seconds.
    """
    iterations, evaluations = (
        iterations_in(minutes, reading, iteration, evaluation),
        evaluations_in(minutes, evaluation),
    )
    every = max(1, round_down(iterations // GRIDS))
    reason = (
        f"{minutes:g} minutes, measured on this machine: {1000 * iteration:.0f} ms each, {reading:.0f} s before the "
        f"first, {evaluation:.1f} s for each evaluation ({evaluations})"
    )
    plan = plan.changed("train.iterations", iterations, reason)
    plan = plan.changed("output.log_every", min(50, every), f"about {GRIDS} grids of samples during the run")
    plan = plan.changed("output.sample_every", every, "")
    plan = plan.changed("output.checkpoint_every", every, "")
    plan = plan.changed("output.sample_count", 36, "")
    plan = plan.changed("output.keep_best", "frechet_distance", "best.safetensors is the best generator by this metric")
    plan = plan.changed("evaluation.every", max(1, -(-iterations // evaluations)), f"{evaluations} in the run")
    plan = plan.changed("tricks.moving_average.decay", decay_for(iterations), "")
    share = min(1.0, max(0.05, 3 * evaluations * evaluation / (60 * minutes)))
    return plan.changed("evaluation.budget", round(share, 3), "largest share of the time; more than was measured")


def decay_for(iterations: int) -> float:
    """Return the decay of the moving average of G: an average over a tenth of the run, and at most 200 iterations."""
    return round(max(0.9, min(0.995, 1 - 10 / iterations)), 4)


def evaluations_in(minutes: float, evaluation: float) -> int:
    """Return the number of evaluations in a run, given the time of one in seconds."""
    return max(1, min(EVALUATIONS, int(EVALUATION_SHARE * 60 * minutes / max(evaluation, 1e-9))))


def iterations_in(minutes: float, reading: float, iteration: float, evaluation: float) -> int:
    """Return the number of iterations that fit into a duration. It is 0 if none fits. See `with_length`."""
    seconds = TRAINING_SHARE * (60 * minutes - reading) - evaluations_in(minutes, evaluation) * evaluation
    return round_down(max(0, int(seconds / iteration)))


def round_down(number: int) -> int:
    """Return a number with its first two digits, and zeros for the others: 1830 becomes 1800."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit
