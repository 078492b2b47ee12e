"""nanoGPT's ckpt.pt becomes a run that computes its logits."""

import json

import pytest
import torch

from interp.importers import import_run
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.nano_gpt import ARGS, checkpoint, nano_logits, nano_state

TASK = ModularArithmetic(p=11)  # eleven numbers and "=", three positions

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*it was trained on", "ignore:.*left out, so losses", "ignore:.*which it never reads"
)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.filterwarnings("ignore:.*assumed. act_fn gelu")
def test_logits_are_those_of_its_code(imported, bias):
    run = imported(checkpoint(bias=bias), "ckpt.pt", task=TASK)
    snapshot = run.snapshot()
    expected = nano_logits(nano_state(500, bias=bias), snapshot.examples.tokens)[..., :11]
    torch.testing.assert_close(snapshot.logits(), expected, atol=1e-12, rtol=0)
    assert run.steps == (500,)


@pytest.mark.filterwarnings("ignore:.*assumed. act_fn gelu")
def test_embedding_and_unembedding_stay_one_matrix_where_classes_are_tokens(imported):
    task = ModularArithmetic(p=12, equals=False)
    run = imported(checkpoint(), "ckpt.pt", task=task)
    assert run.experiment.fields["model.tie_word_embeddings"]
    snapshot = run.snapshot()
    assert "unembed.W_U" not in run.parameters(500)
    expected = nano_logits(nano_state(500), snapshot.examples.tokens)
    torch.testing.assert_close(snapshot.logits(), expected, atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:.*assumed. act_fn gelu")
def test_a_padded_vocabulary_is_cut_to_the_tasks_and_said(imported):
    task = ModularArithmetic(p=9)
    with pytest.warns(UserWarning, match="have 12 tokens, the task 10: the last 2, which it never"):
        run = imported(checkpoint(), "ckpt.pt", task=task)
    snapshot = run.snapshot()
    expected = nano_logits(nano_state(500), snapshot.examples.tokens)[..., :9]
    torch.testing.assert_close(snapshot.logits(), expected, atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:.*assumed. act_fn gelu")
def test_a_folder_of_them_is_a_series(save, tmp_path):
    for step in (250, 1000):
        save(checkpoint(step), f"ckpt_{step}.pt")
    run = import_run(tmp_path / "given", tmp_path / "run", TASK)
    assert run.steps == (250, 1000)


def test_its_activation_is_assumed_unless_it_is_stated(imported):
    with pytest.warns(UserWarning, match="assumed: act_fn gelu$"):
        run = imported(checkpoint(), "ckpt.pt", task=TASK)
    about = json.loads((run.path / "imported.json").read_text())
    assert (about["layout"], about["options"]) == ("nanogpt", {})


@pytest.mark.filterwarnings("error:.*assumed")
def test_older_files_had_another_gelu(imported):
    run = imported(checkpoint(), "ckpt.pt", task=TASK, options={"act_fn": "gelu_new"})
    assert run.experiment.fields["model.act_fn"] == "gelu_new"


def state_without(name):
    return {key: value for key, value in nano_state().items() if key != name}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (
            checkpoint(model_args=ARGS | {"use_softermax": True}),
            "use_softermax is True in the conf",
        ),
        (
            checkpoint(model_args=ARGS | {"n_embd": 16}),
            "d_model: the config says 16, the parameter",
        ),
        (checkpoint(model_args=ARGS | {"n_head": 3}), "does not fit with head = 3"),
        (
            checkpoint(model_args=ARGS | {"bias": False}),
            "has unknown tensors transformer.h.0.",
        ),
        (checkpoint(bias=False, model_args=ARGS), "lacks transformer.h.0.attn.c_attn.bias"),
        (checkpoint(model=state_without("transformer.wpe.weight")), "lacks transformer.wpe.weight"),
        (
            checkpoint(model=state_without("transformer.h.1.mlp.c_fc.bias")),
            "lacks transformer.h.1.mlp.c_fc.bias",
        ),
        (
            checkpoint(model=nano_state() | {"lm_head.weight": torch.ones(12, 8)}),
            "embedding and unembedding hold different numbers",
        ),
        (checkpoint(model_args=[1]), "its config is a list, not a table"),
        (
            nano_state() | {"h": torch.ones(1)},
            "nothing says n_heads, which the shapes of layout nano",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_named(imported, tmp_path, content, named):
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as refused:
        imported(content, "ckpt_5.pt", task=ModularArithmetic(p=12, equals=False))
    assert named in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_bare_state_dict_asks_for_what_shapes_do_not_tell(imported):
    run = imported(nano_state(), "step_5.pt", task=TASK, options={"n_heads": 2, "act_fn": "gelu"})
    snapshot = run.snapshot()
    expected = nano_logits(nano_state(), snapshot.examples.tokens)[..., :11]
    torch.testing.assert_close(snapshot.logits(), expected, atol=1e-12, rtol=0)
