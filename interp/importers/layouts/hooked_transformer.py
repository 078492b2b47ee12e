"""TransformerLens' HookedTransformer, whose names and shapes are ours.

`cfg.tie_word_embeddings` ties nothing there: W_U is a parameter of its own, and only where it is
absent do our runs take W_E for it.
"""

from torch import Tensor

from interp.importers.layouts.base import BUFFERS, Layout, Options, State


def _parameters(state: State, stated: Options) -> dict[str, Tensor]:
    parameters = {name: value for name, value in state.items() if not BUFFERS.fullmatch(name)}
    is_tied = stated.get("tie_word_embeddings") and "embed.W_E" in parameters
    if is_tied and "unembed.W_U" not in parameters:
        parameters["unembed.W_U"] = parameters["embed.W_E"].T
    return parameters


HOOKED_TRANSFORMER = Layout(
    name="hooked_transformer",
    fits=lambda state, config: (
        (output := state.get("blocks.0.attn.W_O")) is not None and output.ndim == 3
    ),
    parameters=_parameters,
    assumed={"attention_dir": "causal"},
)
