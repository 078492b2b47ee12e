"""Where does a model's pass first hold something that is no number?"""

from typing import Any

import torch
from torch import Tensor

from hooks.snapshot import Snapshot


def first_not_finite(snapshot: Snapshot) -> str:
    """The first hook point, in the order of the pass, whose activation holds NaN or infinity.

    Minus infinity alone does not count there: attention scores have it where a key is hidden.

    Returns:
        Its name; `logits` where only these are not finite; nothing where all is finite.
    """
    not_finite: list[str] = []

    def look(activation: Tensor, hook: Any) -> None:
        if not not_finite and not (activation < torch.inf).all():  # False for NaN too
            not_finite.append(hook.name)

    hooks = [(name, look) for name in snapshot.live.model.hook_dict]
    with snapshot.running() as model, torch.no_grad(), model.hooks(fwd_hooks=hooks):
        for rows, batch in snapshot._batches():
            with snapshot.seeing(rows):
                logits = model(batch)
            if not not_finite and not logits.isfinite().all():
                not_finite.append("logits")
            if not_finite:
                return not_finite[0]
    return ""
