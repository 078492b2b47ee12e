"""What an analysis needs, in words: what is missing, and what to do about it."""

from collections.abc import Sequence

from hooks import Snapshot

# Needs that one sentence says for every task and model.
WORDS = {
    "tokens": "tokens, and this task has real-valued inputs",
    "classes": "classes as targets, and this task has real numbers",
    "attention": "attention, and this model has none",
    "trees": "gold trees, and this task gives none",
    "labels": "labels of one value an example, and this task gives none",
}
# What a task with a modulus can be set to.
MODULAR = {
    "constants.wave": (
        "an operation that waves compute: set task.operation to add or subtract, or to multiply "
        "with an odd prime p"
    ),
    "constants.ordered_pairs": "all ordered pairs: set task.ordered = true",
    "constants.inputs": "tokens that are all operands: set task.equals = false",
}
# What a model that may go without an MLP can be set to.
WITH_MLP = "neurons: set model.attn_only = false"
NEURONS = {"weights.neuron_in": WITH_MLP, "weights.neuron_out": WITH_MLP}


def in_words(absent: Sequence[str], snapshot: Snapshot) -> list[str]:
    """Needs that a snapshot does not meet, as what may follow the word `needs`.

    Args:
        absent: Names of needs (`analyses.result.Finding`).
        snapshot: What lacks them.
    """
    words = WORDS
    words = words | (MODULAR if "p" in snapshot.examples.constants else {})
    words = words | (NEURONS if getattr(snapshot.config, "attn_only", False) else {})
    by_kind: dict[str, list[str]] = {}
    for need in absent:
        if need not in words:
            kind, _, name = need.partition(".")
            by_kind.setdefault(kind, []).append(name)
    said = dict.fromkeys(words[need] for need in absent if need in words)
    return [*said, *(_of_kind(kind, names, snapshot) for kind, names in by_kind.items())]


def _of_kind(kind: str, names: Sequence[str], snapshot: Snapshot) -> str:
    """Needs of one kind that name something of the task's or the model's."""
    examples, config = snapshot.examples, snapshot.config
    wanted = ", ".join(names)
    if kind == "layers":
        remedy = ": set model.n_layers" if "n_layers" in type(config).model_fields else ""
        return f"at least {wanted} layers, and this model has {config.n_layers}{remedy}"
    if kind == "weights":
        return f"a model with the weights {wanted}"
    there = {"labels": examples.labels, "constants": examples.constants}
    if kind not in there:
        return f"{kind} {wanted}"  # of the table of many runs
    listed = ", ".join(sorted(there[kind])) or "none"
    return f"a task with the {kind} {wanted}, and this one has {listed}"
