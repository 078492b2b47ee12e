"""How sentences about circuits name parts and edges, write numbers, and judge differences."""

import math
import re

from hooks.circuits.graph import EMBED, LOGITS
from hooks.circuits.pairs import MIN_SPAN

ERRORS = MIN_SPAN  # standard errors by which a number must lie above its control to be found
PLAIN = {
    EMBED: "the embedding",
    LOGITS: "the logits",
    "pos_embed": "the position embedding",
    "ln_final.b": "the bias of the last norm",
    "b_U": "the bias of the unembedding",
}
OF_LAYER = {
    "mlp": "MLP {}",
    "b_O": "the attention bias of layer {}",
    "b_out": "the MLP bias of layer {}",
}
READS = {"q": "the queries", "k": "the keys", "v": "the values"}


def in_words(part: str) -> str:
    """A part of a model as a sentence names it: `0.h2` is head 0.2, `0.mlp` is MLP 0."""
    layer, _, name = part.partition(".")
    if head := re.fullmatch(r"h(\d+)", name):
        return f"head {layer}.{head[1]}"
    return PLAIN.get(part) or OF_LAYER.get(name, part.replace("_", " ")).format(layer)


def edge_in_words(edge: str) -> str:
    """An edge as a sentence names it: `embed->0.h2.q` leads to the queries of head 0.2."""
    writer, reader = edge.split("->")
    part, _, kind = reader.rpartition(".")
    to = f"{READS[kind]} of {in_words(part)}" if kind in READS else in_words(reader)
    return f"{in_words(writer)} to {to}"


def number(value: float, sign: str = "") -> str:
    """Three digits, and no exponent for thousands."""
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.3g}"


def with_error(value: float, error: float, sign: str = "") -> str:
    """A number and its standard error, where that is known."""
    return number(value, sign) + ("" if math.isnan(error) else f" ± {error:.2g}")


def sentence(text: str) -> str:
    """A text with a capital letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def is_larger(value: float, control: float, *errors: float) -> bool:
    """Whether a value exceeds its control by three standard errors; unknown errors count as 0."""
    known = (error for error in errors if not math.isnan(error))
    return bool(value - control > ERRORS * math.hypot(*known))
