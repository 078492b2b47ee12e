"""How a page says a run is made again."""

import json

from interp.experiment import load_experiment
from interp.report.recipe import recipe
from interp.run import Run
from tests.planted import tiny_experiment


def commands_of(experiment, folder):
    """The commands for a run of an experiment, named `run`."""
    (folder / "run").mkdir()
    (folder / "run" / "experiment.toml").write_text(experiment.to_toml())
    return recipe(Run(folder / "run")).commands.splitlines()


def test_a_preset_is_called_by_name(tmp_path):
    preset = load_experiment("modular-addition")
    assert commands_of(preset, tmp_path)[0] == "interp train modular-addition --out runs/run"


def test_a_preset_with_another_seed_is_called_with_that_seed(tmp_path):
    preset = load_experiment("modular-addition").with_seed(3)
    command = "interp train modular-addition --seed 3 --out runs/run"
    assert commands_of(preset, tmp_path)[0] == command


def test_seeds_that_differ_need_the_file(tmp_path):
    preset = load_experiment("modular-addition").with_seed(3)
    seeds = preset.seeds.model_copy(update={"data": 4})
    changed = preset.model_copy(update={"seeds": seeds})
    assert commands_of(changed, tmp_path)[0] == "interp train experiment.toml --out runs/run"


def test_the_number_of_threads_is_part_of_the_command(folder):
    (folder / "environment.json").write_text('{"threads": 4}')
    assert "--out runs/copy --threads 4" in recipe(Run(folder)).commands


def test_a_run_name_is_quoted_in_commands(folder):
    run = Run(folder.rename(folder.with_name("a b; rm")))
    assert "'runs/a b; rm'" in recipe(run).commands


def test_an_imported_run_says_where_it_came_from(folder):
    about = {"source": "grok.pth", "layout": "demo", "notes": ["no optimiser state"]}
    (folder / "imported.json").write_text(json.dumps(about))
    found = recipe(Run(folder))
    command = "interp import grok.pth --out runs/copy --task experiment.toml --seed 0"
    assert found.commands.splitlines()[0] == command
    assert found.notes == ("no optimiser state",)


def test_a_run_without_training_has_no_training_command(tmp_path):
    untrained = tiny_experiment().model_copy(update={"training": None})
    first = "interp analyze runs/run"
    assert commands_of(untrained, tmp_path) == [first, "interp report runs/run"]
