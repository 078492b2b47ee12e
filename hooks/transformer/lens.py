"""To TransformerLens and back: the one file that imports it, and only when asked.

3.9 is the last version with a HookedTransformer; 4 has TransformerBridges. Their ActivationCache
and patching functions take our models as they are; what asks for a model of theirs gets one from
`to_transformer_lens`.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from hooks.transformer.config import HookedTransformerConfig
from hooks.transformer.model import HookedTransformer
from hooks.transformer.options import KNOWN, check_computed, shape_of, shape_of_options

# Random tokens on which two models are compared when one was made of the other.
ROWS_COMPARED = 4
POSITIONS_COMPARED = 32
THEIRS = frozenset(
    """
    n_layers d_model n_ctx d_head n_heads d_mlp act_fn d_vocab d_vocab_out eps
    normalization_type attention_dir attn_only rotary_dim rotary_base rotary_adjacent_pairs
    parallel_attn_mlp gated_mlp n_key_value_heads dtype device use_attn_result
    use_split_qkv_input use_attn_in use_hook_mlp_in model_name
    """.split()  # noqa: SIM905  # as a list, a line each
)
BRIDGE_ENDS = {
    "embed.weight": "embed.W_E",
    "pos_embed.weight": "pos_embed.W_pos",
    "ln_final.weight": "ln_final.w",
    "ln_final.bias": "ln_final.b",
    "unembed.weight": "unembed.W_U",
    "unembed.bias": "unembed.b_U",
}


def to_transformer_lens(model: HookedTransformer) -> Any:
    """A model of TransformerLens with the same weights: 3.9's HookedTransformer, 4's bridge.

    Sinusoids become learned positions of the same values, no positions zeros; scaled embeddings are
    multiplied out, absent biases zeros, a tied W_U is copied. Dropout is left out.

    Raises:
        ValueError: TransformerLens does not compute this model: it is post-norm, reads real
            inputs, or blends its pattern with a constant.
    """
    _check_ours(model)
    cfg = model.cfg
    for name, value in {"norm_position": "pre", "d_in": None, "pattern_coeff": 1.0}.items():
        if getattr(cfg, name) != value:
            raise ValueError(
                f"{name} is {getattr(cfg, name)!r}, and TransformerLens computes {value!r} only"
            )
    options = {name: getattr(cfg, name) for name in THEIRS}
    kind = cfg.positional_embedding_type
    options["positional_embedding_type"] = kind if kind in ("rotary", "shortformer") else "standard"
    options["attn_scale"] = cfg.attn_scale or cfg.d_head**0.5
    parameters = _their_parameters(model)
    try:
        from transformer_lens import HookedTransformer as Theirs
        from transformer_lens import HookedTransformerConfig as TheirConfig
    except ImportError:  # of TransformerLens 4
        theirs = _bridge(options, parameters)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.9 announces its removal
            theirs = Theirs(TheirConfig(**options, init_weights=False))
        theirs.load_state_dict(parameters, strict=False)
    return _compared(theirs.eval(), model)


def from_transformer_lens(theirs: Any) -> HookedTransformer:
    """Our model with the weights of a HookedTransformer (3.9) or of a native TransformerBridge.

    Raises:
        ValueError: It computes what is not computed here, or `boot_native` did not make the bridge.
    """
    if not hasattr(theirs, "cfg"):
        raise TypeError(
            "a HookedTransformer or TransformerBridge is wanted, got " + type(theirs).__name__
        )
    if type(theirs).__name__ == "TransformerBridge":
        # Its config has many options of other architectures; logits are compared below.
        stated = {name: value for name, value in vars(theirs.cfg).items() if name in KNOWN}
        check_computed(stated)
        cfg = shape_of_options(stated)
        parameters = _of_bridge(theirs.state_dict(), cfg)
    else:
        cfg = shape_of(theirs.cfg)
        parameters = {name: value.detach() for name, value in theirs.named_parameters()}
    model = HookedTransformer(cfg.model_copy(update={"init_weights": False}))
    ours = {name for name, _ in model.named_parameters()}
    strange = sorted(ours ^ parameters.keys())
    if strange:
        there = "missing" if strange[0] in ours else "there and not wanted"
        raise ValueError(
            f"parameter {strange[0]} is {there}: this is neither a HookedTransformer nor a bridge "
            "that boot_native made"
        )
    model.load_state_dict(parameters)
    model.train(theirs.training)
    return _compared(model, theirs)


def activation_cache(activations: Mapping[str, Tensor], model: HookedTransformer) -> Any:
    """TransformerLens' ActivationCache of activations by hook name.

    Raises:
        ValueError: The model normalises its stream after each addition: most of what that class
            does takes the stream for a sum of what parts write.
    """
    _check_ours(model)
    if model.cfg.norm_position == "post":
        raise ValueError(
            "this model normalises the residual stream after each addition, so that it is no sum "
            "of what parts write, which an ActivationCache takes it for: read the activations by "
            "name"
        )
    from transformer_lens import ActivationCache

    return ActivationCache(dict(activations), model)  # pyright: ignore[reportArgumentType]  # has what it asks for


def _check_ours(model: Any) -> None:
    if not isinstance(model, HookedTransformer):
        raise TypeError(
            f"a hooks.HookedTransformer is wanted, got {type(model).__name__}: networks with one "
            "hidden layer have nothing that TransformerLens' tools look for"
        )


def _their_parameters(model: HookedTransformer) -> dict[str, Tensor]:
    """Parameters as TransformerLens would name and lay them out."""
    cfg, parameters = model.cfg, dict(model.state_dict())
    if cfg.scale_embeddings:
        parameters["embed.W_E"] = parameters["embed.W_E"] * model.embed.scale
    if cfg.tie_word_embeddings:
        parameters["unembed.W_U"] = model.W_U.detach()
    if cfg.positional_embedding_type == "sinusoidal":
        parameters["pos_embed.W_pos"] = model.W_pos
    if cfg.positional_embedding_type == "none":
        parameters["pos_embed.W_pos"] = torch.zeros(cfg.n_ctx, cfg.d_model, dtype=cfg.dtype)
    if not cfg.attention_biases:
        biases = {name: value for name, value in model.named_buffers() if ".attn." in name}
        parameters |= {
            name: value for name, value in biases.items() if ".b_" in name or "._b" in name
        }
    return parameters


def _bridge(options: Mapping[str, Any], parameters: Mapping[str, Tensor]) -> Any:
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.utilities.tl_checkpoint_conversion import (  # pyright: ignore[reportMissingImports]  # from 4.0 on
        convert_tl_checkpoint,
    )

    cfg = TransformerBridgeConfig(**options)
    bridge = TransformerBridge.boot_native(cfg).to(options["dtype"])
    try:
        bridge.load_state_dict(convert_tl_checkpoint(dict(parameters), cfg), strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"a native TransformerBridge has other parameters: {' '.join(str(error).split())}"
        ) from None
    return bridge


def _of_bridge(states: Mapping[str, Tensor], cfg: HookedTransformerConfig) -> dict[str, Tensor]:
    """A native bridge's parameters by HookedTransformer's names.

    Its layers are torch's linear layers: matrices are transposed, and heads lie side by side.
    """
    parameters = dict(_renamed(name, value, cfg) for name, value in states.items())
    if cfg.gated_mlp:  # whose biases a bridge does without
        for layer in range(cfg.n_layers):
            for name, size in {"b_in": cfg.d_mlp, "b_out": cfg.d_model}.items():
                zeros = torch.zeros(size or 0, dtype=cfg.dtype)
                parameters.setdefault(f"blocks.{layer}.mlp.{name}", zeros)
    return {name: value.contiguous() for name, value in parameters.items()}


def _renamed(name: str, value: Tensor, cfg: HookedTransformerConfig) -> tuple[str, Tensor]:
    """A native bridge's parameter as HookedTransformer has it; unknown ones stay as they are."""
    *path, part, kind = name.split(".")
    is_matrix = kind == "weight"
    if name in BRIDGE_ENDS:
        return BRIDGE_ENDS[name], value.T if name == "unembed.weight" else value
    if path[-1:] == ["attn"]:
        prefix = "_" if part in "kv" and cfg.n_key_value_heads is not None else ""
        axes = "(head h) d -> head d h" if part in "qkv" else "d (head h) -> head h d"
        if is_matrix:
            value = rearrange(value, axes, h=cfg.d_head)
        elif part in "qkv":
            value = rearrange(value, "(head h) -> head h", h=cfg.d_head)
        return f"{'.'.join(path)}.{prefix}{'W' if is_matrix else 'b'}_{part.upper()}", value
    if path[-1:] == ["mlp"]:
        letter = "W" if is_matrix else "b"
        return f"{'.'.join(path)}.{letter}_{part}", value.T if is_matrix else value
    return f"{'.'.join([*path, part])}.{'w' if is_matrix else 'b'}", value


@torch.no_grad()
def _compared(made: Any, given: Any) -> Any:
    """The model that was made, once its logits are known to be the given one's.

    Raises:
        ValueError: They differ on random tokens.
    """
    cfg = given.cfg
    generator = torch.Generator().manual_seed(0)
    shape = (ROWS_COMPARED, min(cfg.n_ctx, POSITIONS_COMPARED))
    tokens = torch.randint(cfg.d_vocab, shape, generator=generator)
    modes = given.training, made.training
    given.train(False)
    made.train(False)
    logits, expected = made(tokens), given(tokens)
    given.train(modes[0])
    made.train(modes[1])
    largest = float((logits - expected).abs().max())
    if not largest <= 1e-3 * max(1.0, float(expected.abs().max())):
        raise ValueError(
            f"the converted model's logits differ from the given one's by up to {largest:.3g}: "
            "an option of the model is not known here"
        )
    return made
