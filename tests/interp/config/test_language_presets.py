"""Presets of the language tasks: a tiny version of each trains, and they say what they should."""

import pytest
import torch

from interp.config.experiment import load_experiment
from interp.config.training import Steps
from interp.training.loop import train

FEW = {"train_lines": 64, "validation_lines": 8, "generalization_lines": 50}
TINY = {"n_layers": 1, "d_model": 16, "n_heads": 2}
RELEASED = ["question-formation-6L", "tense-inflection-4L", "dyck-6L"]
SMALL = ["question-formation-small", "question-formation-faithful"]


def tiny(name):
    """A preset with few lines, a small model and two updates."""
    preset = load_experiment(name)
    assert preset.training is not None
    changed = {"steps": 2, "evaluate": Steps(every=1), "checkpoints": Steps(listed=())}
    changed |= {"warmup_steps": 1, "lr_decay_steps": preset.training.lr_decay and 10}
    return preset.model_copy(
        update={
            "task": preset.task.model_copy(update=FEW),
            "model": preset.model.model_copy(update=TINY),
            "training": preset.training.model_copy(update=changed),
        }
    )


@pytest.mark.parametrize("name", RELEASED + SMALL)
def test_a_tiny_version_takes_a_step(name, tmp_path):
    run = train(tiny(name), tmp_path / "run", device="cpu")
    first, last = (run.parameters(step)["embed.W_E"] for step in (0, 2))
    assert not torch.equal(first, last)


@pytest.mark.parametrize("name", RELEASED)
def test_the_papers_presets_are_trained_as_the_released_code_does(name):
    fields = load_experiment(name).fields
    assert [fields[f"model.{size}"] for size in ("d_model", "n_heads", "dropout")] == [512, 8, 0.1]
    assert fields["training.grad_clip"] == 1
    training = load_experiment(name).training
    assert training is not None
    assert training.learning_rate(300_000) == pytest.approx(0.854e-4, rel=1e-3)


def test_the_faithful_preset_differs_from_the_small_one_in_sentences_and_length():
    small, faithful = (load_experiment(name).fields for name in SMALL)
    differing = {name for name in small | faithful if small.get(name) != faithful.get(name)}
    assert differing == {
        "name", "task.sentences", "training.steps", "training.evaluate.every",
        "training.checkpoints.every", "training.checkpoints.listed",
    }  # fmt: skip


def test_metrics_of_question_formation_tell_kinds_of_relative_clause_apart(tmp_path):
    metrics = train(tiny(SMALL[0]), tmp_path / "run", device="cpu").metrics
    assert metrics is not None
    kinds = {f"generalization.accuracy_{kind}" for kind in ("SRC_i", "SRC_t", "ORC")}
    assert kinds <= set(metrics)
