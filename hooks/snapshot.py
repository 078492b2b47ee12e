"""A model at one step of its training, and the examples to look at it with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.edit import Edit, check_fired, check_names, replaced
from hooks.examples import Examples
from hooks.live_model import LiveModel, Memory, check_live
from hooks.models import HookedModel, ModelConfig, agreed_config, parameters_of
from hooks.weights import has_weight, weight

TOKENS_PER_BATCH = 8192  # larger batches leave the processor's cache and gain nothing


@dataclass(frozen=True, eq=False, repr=False)
class Snapshot:
    """A model at a step, and the examples that it is run on.

    Snapshots are compared by identity. Logits and activations are computed when first asked for, in
    batches, without gradients, and then remembered. They and weights are on the CPU, whatever the
    model's device. If the model is trained further or gets hooks, the snapshot refuses to answer
    (`hooks.live_model` says which changes are noticed). If a caller writes into a tensor that a
    snapshot returned, the snapshot computes it again.

    Attributes:
        live: The model; only `running` hands it out.
        examples: What it is run on; for a model of one position the answers are cut to the last.
        step: Optimiser updates it has had; None if that is not known.
        edits: Changes applied whenever it runs, and seen by every weight read from it.
        memory_limit: Bytes that one call of `cache` may hold.
    """

    live: LiveModel
    examples: Examples
    step: int | None = None
    edits: tuple[Edit, ...] = ()
    memory_limit: int = 2 * 1024**3
    _memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        cfg = self.live.model.cfg
        n_answers = getattr(cfg, "n_answers", None)
        if n_answers is not None:
            object.__setattr__(self, "examples", self.examples.answered(n_answers))
        self.examples.check_sizes(getattr(cfg, "d_vocab", None), getattr(cfg, "d_vocab_out", None))
        for edit in self.edits:
            if edit.n_examples not in (None, len(self.examples)):
                raise ValueError(
                    f"an edit was made for {edit.n_examples} examples, this snapshot has "
                    f"{len(self.examples)}: make it from a snapshot of the same number"
                )
        object.__setattr__(self, "_memory", Memory(self.examples.model_inputs))

    def __repr__(self) -> str:
        step = "step unknown" if self.step is None else f"step {self.step}"
        edits = f", {len(self.edits)} edits" if self.edits else ""
        return f"Snapshot({step}, {len(self.examples)} examples{edits})"

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

        A model with options that our configs cannot express is refused, though it would run, since
        weight views and analyses rely on its config.

        Args:
            model: A live model.
            examples: What it is run on.
            step: Updates it has had. Only at step 0 is a model its own untrained control.
            config: Its config; read off the model if left out.

        Raises:
            ValueError: The model is wrapped, in half precision or carries hooks; it computes what
                no config here says, or another config than the one given; or tokens or targets
                are none of its own.
            TypeError: It is no model with hook points.
        """
        check_live(model)
        return cls(LiveModel(model, agreed_config(model, config)), examples, step)

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        return self.live.config

    def edited(self, *edits: Edit) -> "Snapshot":
        """The same model and examples with further edits, and nothing remembered."""
        return replace(self, edits=(*self.edits, *edits))

    def on(self, examples: Examples) -> "Snapshot":
        """The same model and edits on other examples, and nothing remembered.

        Raises:
            ValueError: An edit has row hooks, which know the rows of these examples only.
        """
        if examples is not self.examples and any(edit.row_hooks for edit in self.edits):
            raise ValueError(
                "this snapshot's edits go by the rows of its examples, and these are others: take "
                "the unedited snapshot on them, then edit it"
            )
        return replace(self, examples=examples)

    @contextmanager
    def running(self) -> Iterator[HookedModel]:
        """The live model in evaluation mode with this snapshot's edits, all restored on leaving.

        Gradients are allowed. Inside, other snapshots of the same model are refused, since they
        would see these edits.

        Raises:
            ValueError: Another snapshot of the same model is running, the model was changed or
                carries hooks, or an edit does not fit or never fires.
        """
        if self.live.user is self:
            yield self.live.model
            return
        with self.live.lent(self, self.edits):
            hooked = sorted({name for edit in self.edits for name in edit.hook_names})
            if hooked and not self._memory.is_tried:
                self._tried(hooked)  # hooks that never fire would do nothing unsaid
                self._memory.is_tried = True
            yield self.live.model

    def seeing(self, rows: Int[Tensor, " row"]) -> AbstractContextManager[None]:
        """Tells row hooks of edits on which examples the model is run within the `with`.

        Only needed by code that runs the model itself: `with snapshot.running() as model,
        snapshot.seeing(rows): model(inputs[rows])`.
        """
        return self.live.seeing(rows)

    def logits(self) -> Float[Tensor, "batch pos d_vocab_out"]:
        """Logits at every position.

        If a task has spare outputs, `facts.outputs` says how many of them answer; only these are
        returned.

        Raises:
            ValueError: As `running`.
        """
        self.live.check(self)
        logits = self._memory.get("logits")
        if logits is None:
            with self.running() as model, torch.no_grad():
                parts = [self._logits(model, *batch).cpu() for batch in self._batches()]
            logits = torch.cat(parts)[..., : self.examples.facts.outputs]
            self._memory["logits"] = logits
        return logits

    def cache(self, names: str | Sequence[str]) -> Mapping[str, Tensor]:
        """Activations by hook name, over all examples; a single name gives a mapping as well.

        Raises:
            ValueError: A hook point does not exist or does not fire in this model, or the
                activations would take more than `memory_limit` bytes; or as `running`.
        """
        names = [names] if isinstance(names, str) else names
        check_names(names, self.live.model.hook_dict, "hook point")
        self.live.check(self)
        activations = {name: self._memory.get(name) for name in names}
        missing = [name for name, tensor in activations.items() if tensor is None]
        if missing:
            with self.running():
                self._check_memory(missing)
                parts = [
                    self._kept(batch, missing, self.seeing(rows)) for rows, batch in self._batches()
                ]
            for name in missing:
                activations[name] = self._memory[name] = torch.cat([part[name] for part in parts])
        return {name: tensor for name, tensor in activations.items() if tensor is not None}

    def parameters(self) -> dict[str, Tensor]:
        """Parameters by name, read through the edits; they share memory with the model.

        Raises:
            ValueError: Another snapshot of the same model is running, or it was changed.
        """
        self.live.check(self)
        parameters = parameters_of(self.live.model)
        if self.live.user is self:
            return parameters  # the edits are applied already
        for edit in self.edits:
            check_names(edit.parameters, parameters, "parameter")
            parameters |= replaced(parameters, edit)
        return parameters

    def weights(self, name: str) -> Tensor:
        """A copy of a parameter or a view (`hooks.weights`), read through the edits."""
        return weight(self.config, self.parameters(), name).clone().cpu()

    def has_weights(self, name: str) -> bool:
        """Whether this kind of model answers to a parameter's or view's name."""
        return has_weight(self.config, self.parameters(), name)

    def has_hook_point(self, name: str) -> bool:
        """Whether the model has a hook point of this name."""
        return name in self.live.model.hook_dict

    def first_not_finite(self) -> str:
        """The first hook point, in the order of the pass, whose activation holds NaN or infinity.

        Minus infinity alone does not count there: attention scores have it where a key is hidden.

        Returns:
            Its name; `logits` where only these are not finite; nothing where all is finite.
        """
        not_finite: list[str] = []

        def look(activation: Tensor, hook: Any) -> None:
            if not not_finite and not (activation < torch.inf).all():  # False for NaN too
                not_finite.append(hook.name)

        hooks = [(lambda name: True, look)]  # those that options keep from firing left out
        with self.running() as model, torch.no_grad(), model.hooks(fwd_hooks=hooks):
            for rows, batch in self._batches():
                logits = self._logits(model, rows, batch)
                if not not_finite and not logits.isfinite().all():
                    not_finite.append("logits")
                if not_finite:
                    return not_finite[0]
        return ""

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples in batches: the rows of each batch, and what the model is fed of them."""
        inputs, n_ctx = self.examples.model_inputs, self.live.model.cfg.n_ctx
        if inputs.shape[1] > n_ctx:
            raise ValueError(
                f"examples have {inputs.shape[1]} positions, the model's n_ctx is {n_ctx}: "
                "shorten them, or train a model with a larger n_ctx"
            )
        size = max(1, TOKENS_PER_BATCH // inputs.shape[1])
        batches = (batch.to(self.live.device) for batch in inputs.split(size))
        return zip(torch.arange(len(inputs)).split(size), batches, strict=True)

    def _logits(self, model: HookedModel, rows: Tensor, batch: Tensor) -> Tensor:
        with self.seeing(rows):
            return model(batch)

    def _kept(
        self, batch: Tensor, names: Sequence[str], seeing: AbstractContextManager[None]
    ) -> dict[str, Tensor]:
        """Activations by hook name of one pass of the running model."""
        activations: dict[str, Tensor] = {}

        def keep(activation: Tensor, hook: Any) -> None:
            activations[hook.name] = activation.detach().cpu()

        model, hooks = self.live.model, [(name, keep) for name in names]
        with seeing, torch.no_grad(), model.hooks(fwd_hooks=hooks):
            model(batch)
        check_fired(names, activations)
        return activations

    def _tried(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Activations of one example, in a pass that hooks of edits stay out of."""
        _, batch = next(self._batches())
        return self._kept(batch[:1], names, self.live.seeing(None, is_trial=True))

    def _check_memory(self, names: Sequence[str]) -> None:
        needed = len(self.examples) * sum(tensor.nbytes for tensor in self._tried(names).values())
        if needed > self.memory_limit:
            raise ValueError(
                f"caching {len(names)} activations of {len(self.examples)} examples takes "
                f"{needed / 1e6:.3g} MB, over memory_limit {self.memory_limit / 1e6:.3g} MB: "
                "ask for fewer names or examples, or reduce them batch by batch (hooks.stream)"
            )
