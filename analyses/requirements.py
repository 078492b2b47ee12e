"""What must be there for an analysis to be measured, and which options does it take?

An analysis states its needs; a snapshot that lacks some of them is refused with words that say what
is missing and what to do about it.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from pydantic import ConfigDict, TypeAdapter, ValidationError

from hooks import (
    Checkpoints,
    Examples,
    Facts,
    InputFacts,
    ModelConfig,
    ModularFacts,
    Pairs,
    Snapshot,
)
from hooks.circuits.graph import why_no_graph

QUERIES = "blocks.0.attn.W_Q"  # a model with attention has them
# Needs that one sentence explains for every task and model.
WORDS = {
    "tokens": "tokens, and this task has real-valued inputs",
    "classes": "classes as targets, and this task has real numbers",
    "attention": "attention, and this model has none",
    "shares": "attention patterns that are shares of 1: set model.pattern_coeff = 1",
    "trees": "gold trees, and this task gives none",
    "sum_of_parts": (
        "a residual stream that is the sum of what parts write, and this one is normalised after "
        "each addition"
    ),
    "linear_readout": "neurons that write to the logits with no layer norm between",
    "asked": "minutes of one core",
    "any_label": "labels of one value an example, and this task gives none",
}
# How to get facts that a task leaves empty.
REMEDIES = {
    (ModularFacts, "wave"): (
        "an operation that waves compute: set task.operation to add or subtract, or to multiply "
        "with an odd prime p"
    ),
    (ModularFacts, "ordered_pairs"): "all ordered pairs: set task.ordered = true",
}
OPERANDS = "tokens that are all operands: set task.equals = false"
NEURON_WEIGHTS = ("neuron_in", "neuron_out")
WITH_MLP = "neurons: set model.attn_only = false"
# Parameters of `measure` that are no options.
CHANGE = {"change": ""}  # the option of classes that take pairs, and its default
MEASURE_ARGUMENTS = ("snapshot", "series", "table", "axes", "reference", "pairs", "control")


@runtime_checkable
class Measurable(Protocol):
    """What needs are looked up in: a snapshot, or the same without its model."""

    @property
    def examples(self) -> Examples:
        """What a model is run on."""
        ...

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        ...

    def has_weights(self, name: str) -> bool:
        """Whether the model has a parameter or view."""
        ...

    def has_hook_point(self, name: str) -> bool:
        """Whether the model has a hook point."""
        ...


@dataclass(frozen=True)
class Needs:
    """What must be there for an analysis to be measured.

    Attributes:
        tokens: Whether examples must be tokens, rather than real-valued inputs.
        classes: Whether targets must be classes, rather than real numbers.
        attention: Whether the model must have attention.
        shares: Whether each row of an attention pattern must sum to 1, as it does unless it is
            blended with a constant.
        sum_of_parts: Whether the residual stream must be the sum of what parts write.
        linear_readout: Whether the last neurons must write to the logits, with no norm between.
        trees: Whether the task must give gold trees.
        pairs: Whether the task must give pairs of inputs. A result of one snapshot gets them as
            `pairs` and, where the task gives control pairs too, as `control`; and it has the option
            `change`, what the two inputs of a pair differ in, the task's first by default.
        edges: Whether the model must have a graph of edges (`hooks.circuits.graph`).
        any_label: Whether there must be a label with one value an example, whatever its name.
        asked: Whether it must be asked for, since it takes minutes: for `by_default`, which this
            always fails.
        layers: The fewest layers that the model may have.
        most_layers: The most; 0 for any number.
        facts: Kinds of facts that the task must provide, and for each kind the fields that must not
            be empty or False.
        labels: Names of labels.
        weights: Names of parameters and views.
        any_weights: Names of which the model must have one at least.
        any_hook_points: Names of hook points of which the model must have one at least.
        metrics: Columns of the run's metrics.
        columns: Columns of the table of a sweep: `<Analysis>.<scalar>`, `metrics.<column>`,
            `experiment.<field>`.
        column_options: Options of `measure` that name another such column.
    """

    tokens: bool = False
    classes: bool = False
    attention: bool = False
    shares: bool = False
    sum_of_parts: bool = False
    linear_readout: bool = False
    trees: bool = False
    pairs: bool = False
    edges: bool = False
    any_label: bool = False
    asked: bool = False
    layers: int = 0
    most_layers: int = 0
    facts: Mapping[type, tuple[str, ...]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    any_weights: tuple[str, ...] = ()
    any_hook_points: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    column_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind, names in self.facts.items():
            known = [fact.name for fact in fields(kind)]
            for name in names:
                if name not in known:
                    raise ValueError(f"{kind.__name__} has no '{name}'; it has: {', '.join(known)}")

    @property
    def are_of_metrics(self) -> bool:
        """Whether nothing is needed but metrics, so that no snapshot can lack anything."""
        return replace(self, metrics=()) == Needs()

    def columns_with(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Columns of a sweep's table that are needed, given all options of `measure`."""
        return (*self.columns, *(str(options[name]) for name in self.column_options))

    def missing(self, snapshot: Measurable) -> list[str]:
        """What a snapshot lacks, in words that may follow `needs` and say what to do about it.

        Needed metrics and columns are not looked at: the run and the sweep have them.
        """
        examples, config = snapshot.examples, snapshot.config
        has = {
            "tokens": examples.tokens is not None,
            "classes": not examples.targets.is_floating_point(),
            "attention": snapshot.has_weights(QUERIES),
            "shares": getattr(config, "pattern_coeff", 1) == 1,
            "sum_of_parts": config.kind != "post_norm",
            "linear_readout": has_linear_readout(snapshot),
            "trees": examples.trees is not None,
            "asked": False,
            "any_label": any(values.ndim == 1 for values in examples.labels.values()),
        }
        lacking = [WORDS[name] for name in has if getattr(self, name) and not has[name]]
        if self.edges and (why := why_no_graph(config)):
            lacking.append(f"a graph of edges: {why}")
        if config.n_layers < self.layers:
            remedy = ": set model.n_layers" if "n_layers" in type(config).model_fields else ""
            lacking.append(
                f"at least {self.layers} layers, and this model has {config.n_layers}{remedy}"
            )
        if self.most_layers and config.n_layers > self.most_layers:
            lacking.append(
                f"at most {self.most_layers} layers, and this model has {config.n_layers}"
            )
        lacking += self._missing_facts(examples.facts)
        labels = [name for name in self.labels if name not in examples.labels]
        if labels:
            lacking.append(
                f"a task with the labels {', '.join(labels)}, and this one has "
                f"{', '.join(sorted(examples.labels)) or 'none'}"
            )
        return [*lacking, *self._missing_weights(snapshot)]

    def _missing_facts(self, facts: Facts) -> Iterator[str]:
        absent = [kind for kind in self.facts if facts.get(kind) is None]
        if InputFacts in absent and facts.get(ModularFacts):
            absent.remove(InputFacts)
            yield OPERANDS
        if absent:
            names = ", ".join(kind.__name__ for kind in absent)
            yield f"a task with the facts {names}, and this one has {facts.kinds}"
        wanted = [(kind, name) for kind, names in self.facts.items() for name in names]
        for kind, name in wanted:
            if not getattr(facts.get(kind), name, True):
                empty = f"a task that tells {kind.__name__}.{name}, and this one does not"
                yield REMEDIES.get((kind, name), empty)

    def _missing_weights(self, snapshot: Measurable) -> Iterator[str]:
        absent = [name for name in self.weights if not snapshot.has_weights(name)]
        if getattr(snapshot.config, "attn_only", False) and {*absent} & {*NEURON_WEIGHTS}:
            absent = [name for name in absent if name not in NEURON_WEIGHTS]
            yield WITH_MLP
        if absent:
            yield f"a model with the weights {', '.join(absent)}"
        if self.any_weights and not any(map(snapshot.has_weights, self.any_weights)):
            yield f"a model with one of the weights {', '.join(self.any_weights)}"
        names = self.any_hook_points
        if names and not any(map(snapshot.has_hook_point, names)):
            yield f"a model with one of the hook points {', '.join(names)}"


def has_linear_readout(snapshot: Measurable) -> bool:
    """Whether what neurons of the last layer write is read by the logits as it is."""
    return snapshot.has_weights("neuron_out") and snapshot.config.normalization_type is None


def check_needs(cls: type[Any], snapshot: Snapshot) -> None:
    """Refuses a snapshot that lacks something an analysis needs.

    Args:
        cls: A class of results.
        snapshot: What may lack something.

    Raises:
        ValueError: Something is missing; the message says what, and what to do about it.
    """
    lacking = cls.needs.missing(snapshot)
    if lacking:
        raise ValueError(f"{cls.__name__} needs {'; '.join(lacking)}")


def needed_metrics(
    cls: type[Any], series: Checkpoints
) -> tuple[Int[np.ndarray, " step"], Float[np.ndarray, "column step"]]:
    """Steps and values of the metrics that an analysis needs, in the order of its needs.

    Raises:
        ValueError: The run recorded no metrics, or not all of these.
    """
    metrics, columns = series.metrics, list(cls.needs.metrics)
    absent = [column for column in columns if column not in metrics]
    if absent:
        raise ValueError(f"{cls.__name__} needs {absent[0]}; metrics has {list(metrics)}")
    return metrics["step"].to_numpy(dtype=np.int64), metrics[columns].to_numpy(dtype=np.float64).T


def takes_pairs(cls: type[Any]) -> bool:
    """Whether a class' `measure` gets pairs of inputs, drawn by the option `change`."""
    return hasattr(cls, "n_pairs")


def pairs_for(
    cls: type[Any], changes: Mapping[str, bool], draw: Callable[[str], Pairs], change: str
) -> dict[str, Pairs | None]:
    """The arguments `pairs` and `control` of a class' `measure`; none for one without them.

    Args:
        cls: A class of results.
        changes: What the pairs of a task can differ in, and whether they are control pairs.
        draw: Draws pairs that differ in a change.
        change: That of the pairs; empty for the first.
    """
    if not takes_pairs(cls):
        return {}
    pairs, control = draw(change), None
    of_controls = [name for name, is_control in changes.items() if is_control]
    if of_controls:
        with suppress(ValueError):  # no two inputs differ so: there is no control
            control = draw(of_controls[0])
    return {"pairs": pairs, "control": control}


def option_defaults(cls: type[Any]) -> dict[str, Any]:
    """The options that a class' `measure` takes, with their defaults."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(cls.measure).parameters.items()
        if name not in MEASURE_ARGUMENTS
    } | dict(CHANGE if takes_pairs(cls) else {})


def check_options(cls: type[Any], options: Mapping[str, Any]) -> None:
    """Refuses options that an analysis does not take, and values of another type.

    Raises:
        ValueError: The message names the option and what is wanted.
    """
    parameters, known = inspect.signature(cls.measure).parameters, option_defaults(cls)
    for name, value in options.items():
        if name not in known:
            raise ValueError(
                f"analyses.{cls.__name__}: no option '{name}'; it takes: "
                f"{', '.join(known) or 'none'}"
            )
        annotation = parameters[name].annotation if name in parameters else str
        option_type = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
        try:
            # As JSON, a list stands for a tuple, while a string stands for no number.
            option_type.validate_json(json.dumps(value, default=str), strict=True)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise ValueError(f"analyses.{cls.__name__}.{name}: {message} (got {value!r})") from None
