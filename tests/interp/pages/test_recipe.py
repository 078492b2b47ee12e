"""How a page says a run is made again."""

import json
import shlex
import shutil
import subprocess

import pytest

from interp.config.experiment import load_experiment
from interp.importers import import_run
from interp.pages.recipe import recipe, sweep_recipe
from interp.runs.run import Run
from tests.foreign import PLAIN, TASK, demo_archive, hooked_state, progress_state, state_of
from tests.interp.pages.written import contents
from tests.planted import random_model, tiny_experiment


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


def test_the_device_is_part_of_the_command(folder):
    (folder / "environment.json").write_text('{"device": "cuda", "threads": 2}')
    assert "--out runs/copy --device cuda --threads 2\n" in recipe(Run(folder)).commands


@pytest.mark.parametrize("stated", ['{"device": "a; rm"}', '{"threads": "a; rm"}'])
def test_what_a_folder_says_of_its_machine_is_quoted(folder, stated):
    (folder / "environment.json").write_text(stated)
    assert "'a; rm'" in recipe(Run(folder)).commands


def test_a_folder_that_does_not_say_its_device_leaves_it_to_the_machine(folder):
    (folder / "environment.json").write_text("{}")
    assert "--device" not in recipe(Run(folder)).commands


def test_a_trained_run_is_made_again_where_it_was_made(run):
    assert "--out runs/tiny --device cpu\n" in recipe(run).commands


@pytest.mark.parametrize(
    ("stated", "option"),
    [("cpu cpu", " --device cpu"), ("cpu cuda", ""), ("cpu ?", ""), ("? ?", "")],
)
def test_a_sweep_is_made_again_on_the_device_of_all_its_runs(tmp_path, stated, option):
    runs = [Run(tmp_path / name) for name in ("one", "two")]
    for run, device in zip(runs, stated.split(), strict=True):
        run.path.mkdir()
        facts = {} if device == "?" else {"device": device}
        (run.path / "environment.json").write_text(json.dumps(facts))
    first = sweep_recipe("my sweep", runs).commands.splitlines()[0]
    assert first == f"interp sweep sweep.toml --out 'runs/my sweep'{option}"


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


IMPORTED = {
    "a file that says it all": (demo_archive(), None),
    "flags": (hooked_state(), PLAIN),
    "a config": (
        state_of(random_model(attention_dir="bidirectional", act_fn="gelu")),
        PLAIN | {"act_fn": "gelu", "attention_dir": "bidirectional", "d_model": 8, "seed": 3},
    ),
    "a stated split": (demo_archive(train_indices=[3, 4, 5, 20, 48]), None),
    "code that may be GELU": (progress_state(), {"act_type": "GeLU", "num_heads": 2}),
}


@pytest.mark.filterwarnings(
    "ignore:.*it was trained on", "ignore:.*last 1 left out", "ignore:.*; assumed: "
)
@pytest.mark.parametrize("case", IMPORTED)
def test_the_commands_of_an_import_make_the_same_run(case, save, command, tmp_path):
    content, options = IMPORTED[case]
    source = save(content, "it's a step_5.pt")
    run = import_run(source, tmp_path / "runs" / "it's", TASK, options, seed=4)
    before = contents(run.path)
    found, here = recipe(run), source.parent
    shutil.copy(run.path / "experiment.toml", here)
    *config, line, _, _ = found.commands.splitlines()
    for each in config:
        subprocess.run(each, shell=True, cwd=here, check=True)
    reply = command(*shlex.split(line)[1:], inside=str(here))
    assert (reply["code"], contents(here / "runs" / "it's")) == (0, before)


def test_options_of_an_import_are_quoted(folder):
    options = {"act_fn": "a; rm", "normalization_type": None, "attention_dir": "it's"}
    about = {"source": "-; rm.pt", "layout": "demo", "options": options}
    (folder / "imported.json").write_text(json.dumps(about))
    config, line, *_ = recipe(Run(folder)).commands.splitlines()
    assert shlex.split(config) == ["echo", '{"attention_dir": "it\'s"}', ">", "config.json"]
    assert shlex.split(line)[2:] == [
        "./-; rm.pt", "--out", "runs/copy", "--task", "experiment.toml", "--act-fn", "a; rm",
        "--normalization-type", "none", "--config", "config.json", "--seed", "0",
    ]  # fmt: skip


def test_a_run_without_training_has_no_training_command(tmp_path):
    untrained = tiny_experiment().model_copy(update={"training": None})
    first = "interp analyze runs/run"
    assert commands_of(untrained, tmp_path) == [first, "interp report runs/run"]
