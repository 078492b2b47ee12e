"""How to make a run again: the exact commands, and what they need."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from interp.experiment import Experiment, load_experiment, preset_names
from interp.run import Run

SAVE = "Save the experiment below as experiment.toml, then:"


@dataclass(frozen=True)
class Recipe:
    """How to make a run again.

    Attributes:
        lede: What to have, or where the run comes from.
        commands: What to type, a command a line.
        notes: What is not kept or not known.
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
    if run.experiment.training is None:
        text = "Nothing was trained: the checkpoints come from elsewhere. With the run's folder:"
        return Recipe(text, "\n".join(after))
    source = preset_call(run.experiment)
    threads = json_table(run, "environment.json").get("threads", 1)
    count = f" --threads {threads}" if threads != 1 else ""
    train = f"interp train {source or 'experiment.toml'} --out {place}{count}"
    text = "The experiment is a preset of interp:" if source else SAVE
    return Recipe(text, "\n".join([train, *after]))


def preset_call(experiment: Experiment) -> str:
    """The preset, with its seed, that an experiment is; empty where it is none."""
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
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError):
        raise ValueError(f"{file} is not a JSON table; remove it and report again") from None


def _imported(run: Run, about: dict[str, Any], place: str, after: list[str]) -> Recipe:
    source, layout = str(about.get("source", "?")), str(about.get("layout", "?"))
    seed = run.experiment.seeds.data
    command = f"interp import {shlex.quote(source)} --out {place} --task experiment.toml"
    text = (
        f"Imported, not trained here: {source}, in the layout “{layout}”. Save the experiment "
        "below as experiment.toml; options that the import asks for are under [model]."
    )
    notes = about.get("notes") or ()
    return Recipe(text, "\n".join([f"{command} --seed {seed}", *after]), tuple(map(str, notes)))
