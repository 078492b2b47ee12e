"""Functions learned in context: prompts are pairs (x, f(x)), with a new function f in each prompt.

f comes from a mixture of function classes. The split `test` has prompts like those of training. In
each of the other splits, prompts differ from training by a number that takes several values: the
share of the first of two classes, a factor of y or of a frequency, or the number of coefficients
that are not 0. At some of these values the functions are still those of a class of the mixture.

Source: Garg et al. 2022 (arXiv:2208.01066) for prompts, classes and loss; Yadlowsky et al. 2023
(arXiv:2311.00871) for mixtures and prompts from outside. Neither scales y; here the values of every
class have variance 1 unless `unit_variance` is off, since otherwise |y| alone tells the class.
Yadlowsky's coefficients are all normal. Where a sparse class here has signs as coefficients, so
have the functions between it and the dense class.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from pydantic import Field, FiniteFloat, model_validator
from torch import Generator, Tensor
from torch.nn.functional import pad

from hooks import Examples, Facts, FunctionFacts, MixtureFacts, PromptFacts, Sizes
from interp.randomness import generator
from interp.tasks.base import Batch
from interp.tasks.fields import Amount, Count, Number, Scale, Several, TwoOrMore
from interp.tasks.functions.families import (
    Dense,
    FunctionClass,
    InputLaw,
    Sinusoid,
    Sparse,
    names_of,
)
from interp.tasks.functions.regression import RegressionTask, prompts, with_queries

MIN_WEIGHT_SUM, MAX_WEIGHT_SUM = 1e-30, 1e30  # which float32 can hold
# For each split, the label by which its prompts are grouped.
GROUPS = {
    "test": "class",
    "combination": "alpha",
    "scale": "scale",
    "frequency": "faster",
    "sparsity": "nnz",
}
LINEAR = (Dense, Sparse)


class FunctionClasses(RegressionTask):
    """Values of a function, given examples of it, for functions drawn from a mixture of classes.

    Attributes:
        d: How many numbers an input has.
        pairs: How many pairs a prompt has, so that the last answer follows pairs - 1 examples.
        classes: The classes of the mixture.
        weights: The shares of the classes; equal where left out. A class of share 0 is not in the
            training data.
        inputs: How inputs are drawn.
        unit_variance: Whether the values of each class are scaled to variance 1.
        noise: Standard deviation of the noise that is added to every y.
        active_inputs: How many of an input's numbers, the first ones, are not 0; all where left
            out. Schedules begin with few of them; the scale of y remains that of d numbers.
        active_pairs: How many pairs a training prompt has; all where left out.
        test_prompts: Number of prompts in every split.
        alphas: Shares of the first class in the split `combination`.
        scales: What y is multiplied by in the split `scale`.
        frequency_factors: What frequencies are multiplied by in the split `frequency`.
    """

    name: Literal["function_classes"] = "function_classes"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    d: Count = 20
    pairs: TwoOrMore = 41
    classes: Several[FunctionClass] = Field(default=(Dense(),), min_length=1)
    weights: Several[FiniteFloat] | None = None
    inputs: InputLaw = InputLaw()
    unit_variance: bool = True
    noise: Amount = 0.0
    active_inputs: Count | None = None
    active_pairs: TwoOrMore | None = None
    test_prompts: Count = 1280
    alphas: Several[Number] = Field(default=(1.0, 0.9, 0.75, 0.5, 0.25, 0.1, 0.0), min_length=1)
    scales: Several[Scale] = Field(default=(0.3, 1.0, 3.0, 10.0), min_length=1)
    frequency_factors: Several[Scale] = Field(default=(0.5, 1.0, 2.0), min_length=1)

    @model_validator(mode="after")
    def _classes_fit(self) -> "FunctionClasses":
        for function_class in self.classes:
            if isinstance(function_class, Sparse) and function_class.nnz > self._active:
                raise ValueError(
                    f"classes: nnz {function_class.nnz} is more than {self._active} inputs: "
                    "lower it"
                )
            if isinstance(function_class, Sinusoid) and self.d != 1:
                raise ValueError(f"classes: a sinusoid is of one input, d is {self.d}: set d = 1")
        if self._active > self.d or (self.active_pairs or 0) > self.pairs:
            raise ValueError("active_inputs and active_pairs are at most d and pairs: lower them")
        return self

    @model_validator(mode="after")
    def _numbers_fit(self) -> "FunctionClasses":
        weights = self.shares
        if len(weights) != len(self.classes) or min(weights) < 0 or sum(weights) == 0:
            raise ValueError(
                f"weights {list(weights)}: one for each of {len(self.classes)} classes, none "
                "negative, not all 0"
            )
        if not MIN_WEIGHT_SUM <= sum(weights) <= MAX_WEIGHT_SUM:
            raise ValueError(f"weights {list(weights)}: only shares count; let their sum be near 1")
        if not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise ValueError(f"alphas {list(self.alphas)}: shares lie between 0 and 1")
        return self

    @property
    def splits(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  # by class
        """`test`, and those of the splits beyond training that the classes allow."""
        is_possible = {
            "combination": len(self.classes) > 1,
            "frequency": any(isinstance(cls, Sinusoid) for cls in self.classes),
            "sparsity": self.d > 1 and any(isinstance(cls, LINEAR) for cls in self.classes),
        }
        return tuple(split for split in GROUPS if is_possible.get(split, True))

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights of the classes as given; all 1 where they are left out."""
        return (1.0,) * len(self.classes) if self.weights is None else self.weights

    @property
    def sizes(self) -> Sizes:
        """D numbers as input, one number as output, two positions for each pair."""
        return Sizes(d_in=self.d, d_vocab_out=1, n_ctx=2 * self.pairs)

    @property
    def facts(self) -> Facts:
        """`PromptFacts`, `FunctionFacts` and `MixtureFacts`."""
        return self._facts("")

    def _facts(self, group: str) -> Facts:
        """The task's facts, for prompts that are grouped by the labels that `group` names.

        Where several classes are trained on, prompts are asked for their class. The prior has an
        entry for each of these classes, or none where one of them has no exact law.
        """
        names = names_of(self.classes)
        shares = tuple(share / sum(self.shares) for share in self.shares)
        trained = [pair for pair in zip(shares, self.classes, strict=True) if pair[0] > 0]
        priors = tuple(
            replace(prior, weight=share, scale=prior.scale / self._deviation(function_class))
            for share, function_class in trained
            if (prior := function_class.prior(self._active)) is not None
        )
        linear, frequencies = joint_features(self.classes)
        is_mixture = len(trained) > 1
        return Facts(
            groups=(
                PromptFacts(
                    pairs=self.pairs,
                    asked="class" if is_mixture else "",
                    asked_names=names if is_mixture else (),
                    group=group,
                ),
                FunctionFacts(
                    d=self.d,
                    noise=self.noise,
                    prior=priors if len(priors) == len(trained) else (),
                    has_linear_features=linear,
                    wave_features=frequencies,
                ),
                MixtureFacts(
                    classes=names,
                    shares=shares,
                    splits=self.splits,
                    inside=trained_values(self.classes, shares, self._active),
                ),
            )
        )

    @property
    def _active(self) -> int:
        """How many of an input's numbers are not 0."""
        return self.active_inputs or self.d

    def data(self, count: int | None, generator: Generator) -> Batch:
        """Prompts of the mixture, drawn on the generator's device.

        Raises:
            ValueError: No count is given, and there is no whole training set.
        """
        pairs = self.active_pairs or self.pairs
        x = self._draw_inputs(self.count_to_draw(count), pairs, generator)
        y = self._mixed(x, self.classes, self._draw_classes(len(x), generator), generator)
        return prompts(x, self._noisy(y, generator))

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Prompts, labelled with the `class` where there are several, and with the split's value.

        The value is `alpha`, `scale`, `faster` or `nnz`: prompt i has the i-th of the split's
        values, which begin again after the last. `PromptFacts.group` names the class, the value,
        or both.
        """
        return super().examples(split, count, seed)

    def _shown(
        self, split: str, seed: int, queries: Int[Tensor, " prompt"] | None = None
    ) -> Examples:
        drawing = generator(seed, 1, 1, list(GROUPS).index(split))
        x = with_queries(self._draw_inputs(self.test_prompts, self.pairs, drawing), queries)
        class_indices = self._draw_classes(len(x), drawing)
        values_of_split: Sequence[float] = {
            "test": (0,),
            "combination": self.alphas,
            "scale": self.scales,
            "frequency": self.frequency_factors,
            "sparsity": range(1, self._active + 1),
        }[split]
        values = cycle(values_of_split, len(x))
        y = self._values(split, x, (class_indices, values), drawing)
        batch = prompts(x, self._noisy(y, drawing))
        is_mixture = split in ("test", "scale") and sum(share > 0 for share in self.shares) > 1
        labels = {"class": class_indices} if is_mixture else {}
        labels |= {} if split == "test" else {GROUPS[split]: values}
        return Examples(
            targets=batch["targets"],
            scored=batch["scored"],
            inputs=batch["inputs"],
            labels=labels,
            facts=self._facts(", ".join(labels)),
        )

    def _values(
        self, split: str, x: Tensor, by_prompt: tuple[Tensor, Tensor], drawing: Generator
    ) -> Float[Tensor, "prompt pair"]:
        """The y of a split's prompts, without noise, given each prompt's class and value."""
        class_indices, values = by_prompt
        if split == "combination":
            first, second = (self._scaled(cls, x, drawing) for cls in self.classes[:2])
            return values[:, None] * first + (1 - values[:, None]) * second
        if split == "scale":
            return values[:, None] * self._mixed(x, self.classes, class_indices, drawing)
        if split == "frequency":
            wave = next(cls for cls in self.classes if isinstance(cls, Sinusoid))
            return wave.draw(x, drawing, values) / self._deviation(wave)
        if split == "sparsity":
            return self._mixed(x, by_nnz(self.classes, self._active), values - 1, drawing)
        return self._mixed(x, self.classes, class_indices, drawing)

    def _draw_inputs(self, count: int, pairs: int, drawing: Generator) -> Tensor:
        """Inputs; those beyond the active ones are 0."""
        active = self.inputs.draw((count, pairs, self._active), drawing)
        return pad(active, (0, self.d - self._active))

    def _draw_classes(self, count: int, drawing: Generator) -> Int[Tensor, " prompt"]:
        """For each of `count` prompts, the index of its class, drawn by the shares."""
        weights = torch.tensor(self.shares, device=drawing.device)
        return torch.multinomial(weights, count, replacement=True, generator=drawing)

    def _mixed(
        self, x: Tensor, classes: Sequence[FunctionClass], class_indices: Tensor, drawing: Generator
    ) -> Tensor:
        """The y of prompts that have different classes."""
        y = x.new_zeros(x.shape[:2])
        for index, function_class in enumerate(classes):
            rows = (class_indices == index).nonzero()[:, 0]
            y[rows] = self._scaled(function_class, x[rows], drawing)
        return y

    def _scaled(self, function_class: FunctionClass, x: Tensor, drawing: Generator) -> Tensor:
        """The y of prompts of one class, scaled to variance 1 where the task says so."""
        y = function_class.draw(x[..., : self.active_inputs], drawing)
        return y / self._deviation(function_class)

    def _deviation(self, function_class: FunctionClass) -> float:
        """What the values of a class are divided by."""
        return (
            math.sqrt(function_class.variance(self.d, self.inputs)) if self.unit_variance else 1.0
        )

    def _noisy(self, y: Tensor, drawing: Generator) -> Tensor:
        if not self.noise:
            return y
        return y + self.noise * torch.randn(y.shape, generator=drawing, device=drawing.device)


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
    given = {_nnz(cls, d): cls for cls in reversed(classes) if isinstance(cls, LINEAR)}
    return tuple(given.get(nnz, sparse.model_copy(update={"nnz": nnz})) for nnz in range(1, d + 1))


def trained_values(
    classes: Sequence[FunctionClass], shares: Sequence[float], d: int
) -> dict[str, tuple[float, ...]]:
    """For each split, the values at which its functions are of a class that is trained on.

    A range of frequencies may overlap itself times 0.5 or 2: those factors are left out even then.
    """
    trained = [cls for cls, share in zip(classes, shares, strict=True) if share > 0]
    first_wave = next((cls for cls in classes if isinstance(cls, Sinusoid)), None)
    return {
        "combination": tuple(
            alpha for alpha, share in zip((1.0, 0.0), shares, strict=False) if share > 0
        ),
        "scale": (1.0,),
        "frequency": (1.0,) if first_wave in trained else (),
        "sparsity": tuple(
            sorted({float(_nnz(cls, d)) for cls in trained if isinstance(cls, LINEAR)})
        ),
    }


def joint_features(classes: Sequence[FunctionClass]) -> tuple[bool, tuple[float, ...]]:
    """Features in which the functions of every class are linear, and so are their combinations.

    Returns:
        Whether the inputs are among these features, and the frequencies whose sine and cosine are.
        False and no frequency where a class is linear in no finite set of known features: networks,
        trees, random frequencies.
    """
    ranges = [cls.frequency for cls in classes if isinstance(cls, Sinusoid)]
    n_linear = sum(isinstance(cls, LINEAR) for cls in classes)
    if n_linear + len(ranges) < len(classes) or any(low != high for low, high in ranges):
        return False, ()
    return n_linear > 0, tuple(sorted({low for low, _ in ranges}))


def _nnz(function_class: FunctionClass, d: int) -> int:
    """How many coefficients of a linear class' functions are not 0."""
    return function_class.nnz if isinstance(function_class, Sparse) else d
