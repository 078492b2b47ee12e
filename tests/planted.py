"""Models and tensors whose answer is known."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks import Examples, Facts, ModularFacts, Sizes, build
from hooks.models import HookedModel, MLPConfig, ReadInConfig, TokenConfig
from interp.config.experiment import Experiment
from interp.tasks import TASKS, Task

SUMS = Path(__file__).parent / "data" / "sums.jsonl"  # a + b mod 7, all pairs
SIZES = Sizes(d_vocab=8, d_vocab_out=7, n_ctx=3)


def tiny_config(**options: Any) -> TokenConfig:
    return TokenConfig.model_validate({"d_model": 8, "n_heads": 2, "d_mlp": 16} | options)


def config_for(sizes: Sizes) -> TokenConfig | MLPConfig:
    """A tiny model that fits a task: a transformer, or an MLP on real inputs at one position."""
    if sizes.d_vocab is not None:
        return tiny_config()
    if sizes.n_ctx > 1:
        return ReadInConfig(d_model=8, n_heads=2)
    return MLPConfig(d_model=8, d_mlp=16)


def random_model(
    sizes: Sizes = SIZES,
    *,
    seed: int = 0,
    dtype: Literal["float32", "float64"] = "float64",
    **options: Any,
) -> HookedModel:
    """A tiny model, all of whose parameters are random: biases and layer norms too."""
    model = build(tiny_config(**options), sizes, seed=seed, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    model.train(False)  # as snapshots run it
    return model


def uniform_attention_model(sizes: Sizes = SIZES, **options: Any) -> HookedModel:
    """A model without queries: every head attends alike to every key it sees."""
    model = random_model(sizes, **options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("W_Q", "b_Q")):
                parameter.zero_()
    return model


def tokens_as_examples(tokens: Int[Tensor, "batch pos"], p: int = 7) -> Examples:
    """Examples made by hand: the answer, at the last position, is the sum of the others mod p."""
    targets, scored = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
    targets[:, -1], scored[:, -1] = tokens[:, :-1].sum(1) % p, True
    return Examples(
        targets=targets,
        scored=scored,
        tokens=tokens,
        labels={"a": tokens[:, 0], "b": tokens[:, 1]},
        facts=Facts(chance=1 / p, groups=(ModularFacts(p=p, operation="add"),)),
    )


def task_of(name: str, **fields: Any) -> Task:
    """A task with its defaults; the one that has none for its file reads `SUMS`."""
    given = {"file": str(SUMS)} if name == "examples" else {}
    return TASKS[name].model_validate({"name": name} | given | fields)


def tiny_experiment(**training: Any) -> Experiment:
    """a + b mod 7, trained for 40 updates."""
    table = {
        "steps": 40,
        "lr": 1e-2,
        "betas": (0.9, 0.98),  # not torch's own
        "weight_decay": 0.1,
        "warmup_steps": 4,
        "frozen": ("*.b_*",),
        "evaluate": {"every": 5},
        "checkpoints": {"every": 10},
    }
    return Experiment.model_validate(
        {
            "name": "tiny",
            "task": {"name": "modular_arithmetic", "p": 7, "train_fraction": 0.5},
            "model": tiny_config().model_dump(exclude_none=True),
            "training": table | training,
        }
    )


def tiny_prompts(**task: Any) -> Experiment:
    """Linear functions of three numbers in context, trained for 4 updates."""
    return Experiment.model_validate(
        {
            "name": "tiny-prompts",
            "task": {"name": "function_classes", "d": 3, "pairs": 8, "test_prompts": 64} | task,
            "model": {"kind": "read_in", "d_model": 8, "n_heads": 2},
            "training": {
                "steps": 4, "batch_size": 8, "chunk": 2,
                "evaluate": {"every": 2}, "checkpoints": {"every": 2},
            },
        }
    )  # fmt: skip


def tiny_factors() -> Experiment:
    """Labels of images of two factors in context, trained for 4 updates."""
    task = {"name": "factor_labels", "factors": {"hue": 3, "shape": 2}, "pairs": 4, "d": 6}
    options = {"held_out": 0.0, "repeats": True, "test_prompts": 64}
    return Experiment.model_validate(
        tiny_prompts().model_dump(exclude={"task"})
        | {"name": "tiny-factors", "task": task | options}
    )


def tiny_sentences(**model: Any) -> Experiment:
    """Questions from sentences of few words, trained for 4 updates."""
    counts = {"train_lines": 64, "validation_lines": 24, "generalization_lines": 24}
    return Experiment.model_validate(
        {
            "name": "tiny-sentences",
            "task": {"name": "question_formation"} | counts,
            "model": {"kind": "post_norm", "n_layers": 2, "d_model": 8, "n_heads": 2} | model,
            "training": {
                "steps": 4, "batch_size": 8,
                "evaluate": {"every": 2}, "checkpoints": {"every": 2},
            },
        }
    )  # fmt: skip


def tiny_parity(**training: Any) -> Experiment:
    """Parity of 2 of 6 bits by eight neurons, trained for 40 updates."""
    network = {"d_mlp": 8, "collapsed_in": True, "collapsed_out": True, "one_logit": True}
    return Experiment.model_validate(
        {
            "name": "tiny-parity",
            "task": {"name": "bit_parity", "n": 6, "k": 2, "train_sequences": 32,
                     "test_sequences": 16},
            "model": {"kind": "mlp"} | network,
            "training": {
                "steps": 40, "lr": 3e-2, "l1": 1e-3, "optimizer": "adam",
                "evaluate": {"every": 10}, "checkpoints": {"every": 10},
            } | training,
        }
    )  # fmt: skip


def tiny_repeats(**model: Any) -> Experiment:
    """Repeated tokens, two attention layers trained for 4 updates."""
    task = {"d_vocab": 8, "length": 12, "max_block": 4, "test_sequences": 40}
    options = {"n_layers": 2, "attn_only": True, "normalization_type": "LN"}
    return Experiment.model_validate(
        {
            "name": "tiny-repeats",
            "task": {"name": "repeated_tokens"} | task,
            "model": {"d_model": 8, "n_heads": 2} | options | model,
            "training": {
                "steps": 4, "batch_size": 8, "chunk": 2,
                "evaluate": {"every": 2}, "checkpoints": {"every": 2},
            },
        }
    )  # fmt: skip


def induction_model(d_vocab: int = 64, length: int = 16, strength: float = 1e5) -> HookedModel:
    """Two attention layers that continue what is repeated, written by hand, in float64.

    The stream has a place for each token, for each position, for each previous token and for each
    answer. Head 0.0 attends to the previous position and writes its token as the previous token;
    head 1.0 looks for the query's token among previous tokens and writes the token it finds as the
    answer, which W_U reads. Heads 0.1 and 1.1 are 0. Attention weights are 0 and 1 exactly, since
    scores differ by so much that exp gives 0.

    Position 0, which has no previous token and stores its own, is hidden from head 1.0 by a bias.
    """
    model = build(
        tiny_config(
            n_layers=2,
            d_model=3 * d_vocab + length,
            d_head=d_vocab + 1,
            attn_only=True,
            attn_scale=1.0,
        ),
        Sizes(d_vocab=d_vocab, d_vocab_out=d_vocab, n_ctx=length),
        seed=0,
        dtype="float64",
    )
    parameters = dict(model.named_parameters())
    tokens, places = torch.arange(d_vocab), torch.arange(length)
    at, previous, answer = (
        d_vocab + places,
        d_vocab + length + tokens,
        2 * d_vocab + length + tokens,
    )
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.zero_()
        parameters["embed.W_E"][tokens, tokens] = 1
        parameters["pos_embed.W_pos"][places, at] = 1
        first, second = (
            {
                name: parameters[f"blocks.{layer}.attn.{name}"][0]
                for name in ("W_Q", "W_K", "W_V", "W_O")
            }
            for layer in (0, 1)
        )
        first["W_Q"][at[1:], places[:-1]] = strength
        first["W_K"][at, places] = 1
        first["W_V"][tokens, tokens] = 1
        first["W_O"][tokens, previous] = 1
        second["W_Q"][tokens, tokens] = strength
        second["W_K"][previous, tokens] = 1
        second["W_V"][tokens, tokens] = 1
        second["W_O"][tokens, answer] = 1
        parameters["blocks.1.attn.b_Q"][0, d_vocab] = strength
        second["W_K"][at[0], d_vocab] = -2
        parameters["unembed.W_U"][answer, tokens] = 10
    model.train(False)
    return model


def unambiguous(examples: Examples) -> Int[Tensor, " row"]:
    """Rows of repeated tokens in which every query's token stood before exactly once."""
    tokens = examples.model_inputs
    is_same = (tokens[:, :, None] == tokens[:, None]).tril(-1)  # [row, query, earlier]
    return (~examples.scored | (is_same.sum(2) == 1)).all(1).nonzero()[:, 0]


def waves(n: int, amplitudes: dict[int, float]) -> Float[Tensor, "n n n"]:
    """Logits that are sums of cos 2 pi f (a + b - c) / n with given amplitudes."""
    a, b, c = torch.meshgrid(*(torch.arange(n).double(),) * 3, indexing="ij")
    parts = (
        amplitude * torch.cos(2 * math.pi * frequency * (a + b - c) / n)
        for frequency, amplitude in amplitudes.items()
    )
    return sum(parts, torch.zeros(n, n, n, dtype=torch.float64))


def circle_embedding(n: int, frequencies: Sequence[int]) -> Float[Tensor, "n d"]:
    """Two columns a frequency: its cosine and its sine over the residues."""
    angles = 2 * math.pi * torch.arange(n).double()[:, None] * torch.tensor(frequencies) / n
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def blank_model(sizes: Sizes, **options: Any) -> HookedModel:
    """A model in float64 whose parameters are all 0, to be written by hand."""
    config = TokenConfig.model_validate({"normalization_type": None} | options)
    model = build(config, sizes, seed=0, dtype="float64")
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            parameter.zero_()
    model.train(False)
    return model


def linear_network(sizes: Sizes = SIZES, **options: Any) -> HookedModel:
    """Random weights without a nonlinearity: attention is uniform, and no ReLU is ever off."""
    model = uniform_attention_model(sizes, **{"n_layers": 2, "normalization_type": None} | options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("b_in"):
                parameter.fill_(50.0)
    return model


def saturating_model(n_heads: int) -> HookedModel:
    """Tokens [bit, 2]; the answer is the bit, min(1, x), where x is 2 for a bit of 1.

    The heads share the work of writing x, 2 / n_heads each: of two heads either suffices (an OR).
    What reads x is flat at 2, so that the gradient there is 0.
    """
    sizes = Sizes(d_vocab=3, d_vocab_out=2, n_ctx=2)
    model: Any = blank_model(sizes, d_model=3, n_heads=n_heads, d_head=1, d_mlp=2)
    BIT, X, ANSWER = range(3)
    attn, mlp = model.blocks[0].attn, model.blocks[0].mlp
    with torch.no_grad():
        model.embed.W_E[1, BIT] = 1
        attn.W_V[:, BIT, 0] = 1
        attn.W_O[:, 0, X] = 4 / n_heads  # attention is uniform over two positions
        mlp.W_in[X], mlp.b_in[1] = 1, -1
        mlp.W_out[0, ANSWER], mlp.W_out[1, ANSWER] = 1, -1  # relu(x) - relu(x - 1)
        model.unembed.W_U[ANSWER, 1] = 1
    return model


def marked_token_model(sharpness: float = 50.0) -> HookedModel:
    """Tokens [first, second, 4]; the answer is the value of the one of both that is marked.

    Token v + 2 has value v and a mark, token v only its value. Attention is saturated: a marked key
    scores `sharpness`, all others 0.
    """
    sizes = Sizes(d_vocab=5, d_vocab_out=2, n_ctx=3)
    model: Any = blank_model(sizes, d_model=4, n_heads=1, d_head=4, attn_only=True, attn_scale=1.0)
    MARK, ASKING = 2, 3
    attn = model.blocks[0].attn
    with torch.no_grad():
        for token in range(4):
            model.embed.W_E[token, token % 2] = 1
            model.embed.W_E[token, MARK] = token // 2
        model.embed.W_E[4, ASKING] = 1
        attn.W_Q[0, ASKING, 0], attn.W_K[0, MARK, 0] = sharpness, 1
        for value in range(2):
            attn.W_V[0, value, value] = attn.W_O[0, value, value] = 1
            model.unembed.W_U[value, value] = 1
    return model


def share_of_previous_model(n_tokens: int = 4, n_ctx: int = 5) -> HookedModel:
    """Which share of the tokens so far is token 0: a number at each position.

    Neurons of the first layer tell token 0, the head of the second averages over what came before;
    the first layer's head and the second's neurons are 0.

    Source:
        The program frac_prevs of Lindner et al. 2023 (arXiv:2301.05062), compiled by hand.
    """
    sizes = Sizes(d_vocab=n_tokens, d_vocab_out=1, n_ctx=n_ctx)
    shape = {"n_layers": 2, "d_model": n_tokens + 2, "n_heads": 1, "d_head": 1, "d_mlp": 1}
    model: Any = blank_model(sizes, **shape)
    IS_ZERO, SHARE = n_tokens, n_tokens + 1
    with torch.no_grad():
        for token in range(n_tokens):
            model.embed.W_E[token, token] = 1
        model.blocks[0].mlp.W_in[0, 0] = model.blocks[0].mlp.W_out[0, IS_ZERO] = 1
        model.blocks[1].attn.W_V[0, IS_ZERO, 0] = model.blocks[1].attn.W_O[0, 0, SHARE] = 1
        model.unembed.W_U[SHARE, 0] = 1
    return model
