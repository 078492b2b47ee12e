"""Families of functions of d real numbers, and the distributions of their inputs.

Each family draws one function per prompt, for all prompts at once. It also knows the variance of y
over the random functions and inputs, so that a task can scale it to 1; otherwise the size of y
would tell the family.

Source: Garg et al. 2022 (arXiv:2208.01066), sections 3 and 5, for all but sinusoids; Yadlowsky et
al. 2023 (arXiv:2311.00871) for mixtures of families. The distributions of their sinusoids are not
known to us; here they are options.
"""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, Field, model_validator
from torch import Generator, Tensor

from hooks import LinearPrior, Prior, WavePrior
from interp.tasks.fields import Count, Number, Pair, Scale

CHUNK_NETWORKS = 1024  # networks drawn at a time
Range = Pair[Number]
Inputs = Float[Tensor, "prompt pair d"]
Values = Float[Tensor, "prompt pair"]


class InputLaw(BaseModel, frozen=True, extra="forbid", strict=True):
    """How each of an input's numbers is drawn, all independently.

    Attributes:
        law: normal with mean 0, or uniform around 0.
        scale: The standard deviation where normal, half the width where uniform.
    """

    law: Literal["normal", "uniform"] = "normal"
    scale: Scale = 1.0

    @property
    def second_moment(self) -> float:
        """The mean of x squared."""
        return self.scale**2 / (1 if self.law == "normal" else 3)

    def mean_cosine(self, frequency: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The mean of cos(frequency x)."""
        turned = frequency * self.scale
        return (-(turned**2) / 2).exp() if self.law == "normal" else (turned / math.pi).sinc()

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Inputs of a shape, on the generator's device."""
        if self.law == "normal":
            return self.scale * _normal(shape, generator)
        uniform = torch.rand(*shape, generator=generator, device=generator.device)
        return self.scale * (2 * uniform - 1)


class Family(BaseModel, frozen=True, extra="forbid", strict=True):
    """A family of random functions; a subclass draws their values."""

    def variance(self, d: int, law: InputLaw) -> float:
        """Variance of y over functions and inputs: of w x with standard normal w, unless said."""
        return d * law.second_moment

    def prior(self, d: int) -> Prior | None:
        """The law of coefficients, for exact evidence (`analyses.in_context.bayes`).

        None where the functions are not linear in finitely many known features.
        """
        return None


class Dense(Family, frozen=True):
    """y = w x with independent standard normal coefficients."""

    family: Literal["dense"] = "dense"

    def draw(self, x: Inputs, generator: Generator) -> Values:
        """Values of one random function per prompt."""
        return torch.einsum("nkd,nd->nk", x, _normal((len(x), x.shape[2]), generator))

    def prior(self, d: int) -> Prior | None:
        """The law of coefficients, for exact evidence (`analyses.in_context.bayes`)."""
        return LinearPrior(nnz=d, active=d)


class Sparse(Family, frozen=True):
    """y = w x with nnz coefficients that are not 0, at random places.

    Attributes:
        nnz: The number of coefficients that are not 0.
        coefficients: normal, or sign: 1 and -1 with equal probability.
    """

    family: Literal["sparse"] = "sparse"
    nnz: Count = 3
    coefficients: Literal["normal", "sign"] = "normal"

    def variance(self, d: int, law: InputLaw) -> float:
        """Variance of y over coefficients and inputs."""
        return self.nnz * law.second_moment

    def draw(self, x: Inputs, generator: Generator) -> Values:
        """Values of one random function per prompt."""
        counts = torch.full((len(x),), self.nnz, device=x.device)
        normals = _normal((len(x), x.shape[2]), generator)
        dense = normals if self.coefficients == "normal" else normals.sign()
        return torch.einsum("nkd,nd->nk", x, dense * supports(counts, x.shape[2], generator))

    def prior(self, d: int) -> Prior | None:
        """The law of coefficients, for exact evidence."""
        return LinearPrior(nnz=self.nnz, active=d, law=self.coefficients)


class ReluNetwork(Family, frozen=True):
    """y = sum_i a_i relu(w_i x) with a_i ~ N(0, 2 / hidden) and w_i ~ N(0, I).

    A relu halves the mean square of w x, and 2 / hidden undoes that, so that the variance of y is
    that of w x.

    Attributes:
        hidden: The number of neurons.
    """

    family: Literal["relu_network"] = "relu_network"
    hidden: Count = 100

    def draw(self, x: Inputs, generator: Generator) -> Values:
        """Values of one random network per prompt, drawn in chunks."""
        return torch.cat([self._draw_chunk(rows, generator) for rows in x.split(CHUNK_NETWORKS)])

    def _draw_chunk(self, x: Inputs, generator: Generator) -> Values:
        reads = _normal((len(x), x.shape[2], self.hidden), generator)
        writes = math.sqrt(2 / self.hidden) * _normal((len(x), self.hidden, 1), generator)
        return ((x @ reads).relu() @ writes)[..., 0]


class DecisionTree(Family, frozen=True):
    """A full binary tree whose nodes test the sign of a random input; leaves are N(0, 1).

    Attributes:
        depth: The number of tests from root to leaf.
    """

    family: Literal["decision_tree"] = "decision_tree"
    depth: int = Field(default=4, ge=1, le=12)

    def variance(self, d: int, law: InputLaw) -> float:
        """Variance of y, which is that of a leaf."""
        return 1.0

    def draw(self, x: Inputs, generator: Generator) -> Values:
        """Values of one random tree per prompt.

        Node i goes on to node 2i + 2 where its input is positive, otherwise to node 2i + 1.
        """
        nodes, options = 2**self.depth - 1, {"generator": generator, "device": x.device}
        tested = torch.randint(x.shape[2], (len(x), nodes), **options)
        leaves = _normal((len(x), nodes + 1), generator)
        node = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
        for _ in range(self.depth):
            node = 2 * node + 1 + (x.gather(2, tested.gather(1, node)[..., None])[..., 0] > 0)
        return leaves.gather(1, node - nodes)


class Sinusoid(Family, frozen=True):
    """y = a sin(f x + phase) of a single input x.

    Attributes:
        frequency: f is uniform between these two, in radians per unit of x; fixed where they are
            equal.
        amplitude: The law of a: rayleigh (with which, if phases cover the whole circle, the
            coefficients of sine and cosine are independent standard normals), normal, or always 1.
        phase: Uniform between these two, in radians; fixed where they are equal.
    """

    family: Literal["sinusoid"] = "sinusoid"
    frequency: Range = (3.0, 3.0)
    amplitude: Literal["rayleigh", "normal", "one"] = "rayleigh"
    phase: Range = (0.0, 2 * math.pi)

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "Sinusoid":
        for name in ("frequency", "phase"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} [{low}, {high}] descends: give the smaller one first")
        if self.frequency[0] <= 0:
            raise ValueError(f"frequency {self.frequency[0]} must lie above 0")
        return self

    def variance(self, d: int, law: InputLaw) -> float:
        """Variance of y: E[a^2] (1 - E[cos 2 phase] E[cos 2 f x]) / 2; x is symmetric at 0."""
        mean_square = {"rayleigh": 2.0, "normal": 1.0, "one": 1.0}[self.amplitude]
        frequency, phase = (
            torch.linspace(*ends, 2001).double() for ends in (self.frequency, self.phase)
        )
        cosine_of_x, cosine_of_phase = (
            float(torch.trapezoid(values, dx=1 / 2000))
            for values in (law.mean_cosine(2 * frequency), (2 * phase).cos())
        )
        return mean_square * (1 - cosine_of_x * cosine_of_phase) / 2

    def draw(
        self, x: Inputs, generator: Generator, faster: Float[Tensor, " prompt"] | None = None
    ) -> Values:
        """Values of one random function per prompt, its frequency multiplied by `faster`."""
        frequency, phase = (
            low + (high - low) * torch.rand(len(x), generator=generator, device=generator.device)
            for low, high in (self.frequency, self.phase)
        )
        frequency = frequency if faster is None else frequency * faster
        size = _normal((2, len(x)), generator)
        amplitude = {
            "rayleigh": size.norm(dim=0),
            "normal": size[0],
            "one": torch.ones_like(size[0]),
        }[self.amplitude]
        return amplitude[:, None] * torch.sin(frequency[:, None] * x[..., 0] + phase[:, None])

    def prior(self, d: int) -> Prior | None:
        """The law of sine and cosine coefficients; None unless they are normal at one frequency."""
        is_whole = math.isclose(self.phase[1] - self.phase[0], 2 * math.pi)
        if self.amplitude != "rayleigh" or self.frequency[0] != self.frequency[1] or not is_whole:
            return None
        return WavePrior(frequency=self.frequency[0])


FunctionClass = Annotated[
    Dense | Sparse | ReluNetwork | DecisionTree | Sinusoid, Field(discriminator="family")
]


def supports(
    counts: Int[Tensor, " prompt"], d: int, generator: Generator
) -> Bool[Tensor, "prompt d"]:
    """True at random places among d, at as many for each prompt as `counts` says."""
    order = torch.rand(len(counts), d, generator=generator, device=generator.device).argsort(1)
    return order < counts[:, None]


def names_of(classes: tuple[FunctionClass, ...]) -> tuple[str, ...]:
    """The names of the families, numbered where one comes twice."""
    names = [function_class.family.replace("_", " ") for function_class in classes]
    return tuple(
        name if names.count(name) == 1 else f"{name} {names[: index + 1].count(name)}"
        for index, name in enumerate(names)
    )


def _normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, device=generator.device)
