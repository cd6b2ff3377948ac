"""Client of federated training: start a round from the average of all clients, and end the run after each round."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gankit import Plugin, RecipePath, Run, Settings, hookimpl
from gankit_plugins.layers.round_file import UPDATE, averaged_tensors, load_tensors, read_round, write_round


class Federated(Plugin):
    """Client of federated training. Each round starts from the average of all clients, and then the run stops.

    Source: McMahan 2017 (FedAvg), algorithm 1, ClientUpdate. When the run starts or is resumed, it copies the tensors
    of `file` to its networks, if the file belongs to a new round. After `every` iterations, it writes its networks to
    update.safetensors in the run directory and stops. A run whose round is complete stops at once, until there is a new
    average. The optimisers, the random states and the states of other plugins stay with the client.

    When to use: `gankit federated` adds this plugin to the recipe of each client.
    When not: in a run by itself, because there is no average to start from.
    """

    name = "federated"

    class Config(Settings):
        file: RecipePath = Field(description="file with the average of the clients, from which a round starts")
        every: int = Field(ge=1, description="number of iterations of a round")
        average: Literal["both", "generator"] = Field(
            "both", description="averaged networks; both: all networks that are trained"
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.round = 0
        """Number of the round that the run has begun, from 1. 0 before the first round."""

        self.begin = 0
        """Iteration at which this round began."""

    @hookimpl
    def on_start(self, run: Run) -> None:
        tensors, number = read_round(self.config.file)
        if number <= self.round:
            if run.iteration >= self.begin + self.config.every:
                run.stop(self._reason())
            return
        if run.stop_reason == self._reason():
            # An error ended the earlier process after its checkpoint, but before it recorded the stop.
            run.stop_reason = None
        load_tensors(run.networks, tensors)
        self.round, self.begin = number, run.iteration

    @hookimpl
    def after_iteration(self, run: Run) -> None:
        if run.iteration != self.begin + self.config.every:
            return
        if run.directory is not None:
            write_round(run.directory / UPDATE, averaged_tensors(run.networks, self.config.average), self.round)
        if run.iteration < run.recipe.train.iterations:
            run.stop(self._reason())

    def _reason(self) -> str:
        return f"round {self.round} is complete; `gankit federated` averages the clients and begins the next round"

    def state_dict(self) -> dict[str, Any]:
        return {"round": self.round, "begin": self.begin}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.round, self.begin = state["round"], state["begin"]
