"""The layouts of other people's parameters, which become HookedTransformer's names and shapes.

A layout is one file, and one line in `LAYOUTS`.
"""

from interp.importers.layouts.base import Layout, Options, State, listed
from interp.importers.layouts.compiled import BY_HAND, COMPILED_BY_TRACR
from interp.importers.layouts.gpt2 import GPT2
from interp.importers.layouts.hooked_transformer import HOOKED_TRANSFORMER
from interp.importers.layouts.llama import LLAMA
from interp.importers.layouts.nanogpt import NANOGPT
from interp.importers.layouts.neox import NEOX
from interp.importers.layouts.pizza import PIZZA
from interp.importers.layouts.progress_measures import PROGRESS_MEASURES

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        HOOKED_TRANSFORMER,
        PIZZA,  # before the layout whose names and shapes it has
        PROGRESS_MEASURES,
        NANOGPT,
        GPT2,
        LLAMA,
        NEOX,
        BY_HAND,
        COMPILED_BY_TRACR,
    )
}


def layout_of(state: State, config: Options) -> Layout:
    """The layout of a state_dict.

    Args:
        state: The tensors.
        config: Options that came with the tensors, stand beside them or were given.

    Raises:
        ValueError: It is of none.
    """
    for layout in LAYOUTS.values():
        if layout.fits(state, config):
            return layout
    if "model_type" in config:
        kinds = ", ".join(name for name in LAYOUTS if name in ("gpt2", "llama", "gpt_neox"))
        raise ValueError(f"a model of type {config['model_type']}; read are {kinds}")
    raise ValueError(
        "neither a HookedTransformer nor a model of another code that is read: no "
        f"blocks.0.attn.W_O of two or three axes; its tensors are {listed(state)}; give --mapping, "
        "a TOML file that says which of them is which parameter"
    )


__all__ = ["LAYOUTS", "Layout", "Options", "State", "layout_of"]
