"""What an import asks for, warns of and says."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from interp.cli import commands as cli
from interp.importers import import_run
from interp.runs.run import load
from tests.foreign import PLAIN, TASK, hooked_state, progress_state, state_of
from tests.planted import random_model

# Most imports warn of the split (tests/interp/importers/test_splits.py).
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*it was trained on", "ignore:.*last 1 left out", "ignore:.*; assumed: "
)


def test_classes_beyond_the_tasks_are_warned_of(imported):
    message = "answer with 8 classes, the task has 7: the last 1 left out"
    with pytest.warns(UserWarning, match=message):
        imported(progress_state())


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, "give --act-fn relu"),
        ({"act_fn": "relu"}, r"give --normalization-type none \(or LNPre\)"),
    ],
)
def test_what_shapes_cannot_tell_is_asked_for_by_name(imported, options, asked):
    with pytest.raises(ValueError, match=asked):
        imported(hooked_state(), options=options)


def test_the_task_is_asked_for_with_the_sizes_it_must_have(imported):
    with pytest.raises(ValueError, match=r"\(d_vocab 8, d_vocab_out 7, n_ctx 3\): give --task"):
        imported(hooked_state(), task=None, options=PLAIN)


def test_layer_norm_is_known_by_its_parameters(imported):
    state = state_of(random_model(normalization_type="LN"))
    run = imported(state, options={"act_fn": "relu"})
    assert run.experiment.model.normalization_type == "LN"


def test_a_model_without_mlp_needs_no_activation(imported):
    state = state_of(random_model(attn_only=True))
    assert imported(state, options={"normalization_type": None}).experiment.model.attn_only


def test_the_progress_measures_code_may_have_used_gelu(imported):
    run = imported({"model": progress_state(), "config": {"act_type": "GeLU", "num_heads": 2}})
    assert run.experiment.model.act_fn == "gelu"


@pytest.mark.parametrize(
    ("options", "assumed"),
    [
        ({}, "attention_dir causal, act_fn relu, normalization_type none"),
        ({"act_fn": "gelu", "attention_dir": "causal"}, "normalization_type none"),
    ],
)
def test_what_nothing_states_is_said_to_be_assumed(imported, options, assumed):
    with pytest.warns(UserWarning, match=f"shapes cannot tell; assumed: {assumed}$"):
        run = imported(progress_state(), options=options)
    assert f"assumed: {assumed}" in (run.path / "imported.json").read_text()


@pytest.mark.filterwarnings("error:.*assumed")
def test_nothing_is_assumed_where_all_is_stated(imported):
    imported(hooked_state(), options=PLAIN | {"attention_dir": "causal"})


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_prefixes_of_wrapped_models_are_taken_off(imported, prefix):
    state = hooked_state()
    run = imported({prefix + name: value for name, value in state.items()}, options=PLAIN)
    assert torch.equal(run.parameters(100)["embed.W_E"], state["embed.W_E"])


def test_a_config_and_a_task_with_a_byte_order_mark_are_read(save, tmp_path):
    file, mark = save(hooked_state()), b"\xef\xbb\xbf"
    (tmp_path / "given" / "config.json").write_bytes(mark + b'{"act_fn": "gelu"}')
    (tmp_path / "task.toml").write_bytes(mark + b'name = "modular_arithmetic"\np = 7\n')
    run = import_run(
        file.parent, tmp_path / "run", tmp_path / "task.toml", {"normalization_type": None}
    )
    fields = run.experiment.fields
    assert (fields["model.act_fn"], fields["task.p"]) == ("gelu", 7)


@pytest.mark.parametrize("inside", [{"step": 5000}, {"epoch": 7}])
def test_a_name_that_contradicts_the_content_is_told_of(imported, inside):
    ((name, other),) = inside.items()
    with pytest.warns(UserWarning, match=f"step 100, though its {name} is {other} "):
        assert imported({"model": progress_state()} | inside).steps == (100,)


def test_a_step_inside_counts_where_the_names_number_is_not_plain(imported):
    content = {"model": progress_state(), "step": 10_000}
    with pytest.warns(
        UserWarning, match="step 10000, its step, since 'step_10k' in step_10k is no"
    ):
        assert imported(content, "step_10k.pt").steps == (10_000,)


@pytest.mark.filterwarnings("ignore:.*hold equal tensors")
def test_a_step_that_is_a_names_one_number_is_told_of(save, tmp_path):
    for name in ("model20.pt", "model100.pt"):
        save(hooked_state(), name)
    with pytest.warns(UserWarning, match="steps taken to be the one number in each file's name"):
        assert import_run(tmp_path / "given", tmp_path / "run", TASK, PLAIN).steps == (20, 100)


@pytest.fixture
def interp(monkeypatch, capsys):
    """Runs `interp import` in this process: exit code, output, errors."""

    def call(*arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["interp", "import", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return (stopped.value.code or 0, *capsys.readouterr())

    return call


def test_the_help_has_an_example(interp):
    assert "Example: interp import" in interp("--help")[1]


def test_the_command_writes_a_run_and_says_what_it_warns_of(save, tmp_path):
    task, config = tmp_path / "task.toml", tmp_path / "config.toml"
    task.write_text('name = "modular_arithmetic"\np = 7\n')
    config.write_text('normalization_type = "none"\nattention_dir = "bidirectional"\n')
    options = ["--task", task, "--act-fn", "relu", "--config", config]
    command = ["import", save(hooked_state()), "--out", tmp_path / "run", *options]
    done = subprocess.run(
        [sys.executable, "-m", "interp", *command], capture_output=True, text=True, check=True
    )
    assert "1 checkpoints, the last at 100" in done.stdout
    assert done.stderr.count("\n") == 1
    assert load(tmp_path / "run").experiment.model.attention_dir == "bidirectional"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ('name = "modular"', "no task 'modular'; there are modular_arithmetic"),
        ('name = "modular_arithmetic"\np = 1', "p: Input should be greater than or equal to 2"),
        ("name =", "not TOML"),
        ("task = 3", "Input should be"),
    ],
)
def test_the_command_refuses_in_one_line(interp, save, tmp_path, task, message):
    (tmp_path / "task.toml").write_text(task)
    options = ("--task", tmp_path / "task.toml")
    code, out, err = interp(save(hooked_state()), "--out", tmp_path / "run", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "run").exists()
