"""A model at one step of its training, and the examples to look at it with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.edit import Edit, check_names, edited, replaced
from hooks.examples import Examples
from hooks.models import HookedModel, ModelConfig, agreed_config, parameters_of
from hooks.weights import has_weight, weight

TOKENS_PER_BATCH = 8192  # larger batches leave the processor's cache and gain nothing


@dataclass(eq=False)
class Live:
    """A live model, its config, and the snapshot that is running it now."""

    model: HookedModel
    config: ModelConfig
    user: "Snapshot | None" = None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A model at a step, and the examples it is looked at with.

    Compared by identity. Logits and activations are computed when first asked for, in batches,
    without gradients, and then remembered.

    Attributes:
        live: The model; only `running` hands it out.
        examples: What it is run on; for a model of one position the answers are cut to the last.
        step: Optimiser updates it has had; None where that is not known.
        edits: Changes applied whenever it runs, and seen by every weight read from it.
        memory_limit: Bytes that one call of `cache` may hold.
    """

    live: Live = field(repr=False)
    examples: Examples = field(repr=False)
    step: int | None = None
    edits: tuple[Edit, ...] = field(default=(), repr=False)
    memory_limit: int = 2 * 1024**3
    _memory: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        n_answers = getattr(self.live.model.cfg, "n_answers", None)
        if n_answers is not None:
            object.__setattr__(self, "examples", self.examples.answered(n_answers))

    @classmethod
    def of(
        cls,
        model: HookedModel,
        examples: Examples,
        *,
        step: int | None = None,
        config: ModelConfig | None = None,
    ) -> "Snapshot":
        """A snapshot of any HookedTransformer. The model is held, not copied.

        Args:
            model: A live model.
            examples: What it is run on.
            step: Updates it has had. Only at step 0 is a model its own untrained control.
            config: Its config; read off the model where left out.
        """
        return cls(Live(model, agreed_config(model, config)), examples, step)

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        return self.live.config

    @property
    def at_step(self) -> str:
        """` at step 300` for a message; nothing where the step is not known."""
        return "" if self.step is None else f" at step {self.step}"

    def edited(self, *edits: Edit) -> "Snapshot":
        """The same model and examples with further edits, and nothing remembered."""
        return replace(self, edits=(*self.edits, *edits), _memory={})

    def on(self, examples: Examples) -> "Snapshot":
        """The same model and edits on other examples, and nothing remembered."""
        return replace(self, examples=examples, _memory={})

    @contextmanager
    def running(self) -> Iterator[HookedModel]:
        """The live model in evaluation mode with this snapshot's edits, all restored on leaving.

        Gradients are allowed. Inside, other snapshots of the same model are refused, since they
        would see these edits.

        Raises:
            ValueError: Another snapshot of the same model is running, or an edit does not fit.
        """
        live = self.live
        if live.user is self:
            yield live.model
            return
        self._check_free()
        was_training = live.model.training
        live.model.train(False)
        live.user = self
        try:
            with edited(live.model, self.edits):
                yield live.model
        finally:
            live.user = None
            live.model.train(was_training)

    def logits(self) -> Float[Tensor, "batch pos d_vocab_out"]:
        """Logits at every position, of those `outputs` alone that answer where a task has others.

        A task with spare outputs says how many answer in `constants["outputs"]`.
        """
        if "logits" not in self._memory:
            self._check_edits()
            with self.running() as model, torch.no_grad():
                every = torch.cat([model(batch) for batch in self._batches()])
            self._memory["logits"] = every[..., : self.examples.constants.get("outputs")]
        return self._memory["logits"]

    def cache(self, names: str | Sequence[str]) -> Mapping[str, Tensor]:
        """Activations by hook name, over all examples; a single name gives a mapping as well.

        Raises:
            ValueError: A hook point does not exist or does not fire in this model, or the
                activations would take more than `memory_limit` bytes.
        """
        names = [names] if isinstance(names, str) else names
        check_names(names, self.live.model.hook_dict, "hook point")
        missing = [name for name in names if name not in self._memory]
        if missing:
            self._check_edits()
            self._check_memory(missing)
            parts = [self._run(batch, missing) for batch in self._batches()]
            self._memory.update(
                {name: torch.cat([part[name] for part in parts]) for name in missing}
            )
        return {name: self._memory[name] for name in names}

    def parameters(self) -> dict[str, Tensor]:
        """Parameters by name, read through the edits; they share memory with the model.

        Raises:
            ValueError: Another snapshot of the same model is running.
        """
        self._check_free()
        parameters = parameters_of(self.live.model)
        if self.live.user is self:
            return parameters  # the edits are applied already
        for edit in self.edits:
            check_names(edit.parameters, parameters, "parameter")
            parameters |= replaced(parameters, edit)
        return parameters

    def weights(self, name: str) -> Tensor:
        """A copy of a parameter or a view (`hooks.weights`), read through the edits."""
        return weight(self.config, self.parameters(), name).clone()

    def has_weights(self, name: str) -> bool:
        """Whether this kind of model answers to a parameter's or view's name."""
        return has_weight(self.config, self.parameters(), name)

    def _check_free(self) -> None:
        if self.live.user not in (None, self):
            raise ValueError(
                "another snapshot of this model is running: leave its `with` before using this one"
            )

    def _batches(self) -> Iterator[Tensor]:
        inputs = self.examples.model_inputs
        n_ctx = self.live.model.cfg.n_ctx
        if inputs.shape[1] > n_ctx:
            raise ValueError(
                f"examples have {inputs.shape[1]} positions, the model's n_ctx is {n_ctx}: "
                "shorten them, or train a model with a larger n_ctx"
            )
        device = next(iter(parameters_of(self.live.model).values())).device
        size = max(1, TOKENS_PER_BATCH // inputs.shape[1])
        return (batch.to(device) for batch in inputs.split(size))

    def _run(self, batch: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}

        def keep(activation: Tensor, hook: Any) -> None:
            found[hook.name] = activation.detach()

        hooks = [(name, keep) for name in names]
        with self.running() as model, torch.no_grad(), model.hooks(fwd_hooks=hooks):
            model(batch)
        silent = [name for name in names if name not in found]
        if silent:
            raise ValueError(f"hook point {silent[0]} exists but does not fire in this model")
        return found

    def _check_edits(self) -> None:
        """Refuses edits at hook points that never fire, since those would do nothing unsaid."""
        hooked = sorted({name for edit in self.edits for name in edit.hooks})
        if hooked:
            self._run(next(self._batches())[:1], hooked)

    def _check_memory(self, names: Sequence[str]) -> None:
        one = next(self._batches())[:1]
        needed = len(self.examples) * sum(
            tensor.nbytes for tensor in self._run(one, names).values()
        )
        if needed > self.memory_limit:
            raise ValueError(
                f"caching {len(names)} activations of {len(self.examples)} examples takes "
                f"{needed / 1e6:.3g} MB, over memory_limit {self.memory_limit / 1e6:.3g} MB: "
                "ask for fewer names or examples, or reduce them batch by batch (hooks.stream)"
            )
