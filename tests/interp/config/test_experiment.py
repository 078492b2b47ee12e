from dataclasses import dataclass

import pytest
from pydantic import ValidationError

from interp.config.experiment import Experiment, load_experiment
from interp.config.training import Steps
from interp.presets import preset_names
from tests.planted import tiny_experiment, tiny_prompts

TASK = '[task]\nname = "modular_arithmetic"\n'
TRAINING = TASK + "[training]\nsteps = 5\n"


@dataclass
class Fault:
    text: str
    message: str


FAULTS = {
    "unknown key": Fault(TASK + "q = 1", r"task\.q: unknown key"),
    "unknown table": Fault(TASK + "[trainning]", "trainning: unknown key"),
    "p = 1": Fault(TASK + "p = 1", r"task\.p: .* greater than or equal to 2 \(got 1\)"),
    "nothing trained": Fault(TASK + "train_fraction = 0.0", r"task\.train_fraction: .*than 0 "),
    "nothing tested": Fault(TASK + "train_fraction = 1.0", r"task\.train_fraction: .*than 1 "),
    "empty split": Fault(
        TASK + "p = 2\ntrain_fraction = 0.1", r"task: train_fraction 0\.1 of 4 pairs"
    ),
    "unknown task": Fault('[task]\nname = "x"', "task: no task 'x'; there are modular_arithmetic"),
    "list for a task": Fault("[task]\nname = [1]", r"task: no task '\[1\]'; there are"),
    "no task": Fault("", "task: Field required"),
    "not a table": Fault("task = 3", "task: .*got 3"),
    "not TOML": Fault("[task", "not TOML: "),
    "wrong type": Fault(TRAINING + 'lr = "fast"', r"training\.lr: .*got 'fast'"),
    "two faults": Fault(TRAINING + "lr = 0\neps = 0", r"training\.lr: .*and 1 more"),
    "two grids": Fault(
        TRAINING + "evaluate = { every = 1, logarithmic = 3 }",
        r"training\.evaluate: give one of every, logarithmic and listed",
    ),
    "negative step": Fault(TRAINING + "evaluate = { listed = [-1] }", r"evaluate\.listed\.0: "),
    "short schedule": Fault(
        TRAINING + "[[training.schedule]]\nsteps = 3\n"
        '[[training.schedule.tasks]]\nname = "modular_arithmetic"',
        "training: schedule covers 3 steps, steps says 5",
    ),
    "schedule of other sizes": Fault(
        TRAINING + "[[training.schedule]]\nsteps = 5\n"
        '[[training.schedule.tasks]]\nname = "modular_arithmetic"\np = 7',
        "every task of the schedule must share the evaluated task's sizes",
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_one_line_that_names_file_and_field(fault, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(fault.text)
    with pytest.raises(ValueError, match=rf"\A.*wrong\.toml: .*{fault.message}[^\n]*\Z"):
        load_experiment(path)


def test_an_unknown_preset_is_refused_with_those_there_are():
    with pytest.raises(
        FileNotFoundError, match=r"neither a TOML file nor a preset; presets: .*modular-addition"
    ):
        load_experiment("modular-subtraction")


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_are_named_for_their_file(name):
    assert load_experiment(name).name == name


@pytest.mark.parametrize("name", preset_names())
def test_toml_gives_the_same_experiment_back(name, tmp_path):
    experiment = load_experiment(name)
    path = tmp_path / "copy.toml"
    path.write_text(experiment.to_toml())
    assert load_experiment(path) == experiment


def test_toml_states_the_defaults_too():
    assert "weight_decay" in tiny_experiment().to_toml()


def test_a_file_without_a_name_is_named_for_itself(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TASK)
    assert load_experiment(path).name == "mine"


def test_experiments_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        tiny_experiment().name = "other"


def test_tasks_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        tiny_experiment().task.name = "other"


def test_equal_experiments_have_equal_digests():
    assert tiny_experiment().digest == tiny_experiment().digest


def test_another_learning_rate_is_another_digest():
    assert tiny_experiment(lr=0.1).digest != tiny_experiment().digest


def test_one_seed_sets_all_three():
    seeds = tiny_experiment().with_seed(4).seeds
    assert (seeds.model, seeds.data, seeds.order) == (4, 4, 4)


def test_an_experiment_without_training_is_allowed():
    assert Experiment.model_validate({"name": "x", "task": tiny_experiment().task}).training is None


@pytest.mark.parametrize(
    ("steps", "last", "expected"),
    [
        (Steps(every=10), 25, {0, 10, 20, 25}),
        (Steps(every=100), 25, {0, 25}),
        (Steps(logarithmic=2), 100, {0, 100}),
        (Steps(logarithmic=4), 100, {0, 1, 10, 100}),
        (Steps(logarithmic=9), 3, {0, 1, 2, 3}),
        (Steps(listed=(3, 50)), 25, {0, 3, 25}),
        (Steps(every=1), 1, {0, 1}),
    ],
    ids=str,
)
def test_grids_of_steps_hold_the_first_and_the_last(steps, last, expected):
    assert steps.up_to(last) == expected


def test_a_stop_metric_of_a_split_that_is_not_evaluated_is_refused():
    stop = {"metric": "dev.accuracy"}
    with pytest.raises(
        ValidationError,
        match=r"no metric 'dev.accuracy'; there are train\.loss, train\.accuracy, test",
    ):
        tiny_experiment(stop=stop)


@pytest.mark.parametrize(
    ("analyses", "message"),
    [
        ({"Fourier": {}}, "analyses: no 'Fourier'; there are GrokkingPhases"),
        ({"FourierSpectrum": {"shar": 0.5}}, "FourierSpectrum: no option 'shar'; it takes: share"),
        (
            {"FourierSpectrum": {"share": "lots"}},
            r"analyses\.FourierSpectrum\.share: .* \(got 'lots'\)",
        ),
    ],
)
def test_options_of_analyses_are_checked_before_training(analyses, message):
    table = tiny_experiment().model_dump(mode="json", exclude_none=True)
    with pytest.raises(ValidationError, match=message):
        Experiment.model_validate(table | {"analyses": analyses})


ADD = {"name": "modular_arithmetic", "p": 7}
MIXED = {
    "weights": ({"tasks": [ADD, ADD], "weights": [1.0]}, "weights: 1 for 2 tasks"),
    "no share": ({"tasks": [ADD, ADD], "weights": [1.0, 0.0]}, "weights.1"),
    "no batches": ({"tasks": [ADD, ADD]}, "give training.batch_size"),
    "sentences": ({"tasks": [{"name": "dyck"}, {"name": "dyck"}]}, "differ in length"),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixtures_that_cannot_be_drawn_are_refused(name):
    phase, message = MIXED[name]
    with pytest.raises(ValidationError, match=message):
        tiny_experiment(schedule=[{"steps": 40} | phase])


def test_endless_data_without_a_batch_size_are_refused():
    table = tiny_prompts().model_dump(mode="json", exclude_none=True)
    del table["training"]["batch_size"]
    with pytest.raises(ValidationError, match=r"endless: give training\.batch_size"):
        Experiment.model_validate(table)
