"""Weights by name, of one model, of checkpoints or of a stack of models.

A name is a parameter (`blocks.0.mlp.W_in`) or a view, which every kind of model computes from its
parameters if it can: `W_E`, `W_U`, `neuron_in [operand, input, d_mlp]` (what neurons read from each
input), `neuron_out [d_mlp, class]` (what they add to each logit). Parameters may have leading axes
(steps, models); a view then has them too.
"""

from collections.abc import Mapping

from torch import Tensor

from hooks.messages import did_you_mean
from hooks.models import ModelConfig
from hooks.models.transformer import by_head


def weight(config: ModelConfig, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """A parameter or a view.

    Args:
        config: The model's config; its kind decides what a view is made of.
        parameters: Parameters by name, with any leading axes; only those needed are read.
        name: A parameter's name or a view's.

    Raises:
        ValueError: No such weight; the message lists those there are.
    """
    if name in parameters:
        return parameters[name]
    if name.replace(".attn.", ".attn._") in parameters:
        return by_head(parameters, name, config.n_heads)  # pyright: ignore[reportAttributeAccessIssue]  # a transformer's
    if name in config.VIEWS:
        try:
            return config.VIEWS[name](config, parameters)
        except KeyError as missing:
            raise ValueError(
                f"view '{name}' needs {missing}, which this model lacks; there are "
                f"{', '.join(_present(config, parameters))}"
            ) from None
    known = _present(config, parameters)
    raise ValueError(f"no weight '{name}'; there are {', '.join(known)}{did_you_mean(name, known)}")


def has_weight(config: ModelConfig, parameters: Mapping[str, Tensor], name: str) -> bool:
    """Whether `weight` would answer to this name."""
    if name in parameters or name.replace(".attn.", ".attn._") in parameters:
        return True
    try:
        config.VIEWS[name](config, parameters)
    except KeyError:
        return False
    return True


def _present(config: ModelConfig, parameters: Mapping[str, Tensor]) -> list[str]:
    views = [name for name in config.VIEWS if has_weight(config, parameters, name)]
    return [*views, *parameters]
