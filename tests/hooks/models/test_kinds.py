import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from hooks import ModelConfig, Sizes, build
from hooks.models import CONFIGS, ConstructedConfig, MLPConfig, ReadInConfig, TokenConfig
from interp.config.experiment import Experiment, load_experiment

TASK = {"name": "modular_arithmetic", "p": 7, "equals": False}
ADAPTER = TypeAdapter(ModelConfig)
TOKENS = Sizes(d_vocab=7, d_vocab_out=7, n_ctx=2)
REAL = Sizes(d_in=3, d_vocab_out=7, n_ctx=2)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_table_becomes_the_config_of_its_kind(kind):
    assert type(ADAPTER.validate_python({"kind": kind})) is CONFIGS[kind]


def test_a_table_without_a_kind_is_a_token_model():
    assert ADAPTER.validate_python({"d_model": 32}) == TokenConfig(d_model=32)


def test_an_experiment_without_a_model_has_a_token_model():
    assert Experiment.model_validate({"name": "x", "task": TASK}).model == TokenConfig()


@pytest.mark.parametrize(
    "model",
    [
        TokenConfig(d_model=8),
        ReadInConfig(n_layers=3),
        MLPConfig(tied=True, dropout=0.1),
        ConstructedConfig(d_mlp=7),
    ],
)
def test_toml_gives_a_model_of_any_kind_back(model, tmp_path):
    experiment = Experiment.model_validate({"name": "x", "task": TASK, "model": model})
    path = tmp_path / "x.toml"
    path.write_text(experiment.to_toml())
    assert load_experiment(path) == experiment


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ('kind = "lstm"', "model: no kind 'lstm'; there are token, mlp, constructed"),
        ("kind = [1]", r"model: no kind '\[1\]'; there are token"),
        ('kind = "mlp"\nn_heads = 4', r"model\.n_heads: unknown key"),
        ("d_mpl = 4", r"model\.d_mpl: unknown key"),
        ('kind = "mlp"\nd_mlp = 0', r"model\.d_mlp: .*greater than or equal to 1 \(got 0\)"),
        ("n_heads = 3", "model: d_model 128 is not a multiple of n_heads 3"),
    ],
)
def test_a_fault_is_one_line_that_names_the_field(model, message, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(f'[task]\nname = "modular_arithmetic"\n[model]\n{model}')
    with pytest.raises(ValueError, match=rf"\A[^\n]*wrong\.toml: {message}[^\n]*\Z"):
        load_experiment(path)


@pytest.mark.parametrize("kind", CONFIGS)
def test_configs_are_frozen(kind):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(CONFIGS[kind](), "kind", "other")  # noqa: B010  # pyright has no such attribute


@pytest.mark.parametrize("kind", CONFIGS)
def test_building_leaves_torchs_random_state_alone(kind):
    before = torch.get_rng_state()
    build(CONFIGS[kind](), REAL if kind == "read_in" else TOKENS, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_token_model_refuses_real_inputs():
    with pytest.raises(ValueError, match=r"kind token reads tokens, .* take kind mlp"):
        build(TokenConfig(), Sizes(d_in=5, d_vocab_out=2, n_ctx=1), seed=0)
