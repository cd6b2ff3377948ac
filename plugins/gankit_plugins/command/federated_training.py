"""Federated training: runs of several clients with their own data, whose networks are averaged after each round.

Example:

runs/igan_mnist/federated/
  federated.json           settings, and the number of images of each client
  average.safetensors      average of the clients' networks, from which the next round starts
  data_1.safetensors       data of client 1, unless the user gives the data of each client
  client_1/                run directory of client 1
  recipe.toml  environment.json  log.jsonl  samples/  generator.safetensors
                           the averaged generator, in the form of a run directory
"""

from __future__ import annotations

import gc
import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file
from torch import Tensor

from gankit import GankitError, InputError, Recipe, Session, load_dataset, prepare, resume, train, write_bytes
from gankit_plugins.command.adagan_study import flat, resampled
from gankit_plugins.command.federated_averaging import Split, split_rows, weighted_mean
from gankit_plugins.layers.round_file import UPDATE, averaged_tensors, read_round, write_round

Average = Literal["both", "generator"]
Json = dict[str, Any]

RECORD, AVERAGE, GENERATOR = "federated.json", "average.safetensors", "generator.safetensors"
"""Names of files."""

TEMPORARY = ".tmp-"
"""Prefix of the names of incomplete files."""


@dataclass(frozen=True)
class Settings:
    """Settings of a federated training. They must not change when the training is resumed."""

    recipe: Recipe
    rounds: int
    """Number of rounds. Each client trains `train.iterations` / `rounds` iterations in a round."""

    clients: int
    split: Split
    average: Average
    data: tuple[Path, ...] = ()
    """Data of each client, as `data.path`. Empty if the data of the recipe are divided among the clients."""

    def __post_init__(self) -> None:
        train = self.recipe.train
        for option, value in (("--clients", self.clients), ("--rounds", self.rounds)):
            if value < 1:
                raise InputError(f"{option} {value}: too small; give 1 or more")
        if train.iterations % self.rounds:
            raise InputError(
                f"--rounds {self.rounds}: train.iterations = {train.iterations} is not a multiple; all rounds have the "
                f"same number of iterations, for example train.iterations={self.rounds * self.every + self.rounds}"
            )

    @property
    def every(self) -> int:
        """Number of iterations of each client in a round."""
        return self.recipe.train.iterations // self.rounds

    def seed_of(self, client: int) -> int:
        """Return the seed of a client, from 1. Client 1 has the seed of the recipe."""
        if client == 1:
            return self.recipe.seed
        text = f"federated/{self.recipe.seed}/{client}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])

    def to_json(self) -> Json:
        """Return the settings as JSON values."""
        values = {name: getattr(self, name) for name in ("rounds", "clients", "split", "average")}
        values |= {"data": [path.name for path in self.data], "recipe": self.recipe.to_dict()}
        result: Json = json.loads(json.dumps(values, default=str))
        return result


def check_folder(out: Path, settings: Settings) -> None:
    """Check that a federated training can begin or continue in a folder.

    Raises:
        InputError: `out` is a file, the folder contains other files, or it belongs to a training with other settings.
    """
    path = out / RECORD
    if not path.is_file():
        if out.is_file():
            raise InputError(f"--out {out}: is a file; name a new or an empty folder")
        if out.is_dir() and any(not one.name.startswith(TEMPORARY) for one in out.iterdir()):
            raise InputError(f"--out {out}: the folder is not empty and holds no federated training; name another one")
        return
    try:
        before = flat(json.loads(path.read_text(encoding="utf-8"))["settings"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged; name another --out") from None
    now = flat(settings.to_json())
    for key in [*before, *now]:
        if before.get(key) != now.get(key):
            then, here = (json.dumps(one[key]) if key in one else "missing" for one in (before, now))
            name = key.removeprefix("recipe.")
            raise InputError(f"{out}: {name} is {then} in the training and {here} now; name another --out")


def check_all_classes(labels: Sequence[Tensor], names: Sequence[str]) -> None:
    """Raise InputError if a client has no image of a class. `labels` are the class indices of each client."""
    for client, own in enumerate(labels, 1):
        if missing := [
            name for name, n in zip(names, own.bincount(minlength=len(names)).tolist(), strict=True) if not n
        ]:
            raise InputError(
                f"client {client} has no image of class {', '.join(missing)}, and every batch needs all classes; give "
                "--split equal, fewer clients, or a recipe without train.class_balanced"
            )


def server_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of the averaged generator, without loggers and without plugins that replace the generator.

    The clients' generator files already contain such generators, for example moving averages, and these are averaged.
    """
    return recipe.changed(
        drop=[
            key
            for key, component in recipe.components.items()
            if component.kind == "logger" or hasattr(component.plugin_class, "sampling_generator")
        ]
    )


def client_recipe(recipe: Recipe, file: Path, every: int, average: Average) -> Recipe:
    """Return the recipe of a client: without metrics and loggers, and with the plugin `federated` before all tricks.

    Args:
        recipe: recipe of the training.
        file: file with the average from which a round starts.
        every: number of iterations of a round.
        average: networks that are averaged.
    """
    raw = recipe.to_dict()
    loggers = [key for key, component in recipe.components.items() if component.kind == "logger"]
    output = [f"output.{key}" for key in ("keep_best", "patience") if key in raw["output"]]
    dropped = [key for key in ("init", "metrics", "extractor", "tricks") if key in raw]
    federated = {"use": "federated", "file": str(file.absolute()), "every": every, "average": average}
    tricks = {name: table for name, table in raw.get("tricks", {}).items() if f"tricks.{name}" not in loggers}
    return recipe.merged({"tricks": {"federated": federated, **tricks}}, [*dropped, *output])


def quoted(path: str | Path) -> str:
    """Return a path as a string in TOML."""
    return json.dumps(str(path), ensure_ascii=False)


def train_client(recipe: Recipe, path: Path, number: int) -> list[str]:
    """Train one round of a client, and return the warnings. A client whose round is complete stops at once.

    Args:
        recipe: recipe of the client, from `client_recipe`.
        path: run directory of the client.
        number: number of the round.

    Raises:
        GankitError: the training failed, or another plugin ended the run before the end of the round.
        InputError: the run or the data cannot be used, or another process trains the run.
    """
    try:
        if (path / "recipe.toml").exists():
            # Set the paths again, because the user may have moved the folder.
            raw = recipe.to_dict()
            moved = {"tricks.federated.file": raw["tricks"]["federated"]["file"]}
            moved |= {"data.path": raw["data"]["path"]} if "path" in raw["data"] else {}
            trained = resume(path, [f"{key}={quoted(value)}" for key, value in moved.items()], report=False)
        else:
            # If an earlier process was killed before it wrote the recipe of the run, start the run again.
            shutil.rmtree(path, ignore_errors=True)
            trained = train(recipe, path, report=False)
    finally:
        # The run and its plugins refer to each other, so only the garbage collector can free them.
        gc.collect()
    if not (path / UPDATE).exists() or read_round(path / UPDATE)[1] != number:
        raise GankitError(f"the run ended before the end of the round: {trained.stop_reason}")
    return trained.warnings


class FederatedTraining:
    """Federated training of one recipe. The averaged generator is in the folder `out`, in the form of a run directory.

    Args:
        out: folder of the training.
        settings: settings of the training.
        session: session of `server_recipe`. It contains the data, and computes metrics of the averaged generator.
        show: function that prints a line of text about the progress.
        advance: function that is called after each round of a client.
    """

    def __init__(
        self,
        out: Path,
        settings: Settings,
        session: Session,
        show: Callable[[str], None] = print,
        advance: Callable[[], object] = lambda: None,
    ) -> None:
        self.out, self.settings, self.session, self.show, self.advance = out, settings, session, show, advance
        self.counts: list[int] = []
        """Number of images of each client."""

    def train(self) -> None:
        """Train all rounds. If an earlier process did some of them, continue with the first unfinished round."""
        number = self.prepare_clients()
        done = number - 1
        if done:
            self.show(f"{self.out}: {done} of {self.settings.rounds} rounds are done")
        for _ in range(done * self.settings.clients):
            self.advance()
        # The seconds in the log include those of earlier processes.
        logged = [row["seconds"] for row in read_rows(self.out / "log.jsonl") if "loss" in row]
        start = time.perf_counter() - (logged[-1] if logged else 0.0)
        for current in range(number, self.settings.rounds + 1):
            self.train_round(current, start)

    def prepare_clients(self) -> int:
        """Write the files that the first round needs, if they are missing. Return the number of the next round."""
        settings, session = self.settings, self.session
        rows = session.run.dataset.read()
        if settings.data:
            self.counts = [self.count_images(path) for path in settings.data]
        else:
            labels = rows.condition if session.run.dataset.class_names else None
            parts = split_rows(len(rows.images), labels, settings.clients, settings.split, settings.recipe.seed)
            if labels is not None and session.run.spec.class_balanced:
                check_all_classes([labels[part] for part in parts], session.run.dataset.class_names)
            self.counts = [len(part) for part in parts]
        record = {"settings": settings.to_json(), "images": self.counts}
        write_bytes(self.out / RECORD, (json.dumps(record, indent=2) + "\n").encode())
        if not settings.data:
            for client, part in enumerate(parts, 1):
                if not (path := self.data_path(client)).exists():
                    prepare(resampled(session.run.dataset, rows, part), path, f"gankit federated, client {client}")
        recipe = client_recipe(settings.recipe, self.out / AVERAGE, settings.every, settings.average)
        write_bytes(self.out / "recipe.toml", recipe_with_metrics(settings.recipe, recipe).to_toml().encode())
        if not (self.out / AVERAGE).exists():
            write_round(self.out / AVERAGE, averaged_tensors(session.run.networks, settings.average), 1)
        return read_round(self.out / AVERAGE)[1]

    def count_images(self, path: Path) -> int:
        """Return the number of images of a client with its own data.

        Raises:
            InputError: the data cannot be read, or have another shape or other conditions than the recipe's data.
        """
        own = self.settings.recipe.changed([f"data.path={quoted(path.absolute())}"])
        dataset, here = load_dataset(own.components["data"].to_dict(), f"--data {path}"), self.session.run.dataset
        if dataset.shape != here.shape or dataset.condition != here.condition:
            raise InputError(
                f"--data {path}: the images have the shape {dataset.shape} and the condition {dataset.condition}; all "
                f"clients need those of the recipe's data, {here.shape} and {here.condition}"
            )
        return len(dataset.read().images)

    def data_path(self, client: int) -> Path:
        """Return the path of the data of a client. Clients are numbered from 1."""
        return self.settings.data[client - 1] if self.settings.data else self.out / f"data_{client}.safetensors"

    def client_path(self, client: int) -> Path:
        """Return the run directory of a client."""
        return self.out / f"client_{client}"

    def recipe_of(self, client: int) -> Recipe:
        """Return the recipe of a client, with its seed and its data."""
        settings = self.settings
        recipe = client_recipe(settings.recipe, self.out / AVERAGE, settings.every, settings.average)
        changes = [f"seed={settings.seed_of(client)}", f"data.path={quoted(self.data_path(client).absolute())}"]
        if settings.data:
            return recipe.changed(changes)
        return recipe.changed([*changes, "data.use=images"], drop=["data"])

    def train_round(self, number: int, start: float) -> None:
        """Train a round of each client, average the clients, and write the results and the log.

        Args:
            number: number of the round, from 1.
            start: time from which the seconds in the log are counted.

        Raises:
            GankitError: all clients failed.
            InputError: the run of a client cannot be used, for example because another process trains it.
        """
        settings, began = self.settings, time.perf_counter()
        clients: list[int] = []
        warnings: list[str] = []
        for client in range(1, settings.clients + 1):
            before = time.perf_counter()
            try:
                messages = train_client(self.recipe_of(client), self.client_path(client), number)
            except InputError as error:
                raise InputError(f"client {client}: {error}") from error
            except Exception as error:  # the other clients continue
                warnings.append(f"round {number}: client {client} failed and is left out of the average: {error}")
                self.show(f"warning: {warnings[-1]}")
            else:
                clients.append(client)
                seconds = time.perf_counter() - before
                self.show(f"round {number}/{settings.rounds}  client {client}/{settings.clients}  {seconds:.1f} s")
                for message in messages if number == 1 else ():
                    self.show(f"  {message}")
            self.advance()
        if not clients:
            raise GankitError(f"{self.out}: all clients failed in round {number}; repeat the command to try again")
        self.finish_round(number, clients, warnings, start, time.perf_counter() - began)

    def finish_round(
        self, number: int, clients: Sequence[int], warnings: Sequence[str], start: float, seconds: float
    ) -> None:
        """Average the given clients. Write the generator, samples, metrics, the log and last the average."""
        settings, session = self.settings, self.session
        paths, counts = [self.client_path(c) for c in clients], [self.counts[c - 1] for c in clients]
        average = weighted_mean([load_file(path / UPDATE) for path in paths], counts)
        sampled = weighted_mean([load_file(path / GENERATOR) for path in paths], counts)
        run, iteration = session.run, number * settings.every
        run.generator.load_state_dict(sampled)
        run.iteration = iteration
        session.save(self.out / GENERATOR)
        data = io.BytesIO()
        session.grid(settings.recipe.output.sample_count).save(data, "PNG")
        write_bytes(self.out / "samples" / f"{iteration:06d}.png", data.getvalue())
        rows: list[Json] = [{"iteration": iteration, "warning": warning} for warning in warnings]
        images = len(clients) * settings.every * run.recipe.train.discriminator_steps * run.recipe.train.batch_size
        losses = [newest_losses(path) for path in paths]
        rows.append(
            {
                "iteration": iteration,
                "seconds": round(time.perf_counter() - start, 3),
                "images_per_second": round(images / seconds, 1),
                "learning_rate": losses[0]["learning_rate"],
                "loss": mean_losses([row["loss"] for row in losses], counts),
                "values": {"clients": len(clients)},
            }
        )
        if metrics := session.evaluate():
            rows.append(metrics)
        self.write_log(iteration, rows)
        self.write_environment(paths[0], iteration, number == settings.rounds, rows[len(warnings)]["seconds"])
        # The average is written last. Before this, a repeated command does this round again with the same result.
        write_round(self.out / AVERAGE, average, number + 1)
        values = "".join(f"  {name} {value:.4g}" for name, value in metrics.get("metrics", {}).items())
        self.show(f"round {number}/{settings.rounds}  average of {len(clients)} clients{values}")

    def write_log(self, iteration: int, rows: Sequence[Json]) -> None:
        """Replace the rows of an iteration, and all later rows, in log.jsonl."""
        earlier = [row for row in read_rows(self.out / "log.jsonl") if row["iteration"] < iteration]
        text = "".join(json.dumps(row) + "\n" for row in [*earlier, *rows])
        write_bytes(self.out / "log.jsonl", text.encode())

    def write_environment(self, client: Path, iteration: int, finished: bool, seconds: float) -> None:
        """Write environment.json for reports, with the versions and plugins that a client has recorded."""
        record = json.loads((client / "environment.json").read_text(encoding="utf-8"))
        ended = [record, *record.pop("resumed", [])][-1]["ended"]
        state = "finished" if finished else "interrupted"
        record["ended"] = ended | {"state": state, "reason": None, "iteration": iteration, "seconds": seconds}
        write_bytes(self.out / "environment.json", (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())


def recipe_with_metrics(recipe: Recipe, client: Recipe) -> Recipe:
    """Return a recipe with the tricks of a client, for the record of the training."""
    raw = client.to_dict()
    return recipe.merged({"tricks": raw["tricks"]}, ["tricks"] if "tricks" in recipe.to_dict() else [])


def read_rows(path: Path) -> list[Json]:
    """Return the rows of a JSON Lines file. If there is no file, return an empty list."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def newest_losses(run: Path) -> Json:
    """Return the newest row with losses from the log of a run."""
    return next(row for row in reversed(read_rows(run / "log.jsonl")) if "loss" in row)


def mean_losses(losses: Sequence[Mapping[str, Mapping[str, float]]], counts: Sequence[int]) -> Json:
    """Return the mean of each loss term over the clients, weighted by their numbers of images.

    Args:
        losses: loss terms of each client, as `losses[client][player][term]`.
        counts: number of images of each client.
    """
    total = sum(counts)
    return {
        player: {
            term: sum(loss[player].get(term, 0.0) * n / total for loss, n in zip(losses, counts, strict=True))
            for term in terms
        }
        for player, terms in losses[0].items()
    }
