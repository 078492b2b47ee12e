"""What the configs of Hugging Face's transformers share: activations, rotary settings, the rest.

An option that changes logits and that is not computed here is refused by name, and so is one that
the architecture's own config does not have.
"""

from collections.abc import Collection, Mapping
from typing import Any

from interp.importers.layouts.base import Options

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_fast": "gelu_fast",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
# Options of every config that say nothing about logits.
HARMLESS = frozenset(
    """
    model_type architectures transformers_version torch_dtype dtype _name_or_path name_or_path
    auto_map use_cache output_hidden_states output_attentions output_past return_dict
    chunk_size_feed_forward id2label label2id num_labels _num_labels problem_type
    initializer_range bos_token_id eos_token_id pad_token_id sep_token_id task_specific_params
    gradient_checkpointing is_decoder attention_dropout hidden_dropout classifier_dropout
    _attn_implementation _attn_implementation_autoset tokenizer_class finetuning_task
    bad_words_ids prefix remove_invalid_values torchscript use_bfloat16 tf_legacy_loss
    max_length min_length do_sample temperature top_k top_p
    """.split()  # noqa: SIM905  # as a list, a line each
)
# Options of every config, at the values that are computed here.
COMPUTED: Mapping[str, Any] = {"is_encoder_decoder": False, "quantization_config": None}
ROTARY = frozenset({"rope_theta", "rope_type", "type", "partial_rotary_factor"})


def stated_options(config: Options, names: Mapping[str, str]) -> dict[str, Any]:
    """The options of a config under our names, and as many classes as tokens."""
    options = {ours: config[theirs] for theirs, ours in names.items() if theirs in config}
    return options | {"d_vocab_out": options.get("d_vocab")}


def check_others(config: Options, computed: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses options that ask for what is not computed here, and unknown ones.

    Args:
        config: The config.
        computed: Options of the architecture that change logits, at the values computed here.
        known: Options of the architecture that are read, or say nothing about logits.

    Raises:
        ValueError: The message names each of them.
    """
    computed = {**COMPUTED, **computed}
    faults = [
        f"{name} is {config[name]!r} in config.json; this toolkit computes {value!r} only"
        for name, value in computed.items()
        if config.get(name) is not None and config[name] != value
    ]
    faults += [
        f"{name} is {value!r} in config.json; this option of {config['model_type']} is unknown "
        "here, and so is what it does to logits: take it out of the file if it does nothing to them"
        for name, value in config.items()
        if not {name} & {*computed, *known, *HARMLESS} and value not in (None, False)
    ]
    if faults:
        raise ValueError("; ".join(faults))


def activation(config: Options, name: str) -> str:
    """The MLP's nonlinearity under our name.

    Raises:
        ValueError: It is unknown here.
    """
    stated = config.get(name)
    if stated not in ACTIVATIONS:
        raise ValueError(f"{name} is {stated!r} in config.json; there are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[stated]


def head_size(d_model: Any, n_heads: Any) -> int:
    """Width of a head, where the config leaves it out.

    Raises:
        ValueError: d_model is no multiple of the number of heads.
    """
    if not isinstance(n_heads, int) or n_heads < 1 or d_model % n_heads:
        raise ValueError(f"{n_heads!r} heads do not divide the width {d_model!r} in config.json")
    return d_model // n_heads


def rotary(config: Options) -> dict[str, Any]:
    """Rotary settings: the base, and the share of each head that turns.

    Where a config keeps them differs by the version of transformers that wrote it.

    Returns:
        `theta` and `share`, None where the config does not say.

    Raises:
        ValueError: Angles are scaled, or there is a setting that is unknown here.
    """
    settings = {
        name: value
        for key in ("rope_parameters", "rope_scaling")
        for name, value in (config.get(key) or {}).items()
        if value is not None
    }
    kinds = {settings.get("rope_type", "default"), settings.get("type", "default")}
    others = sorted(settings.keys() - ROTARY)
    if kinds != {"default"} or others:
        named = " and ".join([*sorted(kinds - {"default"}), *others])
        raise ValueError(
            f"rope_scaling asks for {named} in config.json; this toolkit computes rotary "
            "positions that are not scaled (rope_type default)"
        )
    theta = settings.get("rope_theta", config.get("rope_theta", config.get("rotary_emb_base")))
    share = settings.get("partial_rotary_factor", config.get("rotary_pct"))
    return {"theta": theta, "share": share}
