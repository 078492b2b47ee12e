"""Facts of a task (`hooks.facts`) as a table of its TOML file, and back."""

import json
import math
import warnings
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from hooks import (
    Facts,
    FunctionFacts,
    InputFacts,
    MixtureFacts,
    ModularFacts,
    PromptFacts,
    SentenceFacts,
)
from interp.tasks.fields import STRICT

# The kinds that a file can hold, by the name of their table.
KINDS: dict[str, type[Any]] = {
    "modular": ModularFacts,
    "inputs": InputFacts,
    "prompts": PromptFacts,
    "functions": FunctionFacts,
    "mixture": MixtureFacts,
    "sentences": SentenceFacts,
}


class StatedFacts(BaseModel):
    """What a file states of all examples of a task; `hooks.facts` explains each table's keys.

    Attributes:
        chance: The best accuracy without looking; left out, what the examples say.
        outputs: How many of a model's outputs answer, the first ones; left out, all.
        vocabulary: What each token id stands for.
        modular: Facts of arithmetic modulo p.
        inputs: What the inputs of a network are.
        prompts: Facts of prompts with several answers.
        functions: Facts of functions learnt in context.
        mixture: Facts of a mixture of function classes.
        sentences: What the labels of sentences stand for.
    """

    model_config = STRICT

    chance: float | None = Field(default=None, ge=0, le=1)
    outputs: int | None = Field(default=None, ge=1)
    vocabulary: tuple[str, ...] = ()
    modular: ModularFacts | None = None
    inputs: InputFacts | None = None
    prompts: PromptFacts | None = None
    functions: FunctionFacts | None = None
    mixture: MixtureFacts | None = None
    sentences: SentenceFacts | None = None

    def facts(self, chance: float) -> Facts:
        """The facts that analyses take.

        Args:
            chance: The best accuracy without looking, where none is stated; NaN if it is unknown.
        """
        groups = (getattr(self, name) for name in KINDS)
        return Facts(
            chance=chance if self.chance is None else self.chance,
            outputs=self.outputs,
            vocabulary=self.vocabulary,
            groups=tuple(group for group in groups if group is not None),
        )


def stated(facts: Facts) -> StatedFacts:
    """Facts as a table; a warning names those of kinds that a file cannot hold, which are lost."""
    names = {kind: name for name, kind in KINDS.items()}
    lost = [type(group).__name__ for group in facts.groups if type(group) not in names]
    if lost:
        warnings.warn(
            f"facts of the kind {', '.join(lost)} are left out, since a run folder cannot hold "
            f"them: analyses that need them do not apply to the run; it holds "
            f"{', '.join(kind.__name__ for kind in names)}",
            stacklevel=4,
        )
    groups = {names[type(group)]: group for group in facts.groups if type(group) in names}
    return StatedFacts(
        chance=None if math.isnan(facts.chance) else facts.chance,
        outputs=facts.outputs,
        vocabulary=facts.vocabulary,
        **groups,
    )


def _read(table: Any) -> Any:
    """A table with lists for tuples, as TOML has them."""
    if not isinstance(table, Mapping):
        return table
    try:
        return StatedFacts.model_validate_json(json.dumps(table))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{place}: {message}; the tables are {', '.join(KINDS)}") from None


StatedFactsTable = Annotated[StatedFacts, BeforeValidator(_read)]
