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

# Most imports warn of the split (tests/interp/importers/test_splits.py).
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*it was trained on",
    "ignore:.*last 1 left out",
    "ignore:.*; assumed: ",
    "ignore:.*hold equal tensors",
)


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


@pytest.mark.parametrize("content", [b"{}", b"[" * 1000])
def test_nobody_is_told_to_read_a_pickle_unsafely(tmp_path, content):
    (tmp_path / "step_1.pt").write_bytes(content)
    with pytest.raises(ValueError, match="damaged: Unsupported operand"):
        import_run(tmp_path / "step_1.pt", tmp_path / "run", TASK, PLAIN)


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
        ({}, "no state_dict under checkpoints"),
        (hooked_state(**{"a\nb": torch.ones(1)}), r"has unknown tensors 'a\nb'"),
        (hooked_state(**{"": torch.ones(1)}), "has unknown tensors ''"),
        (hooked_state(**{"pos_embed.W_pos": torch.ones(0, 8)}), "shapes: n_ctx: Input should be"),
        (hooked_state(**{"pos_embed.W_pos": torch.ones(())}), "pos_embed.W_pos is []; 2 axes"),
        (hooked_state(**{"blocks.999999.attn.W_Q": torch.ones(2, 8, 4)}), "are numbered 0, 999999"),
        ({"model": hooked_state(), "state_dict": hooked_state()}, "holds model and state_dict"),
        (demo_archive(cfg={}), "holds config and cfg: save it again with the one that counts"),
        (demo_archive(checkpoint_epochs=[0, 10, torch.inf]), "not distinct whole numbers: [0, 10"),
        (demo_archive(config={1: 2}), "its config is a dict, not a table of options by name"),
        (demo_archive(train_losses=[10**400]), "train_losses holds a number beyond floating point"),
        (demo_archive(train_losses=["1.0"]), "train_losses is neither a number nor a list"),
        (
            hooked_state(**{"blocks.0.mlp.b_in": torch.full((16,), torch.nan)}),
            "blocks.0.mlp.b_in holds NaN or infinite numbers: leave this checkpoint out",
        ),
        (
            {"module.probe": torch.ones(1)} | hooked_state(),
            "1 of 19 names begin with module.: save the state_dict of one model, unwrapped",
        ),
        (demo_archive(config="relu"), "its config is a str, not a table"),
        (demo_archive(train_losses=[[1.0]]), "train_losses is neither a number nor a list"),
    ],
)
def test_what_does_not_fit_is_named(imported, tmp_path, content, message):
    assert message in refusal(imported, tmp_path, content, options=PLAIN)


@pytest.mark.parametrize(
    ("tensor", "fault"),
    [
        (torch.eye(8).to_sparse(), "is a sparse_coo tensor: save it again as an ordinary tensor"),
        (torch.eye(8, device="meta"), "is a meta tensor, a shape without numbers"),
        (torch.ones(1).expand(8, 8), "repeats fewer stored numbers than it has"),
        (torch.ones(1, 1).expand(10**6, 10**6), "repeats fewer stored numbers than it has"),
    ],
)
def test_tensors_that_are_no_plain_arrays_are_refused_by_place(imported, tmp_path, tensor, fault):
    content = demo_archive(checkpoints=[hooked_state(**{"embed.W_E": tensor})] * 3)
    message = refusal(imported, tmp_path, content)
    assert "step_100.pt: checkpoints.2.embed.W_E " in message
    assert fault in message


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused_by_place(imported, tmp_path):
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    message = refusal(imported, tmp_path, hooked_state(probe=nested))
    assert "step_100.pt: probe is a nested tensor" in message


def test_a_table_within_itself_is_refused(imported, tmp_path):
    content: dict[str, Any] = {}
    content["model"] = content
    assert "no state_dict under" in refusal(imported, tmp_path, content)


def test_a_safetensors_file_without_tensors_is_refused(tmp_path):
    (tmp_path / "step_1.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match=r"\A[^\n]*step_1\.safetensors: [^\n]*it holds none\Z"):
        import_run(tmp_path / "step_1.safetensors", tmp_path / "run", TASK, PLAIN)


def test_pickles_are_not_read_by_a_torch_whose_reader_is_unsafe(imported, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    message = refusal(imported, tmp_path, hooked_state(), options=PLAIN)
    assert "which torch 2.9.1 does not read safely: pip install 'torch>=2.10'" in message


def test_a_folder_named_like_a_checkpoint_is_named(save, tmp_path):
    save(hooked_state())
    (tmp_path / "given" / "step_5.pt").mkdir()
    with pytest.raises(ValueError, match=r"step_5\.pt is a folder, not a file"):
        import_run(tmp_path / "given", tmp_path / "run", TASK, PLAIN)


@pytest.mark.parametrize("text", ["{", '{"a": 1, "a": 2}', "[" * 100_000, "[1]"])
def test_a_config_that_is_no_table_is_refused(save, tmp_path, text):
    save(hooked_state())
    (tmp_path / "given" / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"\A[^\n]*config\.json[^\n]*\Z"):
        import_run(tmp_path / "given", tmp_path / "run", TASK, PLAIN)


def test_two_configs_beside_the_files_are_refused(save, tmp_path):
    save(hooked_state())
    save({}, "config.json")
    (tmp_path / "given" / "config.toml").write_text("")
    with pytest.raises(ValueError, match=r"config\.json and config\.toml are two configs"):
        import_run(tmp_path / "given", tmp_path / "run", TASK, PLAIN)


def test_configs_of_two_files_must_agree(save, tmp_path):
    for step, act_fn in enumerate(["relu", "gelu"]):
        save({"model": hooked_state(), "config": PLAIN | {"act_fn": act_fn}}, f"{step}.pt")
    with pytest.raises(ValueError, match=r"1\.pt, step 1: act_fn is 'gelu' in its config and 'rel"):
        import_run(tmp_path / "given", tmp_path / "run", TASK)


def test_a_config_beside_a_file_must_agree_with_the_files_own(save, tmp_path):
    save({"model": hooked_state(), "config": PLAIN})
    save(PLAIN | {"act_fn": "gelu"}, "config.json")
    with pytest.raises(ValueError, match="the file's config says 'relu', the one beside it 'gelu'"):
        import_run(tmp_path / "given", tmp_path / "run", TASK)


# Two positions are those of Zhong et al. 2023, whose attention no shape and no mask tells.
PIZZA_TASK = ModularArithmetic(p=8, equals=False)


def pizza_state() -> dict[str, Tensor]:
    state = progress_state()
    return state | {
        "pos_embed.W_pos": state["pos_embed.W_pos"][:2].clone(),
        "blocks.0.attn.mask": torch.ones(2, 2).tril(),
    }


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
def test_two_positions_of_stated_attention_are_imported(imported, direction):
    run = imported(pizza_state(), task=PIZZA_TASK, options={"attention_dir": direction})
    assert run.experiment.model.attention_dir == direction


@pytest.mark.parametrize("options", [{"normalization_type": "LNPre"}, {"use_ln": True}], ids=str)
def test_a_layer_norm_that_the_layout_cannot_have_is_refused(imported, tmp_path, options):
    message = refusal(imported, tmp_path, progress_state(), options=options)
    assert "the progress-measures layout has no layer norm" in message


def test_rotary_angles_of_another_base_are_refused(imported, tmp_path):
    state = state_of(random_model(positional_embedding_type="rotary"))
    sines = torch.sin(torch.arange(3.0)[:, None] * torch.tensor([1.0, 0.5, 1.0, 0.5]))
    state["blocks.0.attn.rotary_sin"] = sines
    options = PLAIN | {"positional_embedding_type": "rotary"}
    message = refusal(imported, tmp_path, state, options=options)
    assert "blocks.0.attn.rotary_sin holds other angles than the token model computes" in message


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"d_head": torch.ones(2)}, "d_head is a tensor in the config: save it as numbers"),
        ({"n_heads": 2, "num_heads": 4}, "n_heads is 2 and, as num_heads, 4 in one config"),
        ({"n_heads": "2"}, "n_heads: the config says '2', the parameters' shapes say 2"),
        ({"d_model": 16}, "d_model: the config says 16, the parameters' shapes say 8"),
        ({"n_layers": 2}, "n_layers: the config says 2, the parameters' shapes say 1"),
        ({"normalization_type": "LN"}, "'LN' in the config, but blocks.0.ln1.w is missing"),
        ({"act_fn": "solu"}, "config: act_fn is 'solu': Input should be 'relu', 'gelu'"),
        ({"use_local_attn": True}, "use_local_attn is True in the config; this toolkit computes"),
        ({"attn_scale": "large"}, "config: attn_scale is 'large': Input should be a valid number"),
        ({"gated_mlp": True}, "gated_mlp: the config says True, the parameters' shapes say False"),
        ({"n_key_value_heads": 1}, "n_key_value_heads is 1 in the config, but blocks.0.attn.W_K"),
        ({"gate": 0.5}, "gate is 0.5 in the config; this option is unknown here"),
        ({"positional_embedding_type": "rotary"}, "but pos_embed.W_pos is there"),
        ({"positional_embedding_type": "sinusoidal"}, "but pos_embed.W_pos is there"),
        ({"positional_embedding_type": "none"}, "but pos_embed.W_pos is there"),
        ({"norm_position": "post"}, "norm_position is 'post'"),
        ({"attention_biases": False}, "attention_biases is False"),
        ({"kind": "post_norm"}, "kind is 'post_norm' in the config; imports are of kind token"),
        ({"positional_embedding_type": "alibi"}, "positional_embedding_type is 'alibi'"),
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


@pytest.mark.parametrize(
    "stem",
    ["step_10k", "ckpt_2.5M", "step_1e3", "step_1,000", "step_1_000", "step_1.5", "step_-5",
     "epoch7of9", "step_1000ema", "checkpoint-3-4", "step_1_step_2", "step_9999999999999"],
)  # fmt: skip
def test_a_number_in_a_name_that_can_be_read_in_two_ways_is_refused(imported, tmp_path, stem):
    message = refusal(imported, tmp_path, hooked_state(), f"{stem}.pt", options=PLAIN)
    assert stem in message
    assert "rename it, such as step_1000.pt" in message


@pytest.mark.parametrize("stem", ["1e3", "10k", "1_000", "1.5", "1,000", "\u0661\u0662"])
def test_a_name_that_is_no_plain_number_is_no_step(imported, tmp_path, stem):
    message = refusal(imported, tmp_path, hooked_state(), f"{stem}.pt", options=PLAIN)
    assert "which step is it of? give --step, or rename it, such as step_1000.pt" in message


@pytest.mark.parametrize(
    "names", [("grok_113.pt",), ("grok_113.pt", "best_97.pt"), ("x10k.pt", "x20k.pt")]
)
def test_a_number_that_nothing_else_counts_along_with_is_no_step(save, tmp_path, names):
    for name in names:
        save(hooked_state(), name)
    with pytest.raises(ValueError, match=r"which step is it of\?"):
        import_run(tmp_path / "given", tmp_path / "run", TASK, PLAIN)


@pytest.mark.parametrize(
    "epoch", [torch.inf, -torch.inf, torch.nan, -1, 0.5, 1e30, True, "7", None]
)
def test_an_epoch_that_is_no_step_is_none(imported, tmp_path, epoch):
    content = {"model": hooked_state(), "epoch": epoch}
    message = refusal(imported, tmp_path, content, "final.pt", options=PLAIN)
    assert "which step is it of?" in message


def test_a_file_without_a_step_is_refused(imported, tmp_path):
    message = refusal(imported, tmp_path, hooked_state(), "grok_113.pt", options=PLAIN)
    assert "which step is it of? give --step, or rename it, such as step_1000.pt" in message


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt: no such file or folder"):
        import_run(tmp_path / "none.pt", tmp_path / "run", TASK)


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    (tmp_path / "given").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"given holds no \.pt, \.pth, \.safetensors, \.npz file"
    ):
        import_run(tmp_path / "given", tmp_path / "run", TASK)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.bin: not one of \.pt, \.pth, \.safetensors"):
        read_archive(tmp_path / "model.bin")
