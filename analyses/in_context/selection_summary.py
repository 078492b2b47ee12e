"""The scalars of models of mixtures beside pure ones: inside, and at its worst outside."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from analyses.in_context.selection import ModelSelection


def selection_summary(found: "ModelSelection") -> dict[str, float | str]:
    """By class, then inside, then by split where it leads outside."""
    errors = found.curve_errors[..., found.at]
    told: dict[str, float | str] = {"examples": float(found.at)}
    for name in found.inside:
        told |= _of_class(found, name, errors[found.groups.index(name)])
    told["in_class"] = float(found.in_class[found.mixture, found.at])
    if found.joint:
        inside = found.over_joint(found.in_class[None])[0, found.mixture, found.at]
        told["in_class_ratio"] = float(inside)
    for split in dict.fromkeys(found.splits):
        rows = [row for row in np.flatnonzero(found.outside) if found.splits[row] == split]
        if rows:
            # NaN, of a group whose answers are all 0, is no largest.
            worst = max(rows, key=lambda row: np.nan_to_num(errors[row, found.mixture], nan=-1))
            told[f"{split}_largest"] = float(errors[worst, found.mixture])
            told[f"{split}_largest_at"] = found.groups[worst]
        if rows and split == "combination" and found.joint:
            told["combination_ratio"] = float(found.ratios[rows, found.mixture, found.at].max())
    return told


def _of_class(
    found: "ModelSelection", name: str, row: Float[np.ndarray, " curve"]
) -> dict[str, float]:
    """What is told of one class, from the errors on its prompts."""
    told = {"mixture": row[found.mixture]}
    if found.references:
        told["best_reference"] = row[len(found.names) :].min()
    alone = found.pure(name)
    if alone is not None:
        told |= {"pure": row[alone], "cost": row[found.mixture] - row[alone]}
    others = [found.pure(each) for each in found.classes if each != name]
    apart = [row[each] for each in others if each is not None]
    told |= {"other": max(apart)} if apart else {}
    return {f"{name.replace(' ', '_')}_{key}": float(value) for key, value in told.items()}
