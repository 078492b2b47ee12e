"""What lies outside of a mixture of function classes, and what of it lies inside after all?

Prompts from outside go through numbers: shares of the first class, factors of y or of a frequency,
numbers of coefficients that are not 0. Some of these lead back into the mixture, and there the
functions are those of its classes.

Source: Yadlowsky et al. 2023 (arXiv:2311.00871), whose coefficients are normal everywhere. Where a
sparse class has signs here, so have the functions between it and the dense class.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from interp.tasks.functions.classes import Dense, FunctionClass, Sinusoid, Sparse

# By split, the label that tells its prompts apart.
GROUPS = {
    "test": "class",
    "combination": "alpha",
    "scale": "scale",
    "frequency": "faster",
    "sparsity": "nnz",
}
LINEAR = (Dense, Sparse)


def by_turns(values: Sequence[float], count: int) -> Shaped[Tensor, " prompt"]:
    """For each prompt one of the values, from the first again after the last."""
    every = torch.tensor(values)
    return every[torch.arange(count) % len(every)]


def by_nnz(classes: Sequence[FunctionClass], d: int) -> tuple[FunctionClass, ...]:
    """Linear functions with 1, 2, .. d coefficients that are not 0.

    Where one of the classes has so many (a dense one d), that class, the first of several: there
    prompts are those of training. Elsewhere coefficients follow the law of the first sparse class,
    and are normal where there is none.
    """
    sparse = next((each for each in classes if isinstance(each, Sparse)), Sparse())
    own = {_nnz(each, d): each for each in reversed(classes) if isinstance(each, LINEAR)}
    return tuple(own.get(nnz, sparse.model_copy(update={"nnz": nnz})) for nnz in range(1, d + 1))


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
    }  # fmt: skip


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


def _nnz(each: FunctionClass, d: int) -> int:
    return each.nnz if isinstance(each, Sparse) else d
