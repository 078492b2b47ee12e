"""The config of an imported model, from the shapes of its parameters and from stated options.

Shapes determine sizes. What they cannot tell (activation function, layer norm without parameters)
is stated by the archive's config or by the user, and is asked for by name where neither states it.
Stated options must agree with the shapes, and must not ask for what the token model does not
compute.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from hooks import ModelConfig, Sizes
from hooks.models.token import OTHER_KINDS, TokenConfig, token_config
from hooks.transformer.options import check_computed, shape_of_options
from interp.config.experiment import readable
from interp.importers.layouts import Layout, Options
from interp.importers.layouts.base import n_blocks
from interp.importers.reading import read_table

SYNONYMS = {"num_layers": "n_layers", "num_heads": "n_heads", "act_type": "act_fn"}
# What shapes cannot tell: the options that a user may be asked for.
ASKED_OPTIONS = ("act_fn", "normalization_type", "positional_embedding_type", "attention_dir")
# Further ones that a user may state, for some layouts.
FURTHER_OPTIONS = (
    "n_heads",
    "attn_coeff",
    "attn_scale",
    "use_attn_scale",
    "pattern_coeff",
    "eps",
    "rotary_base",
    "rotary_dim",
    "rotary_adjacent_pairs",
    "tie_word_embeddings",
)
# Options of an import that have a flag; the others stand in a config file.
FLAGS = {"act_fn": "--act-fn", "normalization_type": "--normalization-type"}
# Those that say nothing about models without norms, or without rotary positions.
NORM_OPTIONS = ("eps",)
MIN_ROTARY_DIM = 2  # components of a head
ROTARY_OPTIONS = ("rotary_base", "rotary_adjacent_pairs", "rotary_dim")
DEFAULT_VALUES = (None, -1)  # with which HookedTransformerConfig leaves an option to its default

LAYOUT_OPTIONS = frozenset({"biases"})  # what a config says of the tensors alone

# Options that authors keep beside those of the model, and that say nothing about the model.
OTHER_OPTIONS = frozenset(
    {
        "lr",
        "learning_rate",
        "weight_decay",
        "betas",
        "beta1",
        "beta2",
        "optimizer",
        "momentum",
        "warmup_steps",
        "batch_size",
        "batch_style",
        "n_batches",
        "num_epochs",
        "n_epochs",
        "epochs",
        "steps",
        "n_steps",
        "stopping_thresh",
        "frac_train",
        "train_frac",
        "p",
        "fn_name",
        "fn",
        "operation",
        "task",
        "name",
        "run_name",
        "save_models",
        "save_every",
        "take_metrics_every_n_epochs",
        "data_seed",
        "use_ln",
    }
)


def user_options(config: Path | None, **flags: str | None) -> dict[str, Any]:
    """The options that a user states in a config file and by flags.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no table, or a flag contradicts it.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    return stated_options(None if config is None else read_table(config), given)


def stated_options(
    archive: Options | None,
    user: Options,
    beside: Options | None = None,
    layout: Layout | None = None,
) -> dict[str, Any]:
    """All options that are stated about a model, under HookedTransformerConfig's names.

    Args:
        archive: The config inside its file, if there is one.
        user: The options that the user states.
        beside: The config that stands beside the files of a folder, if there is one.
        layout: The layout of the file, whose code may have other names for options.

    Raises:
        ValueError: Two of them disagree, or a value is a tensor.
    """
    known_names = (
        _known_names if layout is None else lambda config: _known_names(layout.options(config))
    )
    stated = known_names(archive or {})
    for options, contradiction in (
        (beside or {}, "the file's config says {!r}, the one beside it {!r}; change one of them"),
        (user, "the config says {!r}, you say {!r}; leave it out, or change the config"),
    ):
        for name, value in known_names(options).items():
            if stated.setdefault(name, value) != value:
                raise ValueError(f"{name}: {contradiction.format(stated[name], value)}")
    return stated


def check_same_options(stated: Options, first: Options) -> None:
    """Refuses a file whose config contradicts that of the first file.

    Raises:
        ValueError: They differ; the message names the first difference.
    """
    for name, value in stated.items():
        if name in first and value != first[name]:
            raise ValueError(
                f"{name} is {value!r} in its config and {first[name]!r} in that of the first file: "
                "import checkpoints of one run at a time"
            )


def asked_of_user(config: ModelConfig, user: Options) -> dict[str, Any]:
    """The options that shapes cannot tell and that the user stated.

    Those that a config has under one name only are given with the config's values.
    """
    stated = _known_names(user)
    options = {name: getattr(config, name) for name in ASKED_OPTIONS if name in stated}
    return options | {name: stated[name] for name in FURTHER_OPTIONS if name in stated}


def _known_names(options: Options) -> dict[str, Any]:
    """Options under HookedTransformerConfig's names; "none" of a norm is None, as TOML has none."""
    known: dict[str, Any] = {}
    for name, value in options.items():
        plain = value.item() if isinstance(value, Tensor) and value.ndim == 0 else value
        if isinstance(plain, Tensor):
            raise ValueError(f"{name} is a tensor in the config: save it as numbers")
        if name in ("act_fn", "act_type") and plain in ("ReLU", "GeLU"):
            plain = plain.lower()  # as the progress-measures code writes them
        plain = None if (name, plain) == ("normalization_type", "none") else plain
        usual = SYNONYMS.get(name, name)
        if known.setdefault(usual, plain) != plain:
            raise ValueError(f"{usual} is {known[usual]!r} and, as {name}, {plain!r} in one config")
    return known


def sizes_of(parameters: Mapping[str, Tensor], n_ctx: int) -> Sizes:
    """Vocabulary, classes and positions; `n_ctx` is used where positions have no parameters."""
    if "pos_embed.W_pos" in parameters:
        n_ctx = _shape(parameters, "pos_embed.W_pos", 2)[0]
    try:
        return Sizes(
            d_vocab=_shape(parameters, "embed.W_E", 2)[0],
            d_vocab_out=_shape(parameters, "unembed.W_U", 2)[1],
            n_ctx=n_ctx,
        )
    except ValidationError as error:
        raise ValueError(f"the parameters' shapes: {readable(error)}") from None


def options_of_layout(stated: Options, layout: Layout) -> dict[str, Any]:
    """The stated options with those that all models of a layout have, and with what is assumed.

    Raises:
        ValueError: A stated option is another than the layout's, or one is missing that must be
            stated.
    """
    for name, value in layout.fixed.items():
        is_left_out = stated.get(name) in DEFAULT_VALUES and name != "normalization_type"
        if name in stated and stated[name] != value and not is_left_out:
            raise ValueError(
                f"{name} is {stated[name]!r} in the config; models of layout {layout.name} have "
                f"{value or 'none'!r}"
            )
    _ask([name for name in layout.asked if _says_something(name, None)], stated, layout)
    return assumed_options(stated, layout) | dict(stated) | dict(layout.fixed)


def assumed_options(
    stated: Options, layout: Layout, config: TokenConfig | None = None
) -> dict[str, Any]:
    """What is taken to hold of a model because nothing says otherwise.

    A mask among the tensors does not tell: HookedTransformer keeps one even where it is not used,
    and so does the code of Zhong et al. 2023.

    Args:
        stated: The stated options.
        layout: The layout.
        config: The model's config; None leaves out what only some models have, norms and rotary
            positions.
    """
    is_scale_stated = "use_attn_scale" in stated
    return {
        name: value
        for name, value in layout.assumed.items()
        if name not in stated
        and _says_something(name, config)
        and not (name == "attn_scale" and is_scale_stated)
    }


def check_asked(config: TokenConfig, stated: Options, layout: Layout) -> None:
    """Refuses a model with norms or rotary positions about which something must be stated.

    Raises:
        ValueError: Nothing states it; the message names all that is missing.
    """
    _ask([name for name in layout.asked if _says_something(name, config)], stated, layout)


def _says_something(name: str, config: TokenConfig | None) -> bool:
    """Whether an option says something about a model; of None, about every model."""
    if name in NORM_OPTIONS:
        return config is not None and config.normalization_type is not None
    if name == "rotary_dim" and config is not None and config.d_head == MIN_ROTARY_DIM:
        return False  # all of the head turns
    if name in ROTARY_OPTIONS:
        return config is not None and config.positional_embedding_type == "rotary"
    return True


def _ask(names: Sequence[str], stated: Options, layout: Layout) -> None:
    missing = " and ".join(name for name in names if stated.get(name) in DEFAULT_VALUES)
    if missing:
        raise ValueError(
            f"nothing says {missing}, which the shapes of layout {layout.name} do not tell: give "
            f"a --config with {missing}"
        )


def config_of_shapes(
    parameters: Mapping[str, Tensor], stated: Options, *, is_tied: bool
) -> TokenConfig:
    """The config of parameters in HookedTransformer's names and shapes.

    Args:
        parameters: The parameters of one checkpoint.
        stated: The options of the model, those of its layout among them.
        is_tied: Whether embedding and unembedding are one matrix.

    Raises:
        ValueError: A shape contradicts a stated option, the token model lacks an option, or neither
            shapes nor options tell something; the message names it.
    """
    sizes = _from_shapes(parameters)
    shapes = sizes | dict(sizes_of(parameters, n_ctx=1))
    for name, value in shapes.items():
        option = stated.get(name)
        is_shown = name != "n_ctx" or "pos_embed.W_pos" in parameters
        if is_shown and value is not None and option not in (*DEFAULT_VALUES, value):
            raise ValueError(
                f"{name}: the config says {option!r}, the parameters' shapes say {value}"
            )
    grouped = stated.get("n_key_value_heads")
    if grouped not in DEFAULT_VALUES and sizes["n_key_value_heads"] is None:
        raise ValueError(
            f"n_key_value_heads is {grouped!r} in the config, but blocks.0.attn.W_K has a part for "
            "each head: such models keep blocks.0.attn._W_K"
        )
    options = shapes | {
        "act_fn": _activation(stated, attn_only=sizes["attn_only"]),
        "normalization_type": _normalization(parameters, stated),
        "positional_embedding_type": _positions(parameters, stated),
    }
    return config_of_options({**stated, **options}, is_tied=is_tied)


def config_of_options(options: Options, *, is_tied: bool) -> TokenConfig:
    """The config of options that tell everything about a model.

    Args:
        options: Under HookedTransformerConfig's names, sizes among them.
        is_tied: Whether embedding and unembedding are one matrix.

    Raises:
        ValueError: An option has a value that is not computed here, or is unknown; the message
            names it.
    """
    others = OTHER_OPTIONS | LAYOUT_OPTIONS
    stated = {name: value for name, value in options.items() if name not in others}
    check_computed(stated)
    if stated.get("kind", "token") != "token":
        raise ValueError(f"kind is {stated['kind']!r} in the config; imports are of kind token")
    # What is left out says where and how the model was trained.
    names = {*TokenConfig.model_fields, *OTHER_KINDS, *Sizes.model_fields, "use_attn_scale"}
    known = {name: value for name, value in stated.items() if name in names}
    return token_config(shape_of_options(known, source="config"), is_tied=is_tied)


def _from_shapes(parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    heads, d_model, d_head = _shape(parameters, "blocks.0.attn.W_Q", 3)
    has_mlp = "blocks.0.mlp.W_in" in parameters
    shared = parameters.get("blocks.0.attn._W_K")
    return {
        "n_layers": n_blocks(parameters),
        "d_model": d_model,
        "n_heads": heads,
        "d_head": d_head,
        "attn_only": not has_mlp,
        "d_mlp": _shape(parameters, "blocks.0.mlp.W_in", 2)[1] if has_mlp else None,
        "gated_mlp": "blocks.0.mlp.W_gate" in parameters,
        "n_key_value_heads": None if shared is None else len(shared),
    }


def _shape(parameters: Mapping[str, Tensor], name: str, axes: int) -> list[int]:
    if name not in parameters:
        raise ValueError(f"lacks {name}")
    shape = list(parameters[name].shape)
    if len(shape) != axes:
        raise ValueError(f"{name} is {shape}; {axes} axes are wanted")
    return shape


def _activation(stated: Options, *, attn_only: bool) -> str:
    if attn_only:
        return "relu"  # there is no MLP to apply it to
    if stated.get("act_fn") is None:
        raise ValueError(
            "nothing says the MLP's activation function: give --act-fn relu (or gelu, gelu_new, "
            "silu, gelu_fast), or a --config with act_fn"
        )
    return stated["act_fn"]


def _normalization(parameters: Mapping[str, Tensor], stated: Options) -> str | None:
    stated_type = stated.get("normalization_type", "nothing")
    if "blocks.0.ln1.w" in parameters:
        shown = "LN" if "blocks.0.ln1.b" in parameters else "RMS"
        if stated_type not in ("nothing", shown):
            raise ValueError(
                f"normalization_type is {stated_type!r} in the config, but the weights of ln1 are "
                f"those of {shown}"
            )
        return shown
    if stated_type == "nothing":
        raise ValueError(
            "parameters without ln1.w fit no layer norm as well as LNPre: give "
            "--normalization-type none (or LNPre), or a --config with normalization_type"
        )
    if stated_type in ("LN", "RMS"):
        raise ValueError(
            f"normalization_type is {stated_type!r} in the config, but blocks.0.ln1.w is missing"
        )
    return stated_type


def _positions(parameters: Mapping[str, Tensor], stated: Options) -> str:
    is_learned = "pos_embed.W_pos" in parameters
    stated_type = stated.get("positional_embedding_type")
    if stated_type is None and not is_learned:
        raise ValueError(
            "lacks pos_embed.W_pos: give a --config with positional_embedding_type = "
            '"rotary" (or "sinusoidal", "none")'
        )
    if stated_type is not None and is_learned != (stated_type in ("standard", "shortformer")):
        raise ValueError(
            f"positional_embedding_type is {stated_type!r} in the config, but pos_embed.W_pos is "
            f"{'there' if is_learned else 'missing'}"
        )
    return stated_type or "standard"
