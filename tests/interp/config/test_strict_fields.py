"""What stands in a file is taken as it was written, and within what can be computed."""

import re
from dataclasses import dataclass

import pytest
from pydantic import ValidationError

from hooks import Snapshot, build
from interp.config.experiment import load_experiment
from interp.config.training import Stop
from interp.presets import preset_names
from interp.sweeps.sweep import load_sweep
from interp.tasks import TASKS
from tests.planted import config_for, task_of, tiny_experiment

TASK = '[task]\nname = "modular_arithmetic"\np = 7\n'
TRAINING = TASK + "[training]\nsteps = 5\n"
CLASSES = '[task]\nname = "function_classes"\n'


@dataclass
class Fault:
    text: str
    message: str


TYPES = {
    "a string for a number": Fault(TRAINING + 'lr = "3"', r"training\.lr: .*number \(got '3'\)"),
    "a string for a whole number": Fault(TRAINING + 'chunk = "3"', r"training\.chunk: .*integer"),
    "a truth value for a number": Fault(TRAINING + "lr = true", r"training\.lr: .*got True"),
    "a truth value for a count": Fault(TRAINING + "chunk = true", r"training\.chunk: .*got True"),
    "a string for a truth value": Fault(TASK + 'ordered = "false"', r"task\.ordered: .*boolean"),
    "a number for a truth value": Fault(TASK + "ordered = 1", r"task\.ordered: .*got 1"),
    "a fraction for a count": Fault(TRAINING + "chunk = 3.0", r"training\.chunk: .*got 3\.0"),
    "a string in a list": Fault(TRAINING + 'betas = [0.9, "0.98"]', r"training\.betas\.1: "),
    "a string in a model": Fault(TASK + '[model]\nd_model = "8"', r"model\.d_model: .*got '8'"),
    "a truth value of an input law": Fault(
        CLASSES + "inputs = { scale = true }", r"task\.inputs\.scale: .*got True"
    ),
    "a string for a step": Fault(
        TRAINING + 'evaluate = { listed = [1, "2"] }', r"training\.evaluate\.listed\.1: "
    ),
    "a truth value for a seed": Fault(TASK + "[seeds]\ndata = true", r"seeds\.data: .*got True"),
}
RANGES = {
    "an infinite rate": Fault(TRAINING + "lr = inf", r"training\.lr: "),
    "no number": Fault(TRAINING + "weight_decay = nan", r"training\.weight_decay: "),
    "a huge penalty": Fault(TRAINING + "l1 = 1e300", r"training\.l1: .*1e\+300"),
    "a huge shrinkage": Fault(
        TRAINING + "lr = 1e20\nl1 = 1e20", r"training: l1 1e\+20 times lr 1e\+20 .* lower one"
    ),
    "a tiny epsilon": Fault(TRAINING + "eps = 1e-300", r"training\.eps: "),
    "tiny inputs": Fault(CLASSES + "inputs = { scale = 1e-200 }", r"task\.inputs\.scale: "),
    "a huge seed": Fault(TASK + f"[seeds]\nmodel = {2**63}", r"seeds\.model: "),
    "a seed beyond what Python writes": Fault(
        TASK + f"[seeds]\nmodel = 0x{'f' * 5000}", r"seeds\.model: .*a number of 20000 bits"
    ),
    "steps without end": Fault(TASK + "[training]\nsteps = 1000000000000", r"training\.steps: "),
    "a fraction of steps": Fault(TASK + "[training]\nsteps = 1e30", r"training\.steps: .*1e\+30"),
    "looks without end": Fault(
        TASK + "[training]\nsteps = 1000000000\nevaluate = { every = 1 }",
        r"training: evaluate: every 1 of 1000000000 steps is 1000000000 times.*raise it",
    ),
    "a grid without end": Fault(
        TRAINING + "checkpoints = { logarithmic = 1000000000 }", r"checkpoints\.logarithmic: "
    ),
    "pairs without end": Fault(
        '[task]\nname = "modular_arithmetic"\np = 1000000',
        r"task: p 1000000 makes 1000000000000 pairs, over 100000000: lower p",
    ),
    "nested too deeply": Fault("x = " + "[" * 100_000, r"wrong\.toml: "),
    "a number of too many digits": Fault("x = " + "1" * 5000, r"not TOML: "),
}
STOPS = {
    "a loss that rises": Fault('metric = "test.loss", at_least = 0.5', "test.loss falls .*at_most"),
    "a loss without a level": Fault('metric = "test.loss"', "test.loss falls .*give at_most"),
    "an accuracy that falls": Fault("at_most = 0.5", "test.accuracy rises .*give at_least"),
    "two levels": Fault("at_least = 0.5, at_most = 0.5", "give at_least, and it alone"),
    "more than all": Fault("at_least = 99.0", "at_least 99: test.accuracy is 1 at most"),
    "no number": Fault('metric = "test.loss", at_most = nan', r"stop\.at_most"),
    "an unknown metric": Fault(
        'metric = "test.acuracy"', r"no metric 'test\.acuracy'; there are train\.loss, "
    ),
}


def refusal(text: str, folder) -> str:
    (folder / "wrong.toml").write_text(text)
    with pytest.raises(ValueError, match=r"wrong\.toml: ") as raised:
        load_experiment(folder / "wrong.toml")
    return str(raised.value)


@pytest.mark.parametrize("fault", TYPES.values(), ids=TYPES)
def test_a_value_of_another_type_is_refused(fault, tmp_path):
    assert_told(refusal(fault.text, tmp_path), fault.message)


@pytest.mark.parametrize("fault", RANGES.values(), ids=RANGES)
def test_what_cannot_be_computed_is_refused(fault, tmp_path):
    assert_told(refusal(fault.text, tmp_path), fault.message)


@pytest.mark.parametrize("fault", STOPS.values(), ids=STOPS)
def test_a_stop_that_never_or_always_holds_is_refused(fault, tmp_path):
    stop = f"stop = {{ {fault.text} }}"
    assert_told(refusal(TRAINING + stop, tmp_path), fault.message)


def assert_told(message: str, pattern: str) -> None:
    assert re.search(pattern, message)
    assert "\n" not in message
    assert len(message) < 1000


def test_whole_numbers_are_numbers_and_lists_stand_for_tuples(tmp_path):
    text = TRAINING + "lr = 1\nbetas = [0, 0.5]\nstop = { at_least = 1 }"
    (tmp_path / "right.toml").write_text(text)
    training = load_experiment(tmp_path / "right.toml").training
    assert training is not None
    assert (training.lr, training.betas, training.stop) == (1.0, (0.0, 0.5), Stop(at_least=1.0))


def test_a_stop_of_an_accuracy_is_written_with_its_level():
    assert "at_least = 0.99" in tiny_experiment(stop={}).to_toml()


def test_values_of_a_sweep_are_taken_as_they_are_written(tmp_path):
    text = 'base = "modular-addition"\n[vary]\n"training.lr" = ["0.1", "0.2"]'
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(ValueError, match=r"training\.lr: .*number \(got '0\.1'\)"):
        load_sweep(tmp_path / "sweep.toml")


SWEEPS = {
    "a truth value for seeds": Fault("seeds = true", "seeds: give a list"),
    "a seed that is none": Fault("seeds = [0, true]", r"seeds\.1: "),
    "seeds without end": Fault(f"seeds = {10**18}", "over 100000, the most runs"),
    "members without end": Fault(
        f'seeds = 1000\n[vary]\n"training.lr" = {[0.1 + i for i in range(200)]}',
        "200000 runs, over 100000",
    ),
}


@pytest.mark.parametrize("fault", SWEEPS.values(), ids=SWEEPS)
def test_a_sweep_that_cannot_be_is_refused(fault, tmp_path):
    (tmp_path / "sweep.toml").write_text(f'base = "modular-addition"\n{fault.text}')
    with pytest.raises(ValueError, match=fault.message):
        load_sweep(tmp_path / "sweep.toml")


def test_a_seed_beyond_what_generators_take_is_refused_in_a_line():
    with pytest.raises(ValueError, match=r"\Aseed: model: [^\n]*\Z"):
        tiny_experiment().with_seed(2**63)


SMALL: dict[str, dict[str, object]] = {
    "modular_arithmetic": {"p": 5, "train_fraction": 0.5},
    "bit_parity": {"n": 6, "train_sequences": 8, "test_sequences": 8},
    "question_formation": {"train_lines": 8, "validation_lines": 60, "generalization_lines": 60},
    "tense_inflection": {"train_lines": 8, "validation_lines": 8, "generalization_lines": 8},
    "dyck": {
        "k": 2, "depth": 3, "n_ctx": 128,
        "train_lines": 40, "validation_lines": 8, "generalization_lines": 8,
    },
    "repeated_tokens": {"test_sequences": 4},
    "examples": {},
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_a_task_scores_the_metrics_that_it_names(name):
    task = task_of(name, **SMALL.get(name, {"test_prompts": 4}))
    config = config_for(task.sizes)
    model = build(config, task.sizes, seed=0)
    examples = task.examples(task.evaluated[0], None, 0)
    assert set(task.score(Snapshot.of(model, examples, config=config))) == set(task.metrics)


def test_presets_with_a_stop_still_load():
    stops = {name: load_experiment(name).training for name in preset_names()}
    held = [each.stop for each in stops.values() if each is not None and each.stop is not None]
    assert {(stop.metric, stop.at_least) for stop in held} == {("test.accuracy", 0.99)}


def test_a_level_is_checked_when_a_stop_is_made():
    with pytest.raises(ValidationError, match=r"give at_most, and it alone"):
        Stop.model_validate({"metric": "test.error", "at_least": 0.5})


def test_a_value_without_end_is_not_told_whole(tmp_path):
    family = "a" * 10_000
    text = f"""
task = {{name = "function_classes", classes = [{{family = "{family}"}}]}}
training = {{steps = 1, batch_size = 1}}
"""
    (tmp_path / "long.toml").write_text(text)
    with pytest.raises(ValueError, match=r"task.classes.0: Input tag 'aaa.*'sinusoid'") as refused:
        load_experiment(tmp_path / "long.toml")
    assert len(str(refused.value)) < 2_000
