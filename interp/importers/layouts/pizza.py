"""The code of Zhong et al. 2023 (arXiv:2306.17844, The Clock and the Pizza).

Names and shapes are those of the progress-measures code, mask included, and its config tells the
two apart: `attn_coeff` is c in pattern = c softmax(scores) + 1 - c, which is not divided by the
number of positions. In spite of the mask, and of `attention_dir = "casual"` in the config, that
code hides no position. It reads two numbers, and answers at the second.

A file does not say its step. The config's `epoch` says how many epochs it was trained for.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from interp.importers.layouts.base import Layout, Options, State
from interp.importers.layouts.progress_measures import (
    is_from_the_left,
    parameters_from_the_left,
)

CASUAL = "casual"  # as the config spells it
BLEND = "attn_coeff"
# How the config says that a code computes something else, by option.
NOT_READ: Mapping[str, str] = {
    "diff_vocab": "with tokens of their own for each of the two numbers",
    "eqn_sign": 'with "=" after the two numbers',
}
# Settings of its training, which say nothing about the model.
TRAINING = ("name", "funcs", "func", "epoch", "runid", "frac", "lr", "weight_decay", "batch_size")


def _options(config: Options) -> dict[str, Any]:
    options = {name: value for name, value in config.items() if name not in TRAINING}
    if options.get("attention_dir") == CASUAL:
        del options["attention_dir"]
    if "C" in options:
        options["d_vocab"] = options["d_vocab_out"] = options.pop("C")
    for name, what in NOT_READ.items():
        if options.pop(name, False):
            raise ValueError(
                f"{name} is {config[name]!r} in the config; models {what} are not read"
            )
    if BLEND not in options:
        return options  # flags, or a config that says less
    blend = options.pop(BLEND)
    if isinstance(blend, bool) or not isinstance(blend, int | float) or not 0 <= blend <= 1:
        raise ValueError(
            f"{BLEND} is {blend!r} in the config; a share from 0 (a constant pattern) to 1 "
            "(softmax) is wanted"
        )
    if options.setdefault("pattern_coeff", float(blend)) != blend:
        raise ValueError(
            f"pattern_coeff is {config['pattern_coeff']!r} and {BLEND} {blend!r} in the config, "
            "which are names of the same thing: leave one out"
        )
    return options


def _fits(state: State, config: Options) -> bool:
    """Whether a model is of this code, which its config tells, or two positions do.

    The progress-measures code has a third position, at which its models read "=".
    """
    if not is_from_the_left(state):
        return False
    has_its_options = bool({BLEND, *NOT_READ} & config.keys())
    positions = state.get("pos_embed.W_pos")
    direction = config.get("attention_dir")
    is_unsaid = direction is None and positions is not None and len(positions) == 2
    return has_its_options or direction == CASUAL or is_unsaid


def _parameters(state: State, stated: Options) -> dict[str, Tensor]:
    if "pattern_coeff" not in stated:
        raise ValueError(
            f"nothing says {BLEND}, by which models of Zhong et al. 2023 (The Clock and the Pizza) "
            "blend attention with a constant, and which no shape tells; they have this layout and "
            f"two positions: give their --config, with {BLEND} and act_fn. Of another code, give a "
            '--config with attention_dir = "causal"'
        )
    return parameters_from_the_left(state, stated)


PIZZA = Layout(
    name="pizza",
    fits=_fits,
    parameters=_parameters,
    options=_options,
    fixed={"attention_dir": "bidirectional", "normalization_type": None},
    step=lambda config: config.get("epoch"),
)
