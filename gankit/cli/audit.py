"""`gankit audit`: test whether a generator reveals its training data."""

import json
from pathlib import Path

import click

from gankit.cli.arguments import device_option, overrides_argument
from gankit.cli.status_line import StatusLine


@click.command("audit")
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="DATA",
    required=True,
    help="Held-out data: the name of a dataset, a folder, a zip file or a prepared file.",
)
@click.option(
    "--count",
    metavar="N",
    default=1000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Number of training samples, and of held-out samples.",
)
@click.option(
    "--generated",
    metavar="N",
    default=10_000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Number of generated samples.",
)
@click.option(
    "--seed", metavar="S", default=0, type=click.IntRange(min=0), help="Random seed of z and of the choice of samples."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that TARGET names.")
@overrides_argument
def command(
    target: Path,
    against: str,
    count: int,
    generated: int,
    seed: int,
    as_json: bool,
    device: str | None,
    trust: bool,
    overrides: tuple[str, ...],
) -> None:
    """Attack TARGET, a run or a generator file: separate its training data from held-out data.

    The held-out data must come from the same source as the training data. KEY=VALUE overrides their settings, for
    example data.split=test. Each attack scores samples. Its AUC is 0.5 if the scores of both are alike, and 1 if all
    training samples have higher scores. The attack with D's logits needs a run, because a generator file has no D.

    \b
    gankit audit RUN --against mnist data.split=test
    gankit audit generator.safetensors --against held-out/ --count 500
    """
    from gankit.recipe.toml import overrides_from_here

    changes = overrides_from_here(overrides)
    with StatusLine(quiet=as_json) as status:
        status.show("importing torch")
        from gankit.training.audit import audit

        status.show(f"attacking with {generated} generated samples")
        result = audit(
            target,
            against,
            changes,
            count=count,
            generated=generated,
            seed=seed,
            device=device or "auto",
            trust=trust,
        )
    if as_json:
        attacks = {one.name: one.auc._asdict() | {"tpr": one.true_positive_rate} for one in result.attacks}
        click.echo(json.dumps(result._asdict() | {"attacks": attacks}))
        return
    click.echo(f"{'attack':16}  {'AUC':5}  {'95% interval':14}  TPR at FPR 1%")
    for one in result.attacks:
        interval = f"{one.auc.low:.3f} to {one.auc.high:.3f}"
        click.echo(f"{one.name:16}  {one.auc.value:.3f}  {interval:14}  {one.true_positive_rate:.1%}")
    click.echo(
        f"samples: {result.members} of the training data, {result.non_members} held out, {result.generated} generated"
    )
    for name, value in (result.copies | result.facts).items():
        click.echo(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    for sentence in result.left_out:
        click.echo(f"left out: {sentence}")
