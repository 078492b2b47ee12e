"""The simple function task: one linear function a prompt, and its inputs as what a probe looks for.

As dense linear functions of `function_classes`, with values w x left as they come, and with the
last input of each prompt as labels `x_0`, `x_1`, ..: how well they can be read off the
representation of that input alone, without its context, is the weights component. It is an error,
so that lower is better.

Source: Fu et al. 2024 (arXiv:2309.06054), the simple function task, as far as it is known to us: w
and x Gaussian, y = w x, the dimension swept to beyond 30. Model, steps and the probe's layer are
not; 10 to 50 numbers, prompts of 41 pairs and no curriculum, which would hide the plateau, are our
choice.
"""

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import field_validator
from torch import Generator, Tensor

from hooks import Examples, Facts, FunctionFacts, LinearPrior, PromptFacts, Sizes
from interp.randomness import generator
from interp.tasks.base import Batch
from interp.tasks.factors.extra_loss import (
    SIDE,
    ExtraLoss,
    at_queries,
    mean_at_queries,
    square_losses,
)
from interp.tasks.fields import Count, Scale, TwoOrMore
from interp.tasks.functions.classes import Dense, InputLaw
from interp.tasks.functions.regression import RegressionTask, prompts


class SimpleFunction(RegressionTask):
    """y = w x, with w and x drawn anew for every prompt.

    Attributes:
        d: Numbers of an input.
        pairs: Pairs of a prompt.
        unit_variance: Whether w is divided by sqrt(d), so that y has variance 1.
        test_prompts: Prompts of the split `test`.
        extra_loss: `weights` trains spare outputs to give each input back.
        extra_weight: What that loss, squared error, is multiplied by.
    """

    splits: ClassVar = ("test",)
    evaluated: ClassVar = ("test",)

    name: Literal["simple_function"] = "simple_function"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    d: Count = 20
    pairs: TwoOrMore = 41
    unit_variance: bool = False
    test_prompts: Count = 1280
    extra_loss: ExtraLoss | None = None
    extra_weight: Scale = 0.1

    @field_validator("extra_loss")
    @classmethod
    def _has_one_question(cls, value: str | None) -> str | None:
        if value == "context":
            raise ValueError('all prompts ask the same; take "weights"')
        return value

    @property
    def sizes(self) -> Sizes:
        """Numbers in, one number out and spare ones, two positions a pair."""
        spare = self.d if self.extra_loss else 0
        return Sizes(d_in=self.d, d_vocab_out=1 + spare, n_ctx=2 * self.pairs)

    @property
    def facts(self) -> Facts:
        """`PromptFacts`, whose factors are the numbers of an input, and `FunctionFacts`."""
        prior = LinearPrior(nnz=self.d, scale=self.d**-0.5 if self.unit_variance else 1.0)
        factors = tuple(f"x_{i}" for i in range(self.d))
        groups = (PromptFacts(self.pairs, factors=factors), FunctionFacts(self.d, prior=(prior,)))
        return Facts(outputs=1, groups=groups)

    @property
    def train_count(self) -> None:
        """None: every batch is drawn anew."""
        return None

    def data(self, count: int | None, generator: Generator) -> Batch:
        """Prompts, drawn on the generator's device.

        Raises:
            ValueError: No count is given, and there is no whole training set.
        """
        if count is None:
            raise ValueError("count: simple_function draws without end; say how many prompts")
        x = InputLaw().draw((count, self.pairs, self.d), generator)
        y = Dense().draw(x, generator)
        batch = prompts(x, y / self.d**0.5 if self.unit_variance else y)
        return batch | ({SIDE: at_queries(x)} if self.extra_loss else {})

    def loss(self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch) -> Tensor:
        """Mean squared error of the answers, and in training that of the spare outputs. Pure."""
        found = super().loss(logits[..., :1], batch)
        if SIDE not in batch:
            return found
        side = mean_at_queries(square_losses(logits[..., 1:], batch[SIDE]), batch)
        return found + self.extra_weight * side

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Errors of the answers alone, spare outputs left out."""
        return super().grade(logits[..., :1], batch)

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Prompts with the labels `x_0` .. of their last input."""
        if split not in self.splits:
            raise ValueError(f"split '{split}' is none of {', '.join(self.splits)}")
        batch = self.data(self.test_prompts, generator(seed, 1, 1, 0))
        last = batch["inputs"][:, -2]
        found = Examples(
            targets=batch["targets"],
            scored=batch["scored"],
            inputs=batch["inputs"],
            labels={f"x_{i}": last[:, i] for i in range(self.d)},
            facts=self.facts,
        )
        return found if count is None else found.head(count)
