"""How to make a run again: the exact commands, and the files that they need."""

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from interp.config.experiment import Experiment, load_experiment
from interp.presets import preset_names
from interp.runs.run import Run
from interp.runs.safe_files import as_table

SAVE_EXPERIMENT = "Save the experiment below as experiment.toml, then:"

# Options of an import that have a flag; the others stand in a config file.
FLAGS = {"act_fn": "--act-fn", "normalization_type": "--normalization-type"}


@dataclass(frozen=True)
class Recipe:
    """How to make a run again.

    Attributes:
        lede: What is needed first, or where the run comes from.
        commands: The commands to type, each in a line.
        notes: What was not imported, or is not known.
    """

    lede: str
    commands: str
    notes: tuple[str, ...] = ()


def recipe(run: Run) -> Recipe:
    """How to make a run, its results and its report again.

    Raises:
        ValueError: imported.json or environment.json is not a JSON table.
    """
    place = shlex.quote(f"runs/{run.name}")
    after = [f"interp analyze {place}", f"interp report {place}"]
    imported = json_table(run, "imported.json")
    if imported:
        return _imported(run, imported, place, after)
    command, made, options = "train", "The experiment is", _machine(run)
    if run.experiment.model.kind == "constructed":
        command, made, options = "construct", "The network is written by hand, and", []
    elif run.experiment.training is None:
        return Recipe(
            "Not trained by interp: its checkpoints were recorded from a live model elsewhere "
            "or written by hand, and this page cannot say how to make them again. With the "
            "run's folder:",
            "\n".join(after),
        )
    source = preset_call(run.experiment)
    words = ["interp", command, source or "experiment.toml", "--out", place, *options]
    return Recipe(
        f"{made} a preset of interp:" if source else SAVE_EXPERIMENT,
        "\n".join([" ".join(words), *after]),
    )


def sweep_recipe(name: str, runs: Iterable[Run]) -> Recipe:
    """How to make a sweep again, on the device of its runs if all of them had the same.

    Raises:
        ValueError: An environment.json is not a JSON table.
    """
    place = shlex.quote(f"runs/{name}")
    devices = {json_table(run, "environment.json").get("device") for run in runs}
    device = f" --device {shlex.quote(str(*devices))}" if len(devices) == 1 and any(devices) else ""
    commands = (f"sweep sweep.toml --out {place}{device}", f"analyze {place}", f"report {place}")
    return Recipe(
        "Save the sweep below as sweep.toml, then:",
        "\n".join(f"interp {command}" for command in commands),
    )


def preset_call(experiment: Experiment) -> str:
    """The preset and seed that give an experiment, as arguments; empty where none does."""
    name = experiment.name
    if name not in preset_names():
        return ""
    preset, seed = load_experiment(name), experiment.seeds.model
    if preset == experiment:
        return name
    return f"{name} --seed {seed}" if preset.with_seed(seed) == experiment else ""


def json_table(run: Run, name: str) -> dict[str, Any]:
    """A JSON file of a run's folder; nothing where there is none.

    Raises:
        ValueError: It is not a JSON table.
    """
    file = run.path / name
    if not file.is_file():
        return {}
    table = as_table(file.read_bytes())
    if table is None:
        raise ValueError(f"{file} is not a JSON table; remove it and report again")
    return table


def _machine(run: Run) -> list[str]:
    """Options for device and number of threads of a run, as far as its folder states them."""
    made_with = json_table(run, "environment.json")
    device, threads = made_with.get("device"), made_with.get("threads", 1)
    options = {"--device": device, "--threads": None if threads == 1 else threads}
    return [f"{name} {shlex.quote(str(value))}" for name, value in options.items() if value]


def _imported(run: Run, about: dict[str, Any], place: str, after: list[str]) -> Recipe:
    source, layout = str(about.get("source", "?")), str(about.get("layout", "?"))
    options, notes = about.get("options"), about.get("notes") or ()
    config, flags = _import_options(options if isinstance(options, dict) else {})
    file = shlex.quote(f"./{source}" if source.startswith("-") else source)  # which is no option
    for name in ("step", "mapping"):
        if name in about:
            flags += [f"--{name} {shlex.quote(str(about[name]))}"]
    words = ["interp import", file, "--out", place, "--task experiment.toml", *flags]
    command = " ".join([*words, "--seed", str(run.experiment.seeds.data)])
    return Recipe(
        f"Imported, not trained here: {source}, in the layout “{layout}”. Save the experiment "
        "below as experiment.toml, then:",
        "\n".join([*config, command, *after]),
        tuple(map(str, notes)),
    )


def _import_options(options: dict[str, Any]) -> tuple[list[str], list[str]]:
    """A command that writes the config of an import, if it needs one, and the import's flags."""
    values = {name: "none" if value is None else value for name, value in options.items()}
    flags = [
        f"{flag} {shlex.quote(str(values.pop(name)))}"
        for name, flag in FLAGS.items()
        if name in values
    ]
    if not values:
        return [], flags
    written = shlex.quote(json.dumps(values, sort_keys=True))
    return [f"echo {written} > config.json"], [*flags, "--config config.json"]
