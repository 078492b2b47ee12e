"""Two tiny models and what the published code makes of twelve sentences with them.

`data/tree_projection.json` holds outputs of the code of Murty et al. 2023 at commit 9b892f6, run on
models whose weights are drawn from NumPy by rules that stand with them.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.trees.brackets import from_brackets, tree_of
from hooks import Examples, Sizes, Snapshot, build
from hooks.models import HookedModel, PostNormConfig, TokenConfig, parameters_of

FILE = Path(__file__).parent / "data" / "tree_projection.json"
SIZES = Sizes(d_vocab=71, d_vocab_out=71, n_ctx=64)
LETTERS = {"linear1": "in", "linear2": "out"}


@cache
def oracle() -> dict[str, Any]:
    return json.loads(FILE.read_text())


def post_norm_tiny() -> HookedModel:
    """Every matrix k, in order, is normal from seed 1000 + k, over the root of its columns."""
    matrices = 0
    theirs: dict[str, Tensor] = {}
    for spec in oracle()["post_norm_tiny"]["param_spec"]:
        name, shape = spec["name"], spec["shape"]
        if len(shape) == 2:
            drawn = np.random.RandomState(1000 + matrices).standard_normal(shape)  # theirs
            theirs[name] = torch.from_numpy(drawn / math.sqrt(shape[1]))
            matrices += 1
        else:
            theirs[name] = torch.full(shape, float(spec["init"] == "ones"), dtype=torch.float64)
        assert abs(theirs[name].abs().sum() - spec["abs_sum"]) < 1e-3
    model = build(PostNormConfig(n_layers=2, d_model=32, n_heads=4), SIZES, seed=0)
    return holding(model, _renamed(theirs))


def _renamed(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their parameters under TransformerLens' names and in its shapes."""
    ours = {
        "embed.W_E": theirs["input_embedding.weight"],
        "unembed.W_U": theirs["output_map.weight"].T,
        "unembed.b_U": theirs["output_map.bias"],
    }
    for layer in range(2):
        own, name = f"trafo.encoder.layers.{layer}", f"blocks.{layer}"
        keys, values = theirs[f"{own}.self_attn.data_to_kv.weight"].reshape(4, 2, 8, 32).unbind(1)
        queries = theirs[f"{own}.self_attn.data_to_q.weight"].reshape(4, 8, 32)
        merged = theirs[f"{own}.self_attn.multi_head_merge.weight"].T.reshape(4, 8, 32)
        ours |= {f"{name}.attn.W_{letter}": each.mT for letter, each in
                 zip("QKV", (queries, keys, values), strict=True)}  # fmt: skip
        ours[f"{name}.attn.W_O"] = merged
        for linear, letter in LETTERS.items():
            ours[f"{name}.mlp.W_{letter}"] = theirs[f"{own}.{linear}.weight"].T
            ours[f"{name}.mlp.b_{letter}"] = theirs[f"{own}.{linear}.bias"]
        for norm in (1, 2):
            ours[f"{name}.ln{norm}.w"] = theirs[f"{own}.norm{norm}.weight"]
            ours[f"{name}.ln{norm}.b"] = theirs[f"{own}.norm{norm}.bias"]
    return ours


def hooked_transformer_tiny() -> HookedModel:
    """Each parameter, by name, as its entry says: normal from a seed times a scale, or constant."""
    weights = {}
    for spec in oracle()["hooked_transformer_tiny"]["param_spec"]:
        how, shape = spec["init"], spec["shape"]
        if isinstance(how, dict):
            drawn = np.random.RandomState(how["seed"]).standard_normal(shape)  # theirs
            weights[spec["name"]] = torch.from_numpy(drawn * how["scale"])
        else:
            weights[spec["name"]] = torch.full(shape, float(how == "ones"))
        assert abs(weights[spec["name"]].abs().sum() - spec["abs_sum"]) < 1e-3
    config = TokenConfig(n_layers=2, d_model=32, n_heads=4, normalization_type="LN")
    return holding(build(config, SIZES, seed=0), weights)


def holding(model: HookedModel, weights: dict[str, Tensor]) -> HookedModel:
    parameters = parameters_of(model)
    assert parameters.keys() == weights.keys()
    for name, parameter in parameters.items():
        parameter.copy_(weights[name])
    return model


MODELS = {
    "post_norm_tiny": post_norm_tiny,
    "hooked_transformer_tiny": hooked_transformer_tiny,
}


def sentences(name: str) -> list[dict[str, Any]]:
    """What is known of each sentence with a model."""
    return oracle()[name]["sentences"]


def snapshot(name: str) -> Snapshot:
    """A model and the sentences, each followed by other words."""
    rows = [each["token_ids"] for each in sentences(name)]
    width = max(map(len, rows)) + 3
    tokens = torch.tensor([row + [1 + at for at in range(width - len(row))] for row in rows])
    golds = [brackets(each["gold_parse"]) for each in sentences("post_norm_tiny")]
    trees = tuple(
        tree_of([(start + 1, stop + 1) for start, stop in spans], 1, spans[0][1] + 1)
        for spans in golds
    )
    nothing = torch.zeros_like(tokens)
    words = tuple((*_texts(row, width),) for row in rows)
    return Snapshot.of(
        MODELS[name](), Examples(nothing, nothing.bool(), tokens, trees=trees, words=words)
    )


def _texts(row: list[int], width: int) -> list[str]:
    vocabulary = [*oracle()["vocab"], "<eos>", "<sos>"]
    return [vocabulary[token] for token in row] + ["."] * (width - len(row))


def brackets(parse: Any) -> list[tuple[int, int]]:
    """The spans of nested pairs of words."""
    return from_brackets(_text(parse))[0]


def _text(parse: Any) -> str:
    return parse if isinstance(parse, str) else f"({_text(parse[0])} {_text(parse[1])})"
