"""The live model behind snapshots, and what they remember of it: is either still as it was?

What a snapshot remembers is true of the model as it was when the snapshot was made. A later change
is noticed in three ways: torch counts the writes to every tensor (its version), a tensor may hold
other memory, and the model may have other hooks. Writes that torch does not count (through `.data`,
NumPy or a captured CUDA graph) are not noticed.

Snapshots hand out remembered tensors without copying them, since copies would double the memory of
a cache. A notebook may write into such a tensor (`logits -= logits.mean(-1, keepdim=True)`), or
into the examples: the snapshot then forgets the tensor and computes it again when it is next asked
for. Such a write changes torch's version of the tensor or, if torch does not count it, the sum of
the tensor's bits.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from hooks.edit import Edit, Pass, edited
from hooks.models import HookedModel, ModelConfig, parameters_of

WRAPPERS = {
    "_orig_mod": "torch.compile's wrapper: give the model inside, model._orig_mod",
    "module": "a DataParallel's wrapper: give the model inside, model.module",
}
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, eq=False)
class Marks:
    """What tells whether a model was changed.

    Attributes:
        tensors: Parameters and buffers by name, with version and place in memory.
        hooks: The hooks on each module that has any, by the module's name.
    """

    tensors: dict[str, tuple[Tensor, int, int]]
    hooks: dict[str, tuple[int, ...]]


@dataclass(eq=False)
class LiveModel:
    """A live model, its config, and the snapshot that is running it now.

    Attributes:
        model: The model; only `Snapshot.running` hands it out.
        config: Its config.
        user: The snapshot that is running it, or None.
        running: What it is run on.
    """

    model: HookedModel
    config: ModelConfig
    user: Any = None
    running: Pass = field(default_factory=Pass)

    def __post_init__(self) -> None:
        check_live(self.model)
        self._marks = marks_of(self.model)

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(iter(parameters_of(self.model).values())).device

    def check(self, user: Any) -> None:
        """Refuses a model that another snapshot runs, or that was changed.

        Raises:
            ValueError: Another snapshot is running it, its tensors were written to since it was
                taken, or it carries hooks that are no edits.
        """
        if self.user not in (None, user):
            raise ValueError(
                "another snapshot of this model is running: leave its `with` before using this one"
            )
        check_hooks(hooks_of(self.model), self._marks.hooks)
        parameters = dict(self.model.named_parameters())
        for name, (tensor, version, place) in self._marks.tensors.items():
            is_same = name not in parameters or parameters[name] is tensor
            if not is_same or _version(tensor) != version or tensor.data_ptr() != place:
                raise ValueError(
                    f"{name} of the live model was changed since this snapshot was made, so that "
                    "it is no longer a snapshot of it: take a new one, Snapshot.of(model, examples)"
                )

    @contextmanager
    def lent(self, user: Any, edits: Sequence[Edit]) -> Iterator[None]:
        """The model in evaluation mode with edits, for one user; all is restored on leaving."""
        self.check(user)
        modes = [(module, module.training) for module in self.model.modules()]
        marks = self._marks
        self.user = user
        try:
            self.model.train(False)
            with edited(self.model, edits, self.running):
                self._marks = marks_of(self.model)
                yield
        finally:
            self.user, self._marks = None, marks
            for module, mode in modes:  # train(mode) would set all modules to the same mode
                module.training = mode

    @contextmanager
    def seeing(self, rows: Int[Tensor, " row"] | None, *, is_trial: bool = False) -> Iterator[None]:
        """Says which examples the model is run on within the `with`."""
        before = replace(self.running)
        self.running.rows, self.running.is_trial = rows, is_trial
        try:
            yield
        finally:
            self.running.rows, self.running.is_trial = before.rows, before.is_trial


def check_live(model: Any) -> None:
    """Refuses a live model that could not be run and read as it is.

    Raises:
        ValueError: It is wrapped, holds numbers other than float32 or float64, or carries hooks.
        TypeError: It is no model with hook points.
    """
    if type(model).__name__ == "TransformerBridge":
        raise ValueError(
            "the model is a TransformerBridge, whose parameters have other names: give "
            "hooks.from_transformer_lens(model), which has the same weights"
        )
    for name, remedy in WRAPPERS.items():
        if name in getattr(model, "_modules", {}):
            raise ValueError(f"the model is {remedy}")
    if not isinstance(model, HookedModel) or not hasattr(model, "cfg"):
        raise TypeError(
            f"a model with hook points is wanted, such as a HookedTransformer; got "
            f"{type(model).__name__}"
        )
    for name, parameter in model.named_parameters():
        if parameter.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"parameter {name} holds {parameter.dtype}: take the model in float32 "
                "(`model.to(torch.float32)`) or float64"
            )
    check_hooks(hooks_of(model), {})


def check_hooks(hooks: dict[str, tuple[int, ...]], known: dict[str, tuple[int, ...]]) -> None:
    """Refuses a model whose modules carry other hooks than the known ones.

    Raises:
        ValueError: A module carries other hooks than the known ones.
    """
    for name in [*hooks, *known]:
        if hooks.get(name) != known.get(name):
            raise ValueError(
                f"the model carries a hook at {name or 'its root'} that is no edit, and every "
                "number would be of the model with it: model.reset_hooks(including_permanent=True) "
                "takes hooks off; one that is meant goes into an edit, "
                "snapshot.edited(Edit(hooks={name: function}))"
            )


def marks_of(model: HookedModel) -> Marks:
    """The marks of a model as it is now."""
    buffers = torch.nn.Module.named_buffers(model)  # pyright: ignore[reportArgumentType]  # the protocol's models are modules
    tensors = {
        name: (tensor, _version(tensor), tensor.data_ptr())
        for name, tensor in [*model.named_parameters(), *buffers]
    }
    return Marks(tensors, hooks_of(model))


def hooks_of(model: HookedModel) -> dict[str, tuple[int, ...]]:
    """The hooks on each module that has any, TransformerLens' and torch's own, by number."""
    hooks = {
        name: tuple(number for kind in HOOKS for number in getattr(module, kind))
        for name, module in torch.nn.Module.named_modules(model)  # pyright: ignore[reportArgumentType]  # the protocol's models are modules
    }
    return {name: numbers for name, numbers in hooks.items() if numbers}


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version  # inference tensors count none


@dataclass(eq=False)
class Memory:
    """Tensors by name, and what tells that they are still what was put in.

    Attributes:
        inputs: What the model was run on.
        tensors: By name, each tensor and what tells whether it was changed.
        is_tried: Whether the edits' hook points are known to fire.
    """

    inputs: Tensor
    tensors: dict[str, tuple[Tensor, tuple[int, ...]]] = field(default_factory=dict)
    is_tried: bool = False

    def __setitem__(self, name: str, tensor: Tensor) -> None:
        self.tensors[name] = (tensor, self._marks(tensor))

    def get(self, name: str) -> Tensor | None:
        """The tensor of a name as it was put in; None if there is none, or if it was changed."""
        tensor, marks = self.tensors.get(name, (None, ()))
        if tensor is None or self._marks(tensor) == marks:
            return tensor
        del self.tensors[name]
        return None

    def _marks(self, tensor: Tensor) -> tuple[int, ...]:
        return (self.inputs._version, tensor._version, _sum_of_bits(tensor))


def _sum_of_bits(tensor: Tensor) -> int:
    if tensor.is_contiguous() and tensor.nbytes % 8 == 0:
        return int(tensor.flatten().view(torch.int64).sum())  # many times faster than narrow ones
    bits = tensor if tensor.dtype == torch.bool else tensor.view(BITS[tensor.itemsize])
    return int(bits.sum(dtype=torch.int64))
