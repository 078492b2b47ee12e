"""Prompts from outside a mixture of function classes, and which of them are inside after all.

Prompts from outside take a series of values: the share of the first class, a factor of y or of a
frequency, or the number of coefficients that are not 0. At some of these values the functions are
those of a class of the mixture.

Source: Yadlowsky et al. 2023 (arXiv:2311.00871), whose coefficients are all normal. Where a sparse
class here has signs as coefficients, so have the functions between it and the dense class.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from interp.tasks.functions.classes import Dense, FunctionClass, Sinusoid, Sparse

# For each split, the label in which its prompts differ.
GROUPS = {
    "test": "class",
    "combination": "alpha",
    "scale": "scale",
    "frequency": "faster",
    "sparsity": "nnz",
}
LINEAR = (Dense, Sparse)


def cycle(values: Sequence[float], count: int) -> Shaped[Tensor, " prompt"]:
    """The values in order, one for each of `count` prompts, beginning again after the last."""
    return torch.tensor(values)[torch.arange(count) % len(values)]


def by_nnz(classes: Sequence[FunctionClass], d: int) -> tuple[FunctionClass, ...]:
    """Linear functions with 1, 2, .. d coefficients that are not 0.

    Where a class of the mixture has that number (a dense class has d), it is that class, or the
    first of several; the prompts there are those of training. Otherwise coefficients follow the law
    of the first sparse class, and are normal where there is none.
    """
    sparse = next((cls for cls in classes if isinstance(cls, Sparse)), Sparse())
    trained = {_nnz(cls, d): cls for cls in reversed(classes) if isinstance(cls, LINEAR)}
    return tuple(
        trained.get(nnz, sparse.model_copy(update={"nnz": nnz})) for nnz in range(1, d + 1)
    )


def values_inside(
    classes: Sequence[FunctionClass], shares: Sequence[float], d: int
) -> dict[str, tuple[float, ...]]:
    """By split, the numbers at which its functions are of a class that is trained on.

    A range of frequencies may overlap itself times 0.5 or 2: such prompts count as outside.
    """
    trained = [each for each, share in zip(classes, shares, strict=True) if share > 0]
    wave = next((each for each in classes if isinstance(each, Sinusoid)), None)
    counts = {_nnz(each, d) for each in trained if isinstance(each, LINEAR)}
    return {
        "combination": tuple(
            end for end, share in zip((1.0, 0.0), shares, strict=False) if share > 0
        ),
        "scale": (1.0,),
        "frequency": (1.0,) if wave in trained else (),
        "sparsity": tuple(float(nnz) for nnz in sorted(counts)),
    }


def joint_features(classes: Sequence[FunctionClass]) -> tuple[bool, tuple[float, ...]]:
    """Features in which every class is linear, and so each combination of them.

    Returns:
        Whether the inputs are among them, and the frequencies whose sine and cosine are. Neither
        where there are no finitely many known ones: networks, trees, random frequencies.
    """
    waves = [each.frequency for each in classes if isinstance(each, Sinusoid)]
    n_linear = sum(isinstance(each, LINEAR) for each in classes)
    if n_linear + len(waves) < len(classes) or any(low != high for low, high in waves):
        return False, ()
    return n_linear > 0, tuple(sorted({low for low, _ in waves}))


def _nnz(function_class: FunctionClass, d: int) -> int:
    """How many coefficients of a linear class' functions are not 0."""
    return function_class.nnz if isinstance(function_class, Sparse) else d
