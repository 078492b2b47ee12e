"""Transformers that were made by hand, or by tracr, from an npz."""

import numpy as np
import pytest
import torch

from interp.importers import import_run
from interp.tasks.modular_arithmetic import ModularArithmetic

TASK = ModularArithmetic(p=5, equals=False)
HAND = {"attention_dir": "bidirectional", "act_fn": "relu"}
TRACR = {"attention_dir": "bidirectional", "n_heads": 2}

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*it was trained on", "ignore:.*nothing in the file says its step"
)


def adder(p: int = 5) -> dict[str, np.ndarray]:
    """Adds two numbers mod p: attention moves both to each place, neurons look their sum up.

    The stream holds a number as one-hot in its first p components. One head attends to both
    positions alike and writes their mean to the next p. Neuron (a, b) is above 0 only where both
    numbers are seen, and writes to the class a + b, in the last p.
    """
    d, eye = 3 * p, np.eye(p)
    pairs = [(a, b) for a in range(p) for b in range(p) if a <= b]
    W_in, b_in, W_out = np.zeros((d, len(pairs))), np.zeros(len(pairs)), np.zeros((len(pairs), d))
    for neuron, (a, b) in enumerate(pairs):
        W_in[[p + a], neuron] += 1
        W_in[[p + b], neuron] += 1
        b_in[neuron] = -1.5 if a == b else -0.75  # two of one number sum to 2, one of each to 1
        W_out[neuron, 2 * p + (a + b) % p] = 1
    return {
        "W_E": np.pad(eye, ((0, 0), (0, 2 * p))),
        "W_pos": np.zeros((2, d)),
        "0.W_Q": np.zeros((1, d, p)),
        "0.W_K": np.zeros((1, d, p)),
        "0.W_V": np.pad(eye, ((0, 2 * p), (0, 0)))[None],
        "0.W_O": np.pad(eye, ((0, 0), (p, p)))[None],
        "0.W_in": W_in,
        "0.b_in": b_in,
        "0.W_out": W_out,
        "W_U": np.pad(eye, ((2 * p, 0), (0, 0))),
    }


def test_a_transformer_made_by_hand_adds(imported):
    run = imported(adder(), "adder.npz", task=TASK, options=HAND)
    assert run.steps == (0,)
    snapshot = run.snapshot()
    answers = snapshot.logits()[:, -1]
    assert torch.equal(answers.argmax(-1), snapshot.examples.label("c"))
    assert answers.dtype == torch.float64


def test_a_layer_may_have_attention_or_neurons_alone(imported):
    parts = adder()
    for name in ("W_in", "b_in", "W_out"):
        parts[f"1.{name}"] = parts.pop(f"0.{name}")
    run = imported(parts, "adder.npz", task=TASK, options=HAND)
    assert run.experiment.model.n_layers == 2
    snapshot = run.snapshot()
    assert torch.equal(snapshot.logits()[:, -1].argmax(-1), snapshot.examples.label("c"))


def tracr_params(seed: int = 0, n_layers: int = 2) -> dict[str, np.ndarray]:
    """Arrays with the names and shapes that tracr gives them: five tokens, two positions."""
    d_model, heads, d_head, d_mlp = 6, 2, 3, 4
    shapes = {"token_embed:embeddings": (5, d_model), "pos_embed:embeddings": (2, d_model)}
    for layer in range(n_layers):
        place = f"transformer/layer_{layer}"
        for name, n_in, n_out in (
            ("attn/query", d_model, heads * d_head), ("attn/key", d_model, heads * d_head),
            ("attn/value", d_model, heads * d_head), ("attn/linear", heads * d_head, d_model),
            ("mlp/linear_1", d_model, d_mlp), ("mlp/linear_2", d_mlp, d_model),
        ):  # fmt: skip
            shapes |= {f"{place}/{name}:w": (n_in, n_out), f"{place}/{name}:b": (n_out,)}
    random = np.random.default_rng(seed)
    return {name: random.normal(scale=0.5, size=shape) for name, shape in shapes.items()} | {
        "W_U": random.normal(size=(d_model, 5))
    }


def tracr_logits(params: dict[str, np.ndarray], tokens: np.ndarray, *, causal: bool) -> np.ndarray:
    """What tracr's transformer computes: heads side by side, scores over sqrt(key size), ReLU."""

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ params[f"{name}:w"] + params[f"{name}:b"]

    x = params["token_embed:embeddings"][tokens] + params["pos_embed:embeddings"]
    for layer in range(2):
        place, written = f"transformer/layer_{layer}", []
        q, k, v = (dense(x, f"{place}/attn/{name}") for name in ("query", "key", "value"))
        for head in (slice(0, 3), slice(3, 6)):
            scores = q[:, head] @ k[:, head].T / np.sqrt(3)
            scores[np.triu_indices(2, 1)] = -np.inf if causal else scores[np.triu_indices(2, 1)]
            shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
            written.append(shares @ v[:, head])
        x = x + dense(np.concatenate(written, axis=1), f"{place}/attn/linear")
        x = x + dense(np.maximum(dense(x, f"{place}/mlp/linear_1"), 0), f"{place}/mlp/linear_2")
    return x @ params["W_U"]


@pytest.mark.parametrize("sign", [":", "/", "."])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_tracrs_params_compute_what_tracr_computes(imported, sign, direction):
    params = tracr_params()
    renamed = {name.replace(":", sign): value for name, value in params.items()}
    options = TRACR | {"attention_dir": direction}
    snapshot = imported(renamed, "model.npz", task=TASK, options=options).snapshot()
    tokens = snapshot.examples.tokens.numpy()
    causal = direction == "causal"
    expected = np.stack([tracr_logits(params, row, causal=causal) for row in tokens])
    np.testing.assert_allclose(snapshot.logits().numpy(), expected, atol=1e-12)


def test_tracrs_own_config_says_what_shapes_do_not(imported):
    config = {
        "num_heads": 2, "num_layers": 2, "key_size": 3, "mlp_hidden_size": 4, "dropout_rate": 0.0,
        "layer_norm": False, "causal": False,
    }  # fmt: skip
    run = imported(tracr_params(), "model.npz", task=TASK, options=config)
    assert run.experiment.fields["model.attention_dir"] == "bidirectional"


def without(name, arrays):
    return {key: value for key, value in arrays.items() if key != name}


def without_attention(arrays):
    names = ("0.W_Q", "0.W_K", "0.W_V", "0.W_O")
    return {key: value for key, value in arrays.items() if key not in names}


@pytest.mark.parametrize(
    ("arrays", "options", "named"),
    [
        (adder(), {"act_fn": "relu"}, "nothing says attention_dir, which the shapes of layout"),
        (adder(), {"attention_dir": "causal"}, "nothing says the MLP's activation function"),
        (without("W_U", adder()), HAND, "lacks W_U"),
        (without("W_pos", adder()), HAND, "lacks W_pos"),
        (without("0.W_V", adder()), HAND, "lacks 0.W_V"),
        (without("0.W_out", adder()), HAND, "lacks 0.W_out"),
        (adder() | {"0.W_X": np.ones(2)}, HAND, "has unknown tensors 0.W_X"),
        (adder() | {"3.W_in": np.ones(2)}, HAND, "its blocks are numbered 0, 3"),
        (adder() | {"0.W_Q": np.zeros((1, 15, 4))}, HAND, "W_O is [1, 5, 15], wanted is"),
        (adder(), HAND | {"normalization_type": "LN"}, "normalization_type is 'LN' in the config"),
        (without_attention(adder()), HAND, "no layer has W_Q, W_K, W_V and W_O"),
        (tracr_params(), {"attention_dir": "causal"}, "nothing says n_heads, which the shapes"),
        (tracr_params(), {"n_heads": 2}, "nothing says attention_dir"),
        (tracr_params(), TRACR | {"n_heads": 4}, "[6, 6], which '(head d_head) d_model ->"),
        (tracr_params(), TRACR | {"layer_norm": True}, "layer_norm is True in the config; tracr's"),
        (tracr_params(), TRACR | {"act_fn": "gelu"}, "act_fn is 'gelu' in the config; models"),
        (without("W_U", tracr_params()), TRACR, "lacks W_U [d_model, d_vocab_out], which is none"),
        (
            without("transformer/layer_1/attn/linear:b", tracr_params()),
            TRACR,
            "lacks transformer/layer_1/attn/linear/b",
        ),
        (tracr_params() | {"extra": np.ones(1)}, TRACR, "has unknown tensors extra"),
        ({"W_E": np.array([None])}, HAND, "an array of Python objects is a pickle"),
        ({"W_E": np.array(["text"])}, HAND, "holds an array that is no numbers"),
        ({"W_E": np.ones(2)}, HAND, "neither a HookedTransformer nor a model of another code"),
        ({}, HAND, "no state_dict under"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_does_not_fit_is_named(imported, tmp_path, arrays, options, named):
    with pytest.raises(ValueError, match=r"\A[^\n]*made\.npz[^\n]*\Z") as refused:
        imported(arrays, "made.npz", task=TASK, options=options)
    assert named in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and no more"])
def test_a_damaged_npz_is_one_line(tmp_path, content):
    (tmp_path / "made.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"\A[^\n]*made\.npz cannot be read as arrays[^\n]*\Z"):
        import_run(tmp_path / "made.npz", tmp_path / "run", TASK, HAND)


def test_scores_are_divided_as_the_config_says(imported):
    arrays = tracr_params()
    arrays = {name.replace(":", "/"): value for name, value in arrays.items()}
    run = imported(arrays, "model.npz", task=TASK, options=TRACR | {"attn_scale": 1.0})
    assert run.experiment.fields["model.attn_scale"] == 1.0
