"""Client of federated training for Flower, which connects clients on several machines.

Flower needs older versions of packages than gankit's pinned ones, so it has its own environment; see docs/federated.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gankit import InputError, Recipe, find_recipe
from gankit_plugins.command.federated_training import AVERAGE, client_recipe, train_client
from gankit_plugins.layers.round_file import UPDATE, read_round, write_round

if TYPE_CHECKING:
    from torch import Tensor

    from gankit_plugins.command.federated_training import Average


def train_round(
    recipe: Recipe, folder: Path, tensors: Mapping[str, Tensor], number: int, every: int, average: Average
) -> tuple[dict[str, Tensor], int]:
    """Train one round of a client. Return the tensors of its networks, and the number of its images.

    Args:
        recipe: recipe with the seed and the data of the client.
        folder: folder of the client. It contains the run directory `client`.
        tensors: average from which the round starts, by name, such as `generator/conv.weight`.
        number: number of the round, from 1.
        every: number of iterations of a round.
        average: networks that are averaged.

    Raises:
        GankitError: the training failed.
        InputError: the recipe or the data cannot be used.
    """
    write_round(folder / AVERAGE, tensors, number)
    path = folder / "client"
    train_client(client_recipe(recipe, folder / AVERAGE, every, average), path, number)
    newest = max((path / "checkpoints").glob("[0-9]*/state.json"), key=lambda file: int(file.parent.name))
    count = json.loads(newest.read_text(encoding="utf-8"))["data"]["count"]
    return read_round(path / UPDATE)[0], int(count)


def client_app() -> Any:
    """Return a `flwr.clientapp.ClientApp` whose method `train` trains one round.

    The node's configuration has the recipe (`recipe`), the folder of the client (`folder`) and its seed (`seed`). The
    server sends the average, and the configuration `every` and `average`, as in `train_round`.

    Raises:
        InputError: Flower is not installed.
    """
    try:
        from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
        from flwr.clientapp import ClientApp
    except ImportError as error:
        raise InputError(f"Flower cannot be imported ({error}); docs/federated.md describes its environment") from error
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        node, config = context.node_config, message.content["config"]
        recipe = Recipe.load(find_recipe(str(node["recipe"])), [f"seed={node.get('seed', 0)}"])
        tensors, count = train_round(
            recipe,
            Path(str(node["folder"])),
            message.content["arrays"].to_torch_state_dict(),
            config["server-round"],
            config["every"],
            config.get("average", "both"),
        )
        content = {"arrays": ArrayRecord(tensors), "metrics": MetricRecord({"num-examples": count})}
        return Message(content=RecordDict(content), reply_to=message)

    return app
