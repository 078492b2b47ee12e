"""A model's parameters at every kept step of its training, and how to look at them.

Analyses take `Checkpoints`. A run folder is of this class (`interp.Run`) and reads its files only
when asked; `Checkpoints.of` makes them of other people's weights.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hooks.circuits.pairs import Pairs
from hooks.examples import Examples
from hooks.facts import Facts
from hooks.live_model import LiveModel, check_live
from hooks.messages import nearest_step
from hooks.models import HookedModel, ModelConfig, Sizes, config_of, move, parameters_of, restore
from hooks.models.states import check_prefixes, check_tensor
from hooks.snapshot import Snapshot
from hooks.transformer.model import BUFFERS_OF_TRANSFORMER_LENS
from hooks.weights import weight

if TYPE_CHECKING:
    import pandas

EXAMPLES_COMPARED = 4  # examples on which a model is compared with one rebuilt from its config
PairMaker = Callable[[str | None, int | None, int | None, str | None], Pairs]
MAX_LOGIT_GAP = 1e-3  # between these two, as a share of the largest logit; rounding stays below


class Checkpoints:
    """A model's parameters at every kept step, with what is known of its training.

    A subclass provides the attributes and `recorded_metrics`; everything else follows from these.

    Attributes:
        steps: The kept steps, ascending.
        config: The model's config.
        sizes: The sizes its task gave it.
        parameters: A function from a step to its parameters by name; it may read them lazily.
        make_examples: A function from (split, count, seed) to examples. None stands for the task's
            own split, for all examples, and for the run's data seed.
        make_pairs: A function from (split, count, seed, change) to pairs of inputs; None as above,
            and for the task's first change.
        changes: What pairs of inputs can differ in, and whether the right answer stays; empty if
            the task gives no pairs.
        facts: What the task says of all its examples.
        saved_scalars: A function from an analysis' name to its saved summaries by step, which is an
            empty table if there are none.
        device: The device of the models of snapshots; None leaves them where they are restored.
    """

    steps: tuple[int, ...]
    config: ModelConfig
    sizes: Sizes
    parameters: Callable[[int], Mapping[str, Tensor]]
    make_examples: Callable[[str | None, int | None, int | None], Examples]
    make_pairs: PairMaker
    changes: Mapping[str, bool]
    facts: Facts
    saved_scalars: "Callable[[str], pandas.DataFrame]"
    device: torch.device | None = None

    @staticmethod
    def of(
        model: HookedModel,
        states: Mapping[int, Mapping[str, Tensor]],
        examples: Examples,
        *,
        metrics: "pandas.DataFrame | None" = None,
        pairs: Pairs | None = None,
    ) -> "GivenCheckpoints":
        """Checkpoints made of other people's weights.

        Args:
            model: A live model of the checkpoints' shape; its weights are not used.
            states: Parameters by name, by step. A whole `state_dict()` will do: the model's
                buffers in it are passed over.
            examples: The examples of all snapshots. If an analysis takes fewer, they are drawn at
                random, by seed 0 unless another is given.
            metrics: What was recorded in training (columns `step`, `<split>.<metric>`).
            pairs: Pairs of inputs for causal analyses (`Pairs.of`).

        Raises:
            ValueError: As `Snapshot.of`, or a model made of the config that was read off this one
                gives other logits with the same weights.
            TypeError: The model has no hook points.
        """
        check_live(model)
        cfg, config = model.cfg, config_of(model)
        sizes = Sizes(
            d_vocab=cfg.d_vocab,
            d_in=getattr(cfg, "d_in", None),
            d_vocab_out=cfg.d_vocab_out,
            n_ctx=cfg.n_ctx,
        )
        _check_rebuilt(LiveModel(model, config), sizes, examples.head(EXAMPLES_COMPARED))
        buffers = dict(torch.nn.Module.named_buffers(model))  # pyright: ignore[reportArgumentType]  # the protocol's models are modules
        return GivenCheckpoints(
            steps=tuple(sorted(states)),
            config=config,
            sizes=sizes,
            parameters=lambda step: without_buffers(states[step], buffers),
            make_examples=lambda split, count, seed: examples.drawn(count, seed or 0),
            make_pairs=_no_pairs if pairs is None else _given(pairs),
            changes={} if pairs is None else {pairs.change: pairs.control},
            facts=examples.facts,
            recorded=metrics,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extent})"

    @property
    def extent(self) -> str:
        """How many steps there are, the first and the last: `40 steps, 0 to 975`."""
        steps = self.steps
        if len(steps) < 2:
            return f"step {steps[0]}" if steps else "no steps"
        return f"{len(steps)} steps, {steps[0]} to {steps[-1]}"

    def series(self) -> "GivenCheckpoints":
        """These checkpoints as they are now: their steps are read now, their metrics at most once.

        Without this, a folder that training still writes to may have more steps a moment later.
        """
        return GivenCheckpoints(
            steps=self.steps,
            config=self.config,
            sizes=self.sizes,
            parameters=self.parameters,
            make_examples=self.make_examples,
            make_pairs=self.make_pairs,
            changes=self.changes,
            facts=self.facts,
            recorded=cache(self.recorded_metrics),  # read once, also for copies by `replace`
            saved_scalars=self.saved_scalars,
            device=self.device,
        )

    def recorded_metrics(self) -> "pandas.DataFrame | None":
        """Metrics by step (columns `step`, `<split>.<metric>`), or None if none were recorded.

        Raises:
            ValueError: The metrics cannot be read.
        """
        raise NotImplementedError

    @property
    def metrics(self) -> "pandas.DataFrame":
        """Metrics by step (columns `step`, `<split>.<metric>`).

        Raises:
            ValueError: No metrics were recorded, or they cannot be read.
        """
        metrics = self.recorded_metrics()
        if metrics is None:
            raise ValueError(
                "these checkpoints have no metrics: they were imported or made without training"
            )
        return metrics

    @property
    def has_metrics(self) -> bool:
        """Whether metrics were recorded.

        Raises:
            ValueError: The metrics cannot be read.
        """
        return self.recorded_metrics() is not None

    def examples(
        self, split: str | None = None, count: int | None = None, seed: int | None = None
    ) -> Examples:
        """Examples of a split; by default all of the task's own."""
        return self.make_examples(split, count, seed)

    def input_pairs(
        self,
        split: str | None = None,
        count: int | None = None,
        change: str | None = None,
        seed: int | None = None,
    ) -> Pairs:
        """Inputs of a split, each beside one that differs in one respect, for causal analyses.

        Args:
            split: By default the one that the task draws pairs of.
            count: How many pairs at most; by default all.
            change: One of `changes`, what the two inputs of a pair differ in; by default the first.
            seed: By default the run's data seed.

        Raises:
            ValueError: The task gives no pairs, or has no such split or change.
        """
        return self.make_pairs(split, count, seed, change or None)

    def weights(self, name: str) -> Tensor:
        """A parameter or view (`hooks.weights`) at every step, steps first.

        Raises:
            ValueError: No such weight, no step was kept, or a step's parameters do not fit.
        """
        return weight(self.config, _Stacked(self.parameters, self._some_steps()), name)

    def snapshot(
        self,
        step: int | None = None,
        split: str | Examples | None = None,
        count: int | None = None,
    ) -> Snapshot:
        """The model at a step; every call makes a new live model.

        Args:
            step: A kept step; by default the last.
            split: A split, by default the task's own; or the examples themselves.
            count: How many examples; by default all.

        Raises:
            ValueError: The step was not kept, its parameters are damaged or do not fit the config,
                or the task has no such split.
        """
        steps = self._some_steps()
        step = steps[-1] if step is None else step
        if step not in steps:
            raise ValueError(
                f"step {step} was not kept; there are {', '.join(map(str, steps))}"
                f"{nearest_step(step, steps)}"
            )
        examples = self._examples_of(split, count)
        parameters = self.parameters(step)
        try:
            model = restore(self.config, self.sizes, parameters)
        except (TypeError, ValueError) as error:
            raise type(error)(f"checkpoint of step {step}: {error}") from None
        if self.device is not None:
            move(model, self.device)
        return Snapshot(LiveModel(model, self.config), examples, step)

    def snapshots(self, split: str | Examples | None = None) -> Iterator[Snapshot]:
        """One snapshot for each step, made one at a time, on a split or on given examples."""
        examples = self._examples_of(split)
        return (self.snapshot(step, examples) for step in self.steps)

    def scalars(self, analysis: str) -> "pandas.DataFrame":
        """Saved summaries of an analysis by step.

        Raises:
            ValueError: Nothing of that analysis is saved.
        """
        frame = self.saved_scalars(analysis)
        if frame.empty:
            raise ValueError(f"no saved results of {analysis}: run `interp analyze` first")
        return frame

    def _examples_of(self, split: str | Examples | None, count: int | None = None) -> Examples:
        """A split, or given examples; at most `count` of them."""
        is_given = isinstance(split, Examples)
        return split.drawn(count, 0) if is_given else self.examples(split, count)

    def _some_steps(self) -> tuple[int, ...]:
        """The kept steps, of which there must be at least one."""
        steps = self.steps
        if not steps:
            raise ValueError("there are no steps: no checkpoint was kept")
        return steps


@dataclass(frozen=True, eq=False, repr=False)
class GivenCheckpoints(Checkpoints):
    """Checkpoints whose attributes are given one by one; `Checkpoints` explains them.

    Attributes:
        recorded: Metrics by step (columns `step`, `<split>.<metric>`), or None; or a function that
            reads them and is called once, when an analysis asks for metrics.
    """

    steps: tuple[int, ...]
    config: ModelConfig
    sizes: Sizes
    parameters: Callable[[int], Mapping[str, Tensor]]
    make_examples: Callable[[str | None, int | None, int | None], Examples]
    make_pairs: PairMaker = field(default=lambda split, count, seed, change: _no_pairs())
    changes: Mapping[str, bool] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    recorded: "pandas.DataFrame | Callable[[], pandas.DataFrame | None] | None" = None
    saved_scalars: "Callable[[str], pandas.DataFrame]" = lambda analysis: _nothing_saved()
    device: torch.device | None = None

    def series(self) -> "GivenCheckpoints":
        """These checkpoints, which do not change."""
        return self

    def recorded_metrics(self) -> "pandas.DataFrame | None":
        """Metrics by step, or None if none were recorded."""
        return self._metrics

    @cached_property
    def _metrics(self) -> "pandas.DataFrame | None":
        return self.recorded() if callable(self.recorded) else self.recorded


def _no_pairs(*_: Any) -> Pairs:
    raise ValueError(
        "these checkpoints come without pairs of inputs: make them of two examples by "
        "Pairs.of(clean, corrupted), and give them to Checkpoints.of or to the analysis"
    )


def _given(pairs: Pairs) -> PairMaker:
    """What gives some of a user's own pairs, in their order."""

    def make(split: str | None, count: int | None, seed: int | None, change: str | None) -> Pairs:
        if split is not None:
            raise ValueError(f"split '{split}': the pairs that were given are of no split")
        if change not in (None, pairs.change):
            raise ValueError(f"change '{change}': the pairs here have '{pairs.change}' changed")
        return pairs.drawn(count, seed or 0)

    return make


def _nothing_saved() -> "pandas.DataFrame":
    import pandas

    return pandas.DataFrame()


Series = Checkpoints  # its name in earlier versions


def without_buffers(
    parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """A whole `state_dict()` without the buffers of its model, of here or of TransformerLens."""
    left_out = {
        name
        for name in parameters
        if name in buffers or name.split(".")[-1] in BUFFERS_OF_TRANSFORMER_LENS
    }
    if not left_out:
        return parameters  # a file's tensors stay unread
    return {name: value for name, value in parameters.items() if name not in left_out}


def _check_rebuilt(live: LiveModel, sizes: Sizes, examples: Examples) -> None:
    """Refuses a model that does not compute what its config says, such as a subclass."""
    parameters = parameters_of(live.model)
    if any(value.is_meta for value in parameters.values()):
        return  # there is nothing to compare, and the config has been checked
    rebuilt = LiveModel(restore(live.config, sizes, parameters), live.config)
    logits, rebuilt_logits = (Snapshot(model, examples).logits().cpu() for model in (live, rebuilt))
    largest = float(logits.nan_to_num(0, 0, 0).abs().max()) if logits.numel() else 0.0
    if not torch.allclose(
        logits, rebuilt_logits, rtol=0, atol=MAX_LOGIT_GAP * largest, equal_nan=True
    ):
        raise ValueError(
            f"a model made of this one's config and weights gives logits that differ by "
            f"{float((logits - rebuilt_logits).abs().max()):.3g}: its code does something that its "
            "config does not say; use Snapshot.of for each of its checkpoints"
        )


def _check_of_step(step: int, name: str, value: Any) -> None:
    try:
        check_tensor(name, value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"checkpoint of step {step}: {error}") from None


class _Stacked(Mapping[str, Tensor]):
    """Parameters by name, each with the steps along its first axis; read one name at a time."""

    def __init__(
        self, parameters: Callable[[int], Mapping[str, Tensor]], steps: tuple[int, ...]
    ) -> None:
        self._parameters, self._steps = parameters, steps
        self._first = parameters(steps[0])
        check_prefixes(self._first)

    def __getitem__(self, name: str) -> Tensor:
        steps, first = self._steps, self._first[name]
        _check_of_step(steps[0], name, first)
        stacked = first.new_empty(len(steps), *first.shape)
        for place, step in zip(stacked, steps, strict=True):
            value = self._parameters(step).get(name)
            if value is not None:
                _check_of_step(step, name, value)
            if value is None or value.shape != first.shape:
                came = "is missing" if value is None else f"has shape {list(value.shape)}"
                raise ValueError(
                    f"checkpoint of step {step}: parameter {name} {came}, at the first step it "
                    f"has shape {list(first.shape)}; is this the checkpoint of another experiment?"
                )
            place.copy_(value)
        return stacked

    def __contains__(self, name: object) -> bool:
        return name in self._first  # the mixin's would read every step to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)
