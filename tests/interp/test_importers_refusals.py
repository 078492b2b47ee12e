"""Files that could run something, or do not fit, are refused in one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.importers import import_run
from interp.importers.archives import read_archive
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.foreign import PLAIN, TASK, demo_archive, hooked_state, progress_state, state_of
from tests.planted import random_model

# Most imports warn of the split (tests/interp/test_importers_splits.py).
pytestmark = pytest.mark.filterwarnings("ignore:.*it was trained on", "ignore:.*last 1 left out")


def refusal(imported, tmp_path, *arguments, **options) -> str:
    """The one line that an import is refused with; nothing is left behind."""
    with pytest.raises((ValueError, OSError)) as refused:
        imported(*arguments, **options)
    assert {path.name for path in tmp_path.iterdir()} <= {"given"}
    assert "\n" not in str(refused.value)
    return str(refused.value)


class Trap:
    """What a malicious file holds: unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


class Script(Trap):
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"import pathlib; pathlib.Path({str(self.path)!r}).touch()",))


@pytest.mark.parametrize("trap", [Trap, Script])
def test_a_pickle_that_would_run_is_refused_and_does_not_run(imported, tmp_path, trap):
    sprung = tmp_path / "sprung"
    archive = demo_archive(notes=trap(sprung))
    assert "holds a pickled" in refusal(imported, tmp_path, archive)
    assert not sprung.exists()


def test_the_trap_of_these_tests_would_spring(tmp_path):
    torch.save(Script(tmp_path / "sprung"), tmp_path / "trap.pt")
    torch.load(tmp_path / "trap.pt", weights_only=False)
    assert (tmp_path / "sprung").exists()


def test_a_pickled_config_is_refused_with_the_remedy(imported, tmp_path):
    config = random_model().cfg
    message = refusal(imported, tmp_path, demo_archive(config=config))
    assert "HookedTransformerConfig, which torch.load(weights_only=True) refuses" in message
    assert "json.loads(json.dumps(vars(config), default=str))" in message


def test_the_remedy_for_a_pickled_config_works(imported):
    config = json.loads(json.dumps(vars(random_model().cfg), default=str))
    assert imported(demo_archive(config=config)).experiment.model.d_model == 8


def test_a_pickled_model_is_refused(imported, tmp_path):
    assert "a model as state_dict()" in refusal(imported, tmp_path, random_model())


@pytest.mark.parametrize("name", ["step_1.pt", "step_1.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and no more", b"\x80\x04.."])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"\A[^\n]*{name} [^\n]*damaged: [^\n]*\Z"):
        import_run(tmp_path / name, tmp_path / "run", TASK, PLAIN)


def without(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without("blocks.0.attn.b_Q", hooked_state()), "lacks blocks.0.attn.b_Q"),
        (without("blocks.0.mlp.W_out", progress_state()), "lacks blocks.0.mlp.W_out"),
        (without("unembed.W_U", hooked_state()), "lacks unembed.W_U"),
        (without("blocks.0.attn.W_O", hooked_state()), "no blocks.0.attn.W_O of two or three"),
        (hooked_state(probe=torch.ones(2)), "has unknown tensors probe"),
        (progress_state() | {"blocks.0.ln1.w": torch.ones(6)}, "unknown tensors blocks.0.ln1.w"),
        (hooked_state(**{"embed.W_E": torch.ones(8)}), "embed.W_E is [8]; 2 axes are wanted"),
        (
            hooked_state(**{"blocks.0.mlp.b_in": torch.ones(9)}),
            "blocks.0.mlp.b_in is [9], wanted is [16]",
        ),
        (
            progress_state() | {"blocks.0.attn.W_O": torch.ones(6, 9)},
            "blocks.0.attn.W_O is [6, 9]; 2 heads of 4 want [6, 8]",
        ),
        (
            progress_state() | {"blocks.0.mlp.b_in": torch.ones(1, 10)},
            "blocks.0.mlp.b_in is [1, 10], not [d_mlp]",
        ),
        (
            progress_state() | {"blocks.0.attn.mask": torch.ones(3, 3)},
            "blocks.0.attn.mask is not the causal mask",
        ),
        (hooked_state(**{"embed.W_E": torch.ones(8, 8).int()}), "embed.W_E holds torch.int32"),
        (
            {"blocks.0.attn.q.weight": torch.ones(2, 2)},
            "its tensors are blocks.0.attn.q.weight",
        ),
        ({"optimizer": {"lr": 1}}, "no state_dict under checkpoints, state_dicts, model"),
        ([1, 2], "holds a list, not a state_dict"),
        (
            {"checkpoints": [hooked_state()]},
            "checkpoints holds 1 state_dicts and checkpoint_epochs no steps",
        ),
        (
            {"checkpoints": [hooked_state()] * 2, "checkpoint_epochs": [3, 3]},
            "the steps of checkpoints are not distinct whole numbers: [3, 3]",
        ),
        ({"checkpoints": [3], "checkpoint_epochs": [3]}, "checkpoints is not a list of state_d"),
        (demo_archive(config="relu"), "its config is a str, not a table"),
        (demo_archive(train_losses=[[1.0]]), "train_losses is neither a number nor a list"),
    ],
)
def test_what_does_not_fit_is_named(imported, tmp_path, content, message):
    assert message in refusal(imported, tmp_path, content, options=PLAIN)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"d_model": 16}, "d_model: the config says 16, the parameters' shapes say 8"),
        ({"n_layers": 2}, "n_layers: the config says 2, the parameters' shapes say 1"),
        ({"normalization_type": "LN"}, "'LN' in the config, but blocks.0.ln1.w is missing"),
        ({"act_fn": "solu"}, "config: act_fn: Input should be 'relu', 'gelu'"),
        ({"use_local_attn": True}, "use_local_attn is True in the config; the token model"),
        ({"attn_scale": 1.0}, "attn_scale is 1.0 in the config"),
        ({"attn_coeff": 0.5}, "attn_coeff is 0.5 in the config; this option is unknown here"),
        ({"positional_embedding_type": "rotary"}, "but pos_embed.W_pos is there"),
        ({"positional_embedding_type": "shortformer"}, "positional_embedding_type: Input should"),
    ],
)
def test_a_config_that_contradicts_the_checkpoint_is_refused(imported, tmp_path, config, message):
    content = {"model": hooked_state(), "config": PLAIN | config}
    assert message in refusal(imported, tmp_path, content)


def test_a_user_who_contradicts_the_config_is_refused(imported, tmp_path):
    message = refusal(imported, tmp_path, demo_archive(), options={"act_fn": "gelu"})
    assert "act_fn: the config says 'relu', you say 'gelu'" in message


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (ModularArithmetic(p=11), "d_vocab is 8 in the checkpoint and 12 in the task"),
        (ModularArithmetic(p=8, equals=False), "d_vocab_out is 7 in the checkpoint and 8 in"),
        ("nonsense", "nonsense is neither a TOML file nor a preset"),
    ],
)
def test_another_task_than_the_checkpoints_is_refused(imported, tmp_path, task, message):
    assert message in refusal(imported, tmp_path, hooked_state(), task=task, options=PLAIN)


def test_later_checkpoints_must_be_like_the_first(imported, tmp_path):
    states = [hooked_state(), state_of(random_model(d_mlp=5))]
    content = {"checkpoints": states, "checkpoint_epochs": [1, 2]}
    message = refusal(imported, tmp_path, content, options=PLAIN)
    assert "step 2: blocks.0.mlp.W_in is [8, 5], wanted is [8, 16]" in message


def test_checkpoints_of_two_layouts_are_refused(imported, tmp_path):
    content = {"checkpoints": [hooked_state(), progress_state()], "checkpoint_epochs": [1, 2]}
    message = refusal(imported, tmp_path, content, options=PLAIN)
    assert "its layout is progress_measures, that of the others hooked_transformer" in message


def test_two_files_of_one_step_are_refused(save, tmp_path):
    for name in ("step_1.pt", "epoch_1.pt"):
        save(hooked_state(), name)
    with pytest.raises(ValueError, match="step 1: another file holds this step too"):
        import_run(tmp_path / "given", tmp_path / "run", TASK, PLAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_a_file_without_a_step_is_refused(imported, tmp_path):
    message = refusal(imported, tmp_path, hooked_state(), "grok_113.pt", options=PLAIN)
    assert "which step is it of? rename it, such as step_1000.pt" in message


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt: no such file or folder"):
        import_run(tmp_path / "none.pt", tmp_path / "run", TASK)


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    (tmp_path / "given").mkdir()
    with pytest.raises(FileNotFoundError, match=r"given holds no \.pt, \.pth, \.safetensors file"):
        import_run(tmp_path / "given", tmp_path / "run", TASK)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.bin: not one of \.pt, \.pth, \.safetensors"):
        read_archive(tmp_path / "model.bin")
