"""Models in the layout of Zhong et al. 2023, planted here, and theirs where they are at hand."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from analyses import ClockPizza
from interp.importers import import_run
from interp.pages.recipe import recipe
from interp.runs.run import Run
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.foreign import progress_state

TASK = ModularArithmetic(p=8, equals=False)
CONFIG = {
    "name": "modadd_8", "funcs": "lambda x: (x[0]+x[1])%8", "C": 8, "n_heads": 2, "d_model": 6,
    "n_layers": 1, "attention_dir": "casual", "act_fn": "ReLU", "epoch": 300, "batch_size": 64,
    "lr": 0.001, "weight_decay": 2.0, "frac": 0.8, "attn_coeff": 0.25, "runid": "x1y2z3",
    "diff_vocab": False, "eqn_sign": False, "func": None,
}  # fmt: skip
SHARED = Path(__file__).parents[3].parent / "shared" / "models" / "pizza"
# What the authors' own code gives: irrelevance, circularity, symmetricity, loss.
PUBLISHED = {
    "p99zdpze5l": (0.17174, 0.99782, 0.99372, 1.384e-07),
    "2fsoiei4o2": (0.73526, 0.81192, 0.84731, 2.475e-05),
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*it was trained on", "ignore:.*nothing in the file says its step"
)


def pizza_state(n_layers: int = 1) -> dict[str, Tensor]:
    state = progress_state(n_layers=n_layers)
    masks = {f"blocks.{layer}.attn.mask": torch.ones(2, 2).tril() for layer in range(n_layers)}
    return state | masks | {"pos_embed.W_pos": state["pos_embed.W_pos"][:2].clone()}


def logits_by_hand(state: dict[str, Tensor], tokens: list[int], coeff: float) -> Tensor:
    """One head at a time: every position sees both, and shares are coeff softmax + 1 - coeff."""
    stream = [state["embed.W_E"][:, t] + state["pos_embed.W_pos"][i] for i, t in enumerate(tokens)]
    n_layers = sum(name.endswith("W_O") for name in state)
    for block in range(n_layers):
        part = {name.removeprefix(f"blocks.{block}."): value for name, value in state.items()}
        written = []
        for x in stream:
            heads = []
            for W_Q, W_K, W_V in zip(*(part[f"attn.W_{c}"] for c in "QKV"), strict=True):
                scores = [math.exp(float((W_Q @ x) @ (W_K @ y)) / math.sqrt(4)) for y in stream]
                shares = [coeff * score / sum(scores) + 1 - coeff for score in scores]
                heads.append(
                    sum(share * (W_V @ y) for share, y in zip(shares, stream, strict=True))
                )
            written.append(part["attn.W_O"] @ torch.cat(heads))
        stream = [x + out for x, out in zip(stream, written, strict=True)]
        stream = [
            x
            + part["mlp.W_out"] @ (part["mlp.W_in"] @ x + part["mlp.b_in"]).relu()
            + part["mlp.b_out"]
            for x in stream
        ]
    return torch.stack(stream) @ state["unembed.W_U"]


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("coeff", [0, 0.25, 1.0])
def test_logits_are_those_of_a_blended_pattern_that_hides_nothing(imported, coeff, n_layers):
    state = pizza_state(n_layers)
    options = CONFIG | {"attn_coeff": coeff, "n_layers": n_layers}
    snapshot = imported(state, "model_x1y2z3.pt", task=TASK, options=options).snapshot()
    tokens = snapshot.examples.tokens[:20]
    expected = torch.stack([logits_by_hand(state, row.tolist(), coeff) for row in tokens])
    torch.testing.assert_close(snapshot.logits()[:20], expected, atol=1e-12, rtol=0)


def test_a_file_beside_its_config_is_imported_from_the_command_line(save, tmp_path, command):
    task, source = tmp_path / "task.toml", save(pizza_state(), "model_x1y2z3.pt")
    task.write_text(TASK_FILE)
    config = save(CONFIG, "config_x1y2z3.json")
    out = tmp_path / "run"
    reply = command("import", source, "--config", config, "--task", task, "--out", out)
    assert reply["code"] == 0
    fields = Run(out).experiment.fields
    assert fields["model.pattern_coeff"] == 0.25
    assert fields["model.attention_dir"] == "bidirectional"
    assert Run(out).steps == (300,)  # its config's epoch


TASK_FILE = 'name = "modular_arithmetic"\np = 8\nequals = false\n'


def test_what_was_imported_can_be_imported_again(imported, tmp_path):
    run = imported(pizza_state(), "model_x1y2z3.pt", task=TASK, options=CONFIG)
    *config, line, _, _ = recipe(run).commands.splitlines()
    assert "--step 300" in line
    written = json.loads(config[0].removeprefix("echo '").partition("'")[0])
    again = import_run(
        tmp_path / "given" / "model_x1y2z3.pt",
        tmp_path / "2",
        TASK,
        written | {"act_fn": "relu"},
        step=300,
    )
    assert again.checkpoint_hash(300) == run.checkpoint_hash(300)
    assert again.experiment.model == run.experiment.model


def without(name):
    return {key: value for key, value in CONFIG.items() if key != name}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"act_fn": "relu"}, "which step is it of?"),
        (without("attn_coeff"), "nothing says attn_coeff, by which models of Zhong et al."),
        ({"attention_dir": "casual", "epoch": 5}, "nothing says attn_coeff"),
        ({"attn_coeff": 0.5, "epoch": 5}, "nothing says the MLP's activation function"),
        (without("act_fn"), "nothing says the MLP's activation function: give --act-fn relu"),
        (CONFIG | {"attn_coeff": 63}, "attn_coeff is 63 in the config; a share from 0"),
        (CONFIG | {"attn_coeff": -0.1}, "attn_coeff is -0.1 in the config; a share from 0"),
        (CONFIG | {"attn_coeff": "0.25"}, "attn_coeff is '0.25' in the config; a share from 0"),
        (CONFIG | {"attn_coeff": True}, "attn_coeff is True in the config; a share from 0"),
        (CONFIG | {"pattern_coeff": 0.5}, "pattern_coeff is 0.5 and attn_coeff 0.25"),
        (
            CONFIG | {"attention_dir": "causal"},
            "attention_dir is 'causal' in the config; models of",
        ),
        (CONFIG | {"normalization_type": "LN"}, "normalization_type is 'LN' in the config; models"),
        (CONFIG | {"diff_vocab": True}, "diff_vocab is True in the config; models with tokens of"),
        (CONFIG | {"eqn_sign": 1}, 'eqn_sign is 1 in the config; models with "=" after'),
        (CONFIG | {"C": 9}, "d_vocab: the config says 9, the parameters' shapes say 8"),
        (CONFIG | {"n_layers": 2}, "n_layers: the config says 2, the parameters' shapes say 1"),
        (CONFIG | {"act_fn": "swish"}, "act_fn is 'swish': Input should be"),
        (CONFIG | {"softcap": 2}, "softcap is 2 in the config; this option is unknown here"),
        (CONFIG | {"epoch": None}, "which step is it of? give --step, or rename it"),
    ],
    ids=str,
)
def test_a_wrong_or_missing_option_is_refused_by_name(imported, tmp_path, options, named):
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as refused:
        imported(pizza_state(), "model_x.pt", task=TASK, options=options)
    assert named in str(refused.value)
    assert {path.name for path in tmp_path.iterdir()} == {"given"}


def test_two_positions_of_which_nothing_is_said_are_asked_for_attn_coeff(imported):
    with pytest.raises(ValueError, match=r"nothing says attn_coeff.* two positions"):
        imported(pizza_state(), "model_x.pt", task=TASK, options={"act_fn": "relu"}, step=300)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the released models are not at hand")
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_released_models_have_the_published_figures(name, tmp_path):
    irrelevance, circularity, symmetricity, loss = PUBLISHED[name]
    config = json.loads((SHARED / f"config_{name}.json").read_text())
    task = ModularArithmetic(p=59, equals=False)
    run = import_run(SHARED / f"model_{name}.pt", tmp_path / "run", task, config)
    snapshot = run.snapshot()
    scores = ClockPizza.measure(snapshot).scores
    assert scores["distance_irrelevance"] == pytest.approx(irrelevance, abs=5e-5)
    assert scores["circularity"] == pytest.approx(circularity, abs=5e-5)
    assert scores["gradient_symmetricity"] == pytest.approx(symmetricity, abs=0.02)
    assert task.score(snapshot) == {"loss": pytest.approx(loss, rel=1e-3), "accuracy": 1.0}
