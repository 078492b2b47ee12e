"""A whole run as analyses see it: a frozen value that reads on demand."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from hooks.examples import Examples, Facts
from hooks.live import Live, check_live
from hooks.models import HookedModel, ModelConfig, Sizes, config_of, move, parameters_of, restore
from hooks.models.states import check_prefixes, check_tensor
from hooks.snapshot import Snapshot
from hooks.weights import weight

FEW = 4  # examples on which a live model and the one rebuilt from its config are compared
SAME = 1e-3  # of the largest logit; rounding on any device stays below


@dataclass(frozen=True, eq=False)
class Series:
    """A model's parameters at every kept step, with what is known of its training.

    Attributes:
        steps: The kept steps, ascending.
        config: The model's config.
        sizes: The sizes its task gave it.
        parameters: From a step to its parameters by name; may read lazily.
        make_examples: From (split, count, seed) to examples. None stands for the task's own
            split, for all examples, and for the run's data seed.
        facts: What the task tells of all its examples.
        recorded: Metrics by step (columns `step`, `<split>.<metric>`), or None; or what reads them,
            which is called once, when an analysis asks for metrics.
        saved_scalars: From an analysis' name to its saved summaries by step.
        device: Where the models of snapshots run; as they are restored where left out.
    """

    steps: tuple[int, ...]
    config: ModelConfig
    sizes: Sizes
    parameters: Callable[[int], Mapping[str, Tensor]] = field(repr=False)
    make_examples: Callable[[str | None, int | None, int | None], Examples] = field(repr=False)
    facts: Facts = field(default_factory=Facts)
    recorded: pd.DataFrame | Callable[[], pd.DataFrame | None] | None = field(
        default=None, repr=False
    )
    saved_scalars: Callable[[str], pd.DataFrame] | None = field(default=None, repr=False)
    device: torch.device | None = None

    @classmethod
    def of(
        cls, model: HookedModel, checkpoints: Mapping[int, Mapping[str, Tensor]], examples: Examples
    ) -> "Series":
        """A series from other people's checkpoints.

        Args:
            model: A live model of the checkpoints' shape; its weights are not used.
            checkpoints: Parameters by name, by step. A whole `state_dict()` will do: the model's
                buffers in it are passed over.
            examples: What snapshots of this series are looked at with. Where an analysis takes
                fewer, they are drawn at random, by seed 0 unless another is given.

        Raises:
            ValueError: As `Snapshot.of`, or a model made of the config that was read off this one
                gives other logits with the same weights.
            TypeError: It is no model with hook points.
        """
        check_live(model)
        cfg, config = model.cfg, config_of(model)
        sizes = Sizes(
            d_vocab=cfg.d_vocab,
            d_in=getattr(cfg, "d_in", None),
            d_vocab_out=cfg.d_vocab_out,
            n_ctx=cfg.n_ctx,
        )
        _check_rebuilt(Live(model, config), sizes, examples.head(FEW))
        buffers = dict(torch.nn.Module.named_buffers(model))  # pyright: ignore[reportArgumentType]  # the protocol's models are modules
        return cls(
            steps=tuple(sorted(checkpoints)),
            config=config,
            sizes=sizes,
            parameters=lambda step: _without(checkpoints[step], buffers),
            make_examples=lambda split, count, seed: (
                examples if count is None else examples.drawn(count, seed or 0)
            ),
            facts=examples.facts,
        )

    @property
    def metrics(self) -> pd.DataFrame:
        """Metrics by step.

        Raises:
            ValueError: None were recorded, or they cannot be read.
        """
        if self._metrics is None:
            raise ValueError("this series has no metrics: it was imported or made without training")
        return self._metrics

    @property
    def has_metrics(self) -> bool:
        """Whether metrics were recorded.

        Raises:
            ValueError: They cannot be read.
        """
        return self._metrics is not None

    @cached_property
    def _metrics(self) -> pd.DataFrame | None:
        return self.recorded() if callable(self.recorded) else self.recorded

    def examples(
        self, split: str | None = None, count: int | None = None, seed: int | None = None
    ) -> Examples:
        """Examples of a split; by default all of the task's own."""
        return self.make_examples(split, count, seed)

    def weights(self, name: str) -> Tensor:
        """A parameter or view at every step, steps first.

        Raises:
            ValueError: No such weight, no step was kept, or a step's parameters do not fit.
        """
        if not self.steps:
            raise ValueError("this series has no steps: no checkpoint was kept")
        return weight(self.config, _Stacked(self), name)

    def snapshot(self, step: int, examples: Examples) -> Snapshot:
        """The model at a step, with a live model of its own.

        Raises:
            ValueError: The step was not kept, or its parameters do not fit the config.
        """
        if step not in self.steps:
            kept = ", ".join(map(str, self.steps))
            raise ValueError(f"step {step} was not kept; there are {kept}")
        parameters = self.parameters(step)
        try:
            model = restore(self.config, self.sizes, parameters)
        except (TypeError, ValueError) as error:
            raise type(error)(f"checkpoint of step {step}: {error}") from None
        if self.device is not None:
            move(model, self.device)
        return Snapshot(Live(model, self.config), examples, step)

    def snapshots(self, examples: Examples | str | None = None) -> Iterator[Snapshot]:
        """One snapshot a step, one at a time, on a split or on given examples."""
        if not isinstance(examples, Examples):
            examples = self.examples(examples)
        return (self.snapshot(step, examples) for step in self.steps)

    def scalars(self, analysis: str) -> pd.DataFrame:
        """Saved summaries of an analysis by step.

        Raises:
            ValueError: Nothing of that analysis is saved.
        """
        frame = None if self.saved_scalars is None else self.saved_scalars(analysis)
        if frame is None or frame.empty:
            raise ValueError(f"no saved results of {analysis}: run `interp analyze` first")
        return frame


def _without(
    parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    if not parameters.keys() & buffers.keys():
        return parameters  # a file's tensors stay unread
    return {name: value for name, value in parameters.items() if name not in buffers}


def _check_rebuilt(live: Live, sizes: Sizes, examples: Examples) -> None:
    """Refuses a model that computes something else than its config says, such as a subclass."""
    parameters = parameters_of(live.model)
    if any(value.is_meta for value in parameters.values()):
        return  # nothing to compare; its config has been checked
    again = Live(restore(live.config, sizes, parameters), live.config)
    own, rebuilt = (Snapshot(each, examples).logits().cpu() for each in (live, again))
    if not torch.allclose(own, rebuilt, rtol=0, atol=SAME * _largest(own), equal_nan=True):
        raise ValueError(
            f"a model made of this one's config and weights gives logits that differ by "
            f"{float((own - rebuilt).abs().max()):.3g}: its code does something that its config "
            "does not say; use Snapshot.of for each of its checkpoints"
        )


def _largest(logits: Tensor) -> float:
    return float(logits.nan_to_num(0, 0, 0).abs().max()) if logits.numel() else 0.0


def _check_of_step(step: int, name: str, value: Any) -> None:
    try:
        check_tensor(name, value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"checkpoint of step {step}: {error}") from None


class _Stacked(Mapping[str, Tensor]):
    """Parameters by name with the steps stacked first, read one name at a time."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._first = series.parameters(series.steps[0])
        check_prefixes(self._first)

    def __getitem__(self, name: str) -> Tensor:
        steps, first = self._series.steps, self._first[name]
        _check_of_step(steps[0], name, first)
        stacked = first.new_empty(len(steps), *first.shape)
        for place, step in zip(stacked, steps, strict=True):
            value = self._series.parameters(step).get(name)
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
