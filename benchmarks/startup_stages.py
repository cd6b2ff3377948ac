"""The way of `gankit run` to the first iteration's end, stage by stage, as seconds in JSON.

    python benchmarks/startup_stages.py RECIPE

Does what the command does, in its order; nothing is written.
"""

from __future__ import annotations

import json
import sys
import time

from gankit.training.assembly import assemble


class Stopwatch:
    """Notes how long each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def done(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self.last
        self.last = now


def stages(name: str) -> dict[str, float]:
    watch = Stopwatch()
    import torch

    assert torch.__version__
    watch.done("torch")
    # Not by gankit: the first optimiser of torch.optim imports it, to keep torch's compiler away from itself.
    import torch._dynamo

    watch.done("torch._dynamo, which torch.optim imports")
    import gankit.cli.run_command
    from gankit.recipe.bundled import find_recipe
    from gankit.recipe.recipe import Recipe
    from gankit.sampling.grid import GridSampler
    from gankit.training import launch as runs
    from gankit.training.provenance import environment_record
    from gankit.training.update import train_iteration

    assert gankit.cli.run_command
    watch.done("gankit and its libraries")
    recipe = Recipe.load(find_recipe(name))
    watch.done("the recipe and its plugins")
    runs.prepare_torch(recipe)
    run = assemble(recipe)
    environment_record(run)
    watch.done("assembly and rehearsal")
    run.load_data()
    watch.done("data")
    GridSampler(run)
    run.start()
    train_iteration(run)
    watch.done("the first iteration")
    train_iteration(run)
    watch.done("the second, for comparison")
    return watch.seconds


if __name__ == "__main__":
    print(json.dumps(stages(sys.argv[1])))
