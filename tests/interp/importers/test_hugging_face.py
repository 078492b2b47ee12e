"""Folders that Hugging Face's transformers wrote compute the logits that it computes itself."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hooks import Examples
from interp.importers import import_run, language_series, repeated_sequences
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.tiny_language_models import N_POSITIONS, N_VOCABULARY, tiny_language_model

TASK = ModularArithmetic(p=10)  # ten numbers and "=", three positions
PROMPTS = repeated_sequences(N_VOCABULARY, 5, 8)
KINDS = ("gpt2", "llama", "gpt_neox")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*it was trained on",
    "ignore:.*last 1 left out",
    "ignore:.*the last 9, which it never",
    "ignore:.*nothing in the file says its step",
)


@pytest.fixture
def saved(tmp_path):
    """Saves a tiny model in the folder `models/NAME`; the model."""

    def saved(kind: str, name: str = "step7", dtype: Any = torch.float32, **options: Any) -> Any:
        written = {"max_shard_size": options.pop("max_shard_size", "1GB")}
        model = tiny_language_model(kind, **options).to(dtype)
        model.save_pretrained(tmp_path / "models" / name, **written)
        return model

    return saved


@pytest.fixture
def spoilt(saved, tmp_path):
    """Saves a model and changes its config.json; the folder of its series."""

    def spoilt(kind: str, **settings: Any) -> Path:
        saved(kind)
        file = tmp_path / "models" / "step7" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))
        return tmp_path / "models"

    return spoilt


def logits(model, tokens):
    with torch.no_grad():
        return model(tokens).logits


OPTIONS = [
    ("gpt2", {}),
    ("gpt2", {"tie_word_embeddings": False}),
    ("gpt2", {"activation_function": "gelu", "n_inner": 20, "layer_norm_epsilon": 0.1}),
    ("gpt2", {"activation_function": "gelu_pytorch_tanh", "scale_attn_weights": False}),
    ("llama", {}),
    ("llama", {"num_key_value_heads": 2, "rope_theta": 50.0, "rms_norm_eps": 0.1}),
    ("llama", {"num_key_value_heads": 1, "head_dim": 6, "tie_word_embeddings": True}),
    ("llama", {"attention_bias": True, "num_key_value_heads": 2, "hidden_act": "gelu"}),
    ("gpt_neox", {}),
    ("gpt_neox", {"use_parallel_residual": False, "layer_norm_eps": 0.1}),
    ("gpt_neox", {"rotary_pct": 0.5, "rotary_emb_base": 50, "hidden_act": "relu"}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-6)])
def test_a_series_has_transformers_logits(saved, tmp_path, kind, options, dtype, tolerance):
    model = saved(kind, dtype=getattr(torch, dtype), **options)
    series = language_series(tmp_path / "models", ["step7"], examples=PROMPTS)
    expected = logits(model, PROMPTS.tokens)
    assert expected.std() > 0.3
    torch.testing.assert_close(series.snapshot().logits(), expected, atol=tolerance, rtol=0)


def test_what_turns_no_angles_agrees_to_the_last_digits(saved, tmp_path):
    model = saved("gpt2", dtype=torch.float64)
    series = language_series(tmp_path / "models", ["step7"], examples=PROMPTS)
    expected = logits(model, PROMPTS.tokens)
    torch.testing.assert_close(series.snapshot().logits(), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_revisions_becomes_a_run(saved, tmp_path, kind):
    models = {
        step: saved(kind, f"checkpoint-{step}", seed=step, dtype=torch.float64) for step in (20, 3)
    }
    (tmp_path / "models" / "logs").mkdir()
    run = import_run(tmp_path / "models", tmp_path / "run", TASK)
    assert run.steps == (3, 20)
    for step, model in models.items():
        snapshot = run.snapshot(step)
        expected = logits(model, snapshot.examples.tokens)[..., :10]
        torch.testing.assert_close(snapshot.logits(), expected, atol=1e-6, rtol=0)


def test_a_run_reads_the_same_as_a_series(saved, tmp_path):
    saved("llama", num_key_value_heads=2)
    run = import_run(tmp_path / "models" / "step7", tmp_path / "run", TASK)
    tokens = run.snapshot().examples
    series = language_series(tmp_path / "models", ["step7"], examples=tokens)
    ours = series.snapshot().logits()[..., :10]
    torch.testing.assert_close(run.snapshot().logits(), ours, atol=1e-6, rtol=0)


def test_what_a_task_never_reads_is_left_out_and_said(saved, tmp_path):
    saved("gpt2")
    with pytest.warns(UserWarning, match="have 12 positions, the task 3: the last 9, which it nev"):
        run = import_run(tmp_path / "models" / "step7", tmp_path / "run", TASK)
    assert run.parameters(7)["pos_embed.W_pos"].shape == (3, 16)


def test_the_command_line_imports_a_folder(saved, tmp_path, command):
    saved("llama")
    task = tmp_path / "task.toml"
    task.write_text('name = "modular_arithmetic"\np = 10\n')
    out = tmp_path / "run"
    reply = command("import", tmp_path / "models", "--task", task, "--out", out)
    assert (reply["code"], (out / "checkpoints" / "7.safetensors").is_file()) == (0, True)
    assert json.loads((out / "imported.json").read_text())["layout"] == "llama"


def test_a_folder_that_says_no_step_asks_for_it(saved, tmp_path):
    saved("gpt2", "mine")
    with pytest.raises(ValueError, match=r"mine: which step is it of\? give --step"):
        import_run(tmp_path / "models" / "mine", tmp_path / "run", TASK)
    run = import_run(tmp_path / "models" / "mine", tmp_path / "run", TASK, step=5)
    assert run.steps == (5,)
    saved("gpt2", "step8")
    with pytest.raises(ValueError, match=r"step8 says its step, 8: leave out --step"):
        import_run(tmp_path / "models" / "step8", tmp_path / "2", TASK, step=5)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_in_several_files_are_read(saved, tmp_path, kind):
    model = saved(kind, max_shard_size="4KB")
    assert len([*(tmp_path / "models" / "step7").glob("*.safetensors")]) > 2
    series = language_series(tmp_path / "models", ["step7"], examples=PROMPTS)
    expected = logits(model, PROMPTS.tokens)
    torch.testing.assert_close(series.snapshot().logits(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_pickled_tensors_are_read_as_tensors_alone(saved, tmp_path, kind):
    model, folder = saved(kind), tmp_path / "models" / "step7"
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    series = language_series(tmp_path / "models", ["step7"], examples=PROMPTS)
    expected = logits(model, PROMPTS.tokens)
    torch.testing.assert_close(series.snapshot().logits(), expected, atol=1e-4, rtol=0)
    torch.save({"model": model}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin holds a pickled transformers"):
        series.parameters(7)


def test_a_base_model_saved_without_its_head_has_no_prefix(saved, tmp_path):
    model = saved("gpt2")
    model.transformer.save_pretrained(tmp_path / "models" / "step7")
    series = language_series(tmp_path / "models", ["step7"], examples=PROMPTS)
    expected = logits(model, PROMPTS.tokens)
    torch.testing.assert_close(series.snapshot().logits(), expected, atol=1e-4, rtol=0)


def test_masks_and_frequencies_that_older_versions_kept_are_passed_over(saved, tmp_path):
    for kind, name in {
        "gpt2": "transformer.h.0.attn.masked_bias",
        "llama": "model.layers.1.self_attn.rotary_emb.inv_freq",
        "gpt_neox": "gpt_neox.layers.1.attention.bias",
    }.items():
        saved(kind, f"{kind}/step7")
        file = tmp_path / "models" / kind / "step7" / "model.safetensors"
        save_file(load_file(file) | {name: torch.ones(1)}, file)
        series = language_series(tmp_path / "models" / kind, ["step7"], examples=PROMPTS)
        assert len(series.parameters(7)) > 20


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("llama", {"sliding_window": 4}, "sliding_window is 4 in config.json; this toolkit comp"),
        ("llama", {"mlp_bias": True}, "mlp_bias is True in config.json; this toolkit computes"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
            "rope_scaling asks for linear and factor in config.json",
        ),
        ("llama", {"qk_norm": True}, "qk_norm is True in config.json; this option of llama is unk"),
        ("llama", {"hidden_act": "tanh"}, "hidden_act is 'tanh' in config.json; there are gelu"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("gpt_neox", {"attention_bias": False}, "attention_bias is False in config.json; this too"),
        (
            "gpt_neox",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}},
            "rope_scaling asks for dynamic and factor",
        ),
        ("gpt_neox", {"rotary_pct": 0.1, "rope_parameters": None}, "rotary_pct is 0.1"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention is True in config.json"),
        ("gpt2", {"activation_function": "quick_gelu"}, "activation_function is 'quick_gelu' in"),
        ("gpt2", {"n_head": 3}, "3 heads do not divide the width 16 in config.json"),
        ("gpt2", {"model_type": "mistral"}, "a model of type mistral; read are gpt2, llama, gpt_"),
    ],
    ids=str,
)
def test_what_is_not_computed_is_refused_by_name(spoilt, tmp_path, kind, settings, named):
    folder = spoilt(kind, **settings)
    with pytest.raises(ValueError, match=r"\A[^\n]*step7[^\n]*\Z") as series:
        language_series(folder, ["step7"], examples=PROMPTS)
    with pytest.raises(ValueError, match=r"\A[^\n]*step7[^\n]*\Z") as imported:
        import_run(folder, tmp_path / "run", TASK)
    assert [named in str(refused.value) for refused in (series, imported)] == [True, True]
    assert not (tmp_path / "run").exists()


def spoil_tensors(folder: Path, **changes: Any) -> None:
    file = folder / "step7" / "model.safetensors"
    tensors = {**load_file(file), **changes}
    save_file({name: value for name, value in tensors.items() if value is not None}, file)


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("gpt2", {"transformer.h.1.mlp.c_fc.bias": None}, "lacks transformer.h.1.mlp.c_fc.bias"),
        ("gpt2", {"transformer.wte.weight": None}, "lacks transformer.wte.weight"),
        ("gpt2", {"transformer.h.0.ln_3.weight": torch.ones(2)}, "has unknown tensors"),
        ("gpt2", {"lm_head.weight": torch.ones(11, 16)}, "tie_word_embeddings is True in the conf"),
        ("gpt2", {"transformer.wpe.weight": torch.ones(9, 16)}, "W_pos is [9, 16], wanted"),
        ("llama", {"lm_head.weight": None}, "lacks lm_head.weight"),
        ("llama", {"model.layers.0.mlp.up_proj.weight": None}, "lacks model.layers.0.mlp.up_proj"),
        ("llama", {"model.layers.0.self_attn.q_proj.bias": torch.ones(16)}, "has unknown tensors"),
        ("llama", {"model.norm.weight": torch.full((16,), torch.nan)}, "ln_final.w holds NaN"),
        ("gpt_neox", {"gpt_neox.layers.3.input_layernorm.bias": torch.ones(9)}, "numbered 0, 1, 3"),
        (
            "gpt_neox",
            {"gpt_neox.layers.0.attention.dense.weight": torch.ones(16, 15)},
            "attention.dense.weight is [16, 15], which",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(saved, tmp_path, kind, changes, named):
    saved(kind)
    spoil_tensors(tmp_path / "models", **changes)
    series = language_series(tmp_path / "models", ["step7"], examples=PROMPTS)
    with pytest.raises(ValueError, match=r"\A[^\n]*step7: [^\n]*\Z") as refused:
        series.parameters(7)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("index", "named"),
    [
        ({}, "holds no weight_map"),
        ({"weight_map": {"a": "../../other.safetensors"}}, r"which is no file beside it"),
        ({"weight_map": {"a": "gone.safetensors"}}, r"gone\.safetensors: no such file"),
        ({"weight_map": {"a": "part.safetensors"}}, r"names a, which is in none of its files"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(saved, tmp_path, index, named):
    saved("llama")
    folder = tmp_path / "models" / "step7"
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    series = language_series(tmp_path / "models", ["step7"], examples=PROMPTS)
    with pytest.raises((ValueError, OSError), match=named):
        series.parameters(7)


@pytest.mark.filterwarnings("ignore:.*hold equal tensors")
def test_revisions_with_equal_tensors_are_named(saved, tmp_path):
    for step in (1, 2, 4):
        saved("gpt2", f"step{step}", seed=min(step, 2))
    said = "steps 2 and 4 hold equal tensors: copies of one checkpoint"
    series = language_series(tmp_path / "models", ["step1", "step2", "step4"], examples=PROMPTS)
    assert all(series.parameters(step) for step in (1, 4))
    with pytest.warns(UserWarning, match=said):
        series.parameters(2)
    with pytest.warns(UserWarning, match=said):
        run = import_run(tmp_path / "models", tmp_path / "run", TASK)
    assert said in (run.path / "imported.json").read_text()


@pytest.mark.filterwarnings("error:.*hold equal tensors")
def test_one_revision_read_twice_is_no_copy(saved, tmp_path):
    for step in (1, 2):
        saved("gpt2", f"step{step}", seed=step)
    series = language_series(tmp_path / "models", ["step1", "step2"], examples=PROMPTS)
    assert all(series.parameters(step) for step in (1, 1, 2))


def test_repeated_sequences_are_scored_where_they_repeat():
    tokens, targets, scored = PROMPTS.model_inputs, PROMPTS.targets, PROMPTS.scored
    assert torch.equal(tokens[:, :5], tokens[:, 5:])
    assert scored[0].tolist() == [False] * 5 + [True] * 4 + [False]
    assert torch.equal(targets[:, 5:9], tokens[:, 1:5])
    assert PROMPTS.facts.chance == pytest.approx(1 / N_VOCABULARY)


def test_a_tasks_prompts_are_taken_as_they_are(saved, tmp_path):
    saved("gpt2")
    series = language_series(tmp_path / "models", ["step7"], task=TASK)
    assert torch.equal(
        series.examples("test").model_inputs, TASK.examples("test", None, 0).model_inputs
    )
    assert series.facts == TASK.facts


REAL = Examples(torch.zeros(1, 1), torch.ones(1, 1) > 0, inputs=torch.ones(1, 1, 2))


def test_prompts_that_the_model_cannot_read_are_refused(saved, tmp_path):
    saved("gpt2")
    for given, named in (
        ({"examples": repeated_sequences(N_VOCABULARY + 9, 5, 50)}, "tokens"),
        ({"examples": repeated_sequences(4, N_POSITIONS, 1)}, "24 positions, the model reads 12"),
        ({"examples": PROMPTS, "task": TASK}, "task and examples: give one of the two"),
        ({"task": ModularArithmetic(p=13)}, "tokens"),
        ({"examples": REAL}, "real inputs"),
    ):
        with pytest.raises(ValueError, match=named):
            language_series(tmp_path / "models", ["step7"], **given)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"repeated_sequences\(1, 5, 1\): at least 2 tokens"):
        repeated_sequences(1, 5, 1)


def test_a_step_without_a_whole_model_is_refused(saved, tmp_path):
    for step in (1, 2):
        saved("gpt2", f"step{step}", seed=step)
    (tmp_path / "models" / "step2" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"step2 holds no whole model .*, unlike step1: complete"):
        import_run(tmp_path / "models", tmp_path / "run", TASK)


def test_a_model_in_the_folder_of_a_series_is_passed_over(saved, tmp_path):
    saved("gpt2", "checkpoint-5")
    for file in (tmp_path / "models" / "checkpoint-5").iterdir():
        shutil.copy(file, tmp_path / "models")
    run = import_run(tmp_path / "models", tmp_path / "run", TASK)
    assert run.steps == (5,)
