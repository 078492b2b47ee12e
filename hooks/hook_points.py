"""Named places in a model where functions read or replace activations.

A hook point returns what it is given. A function `(activation, hook)` on it sees each activation
that passes, and what it returns, unless that is None, goes on in its place; on the way back it sees
the gradient instead. Names and calls are those of TransformerLens' HookedRootModule, so that its
ActivationCache and patching functions work on these models; that library is not imported here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hooks.messages import near_names

Hook = Callable[..., Any]
Names = str | Sequence[str] | Callable[[str], bool] | None
Direction = Literal["fwd", "bwd"]
DIRECTIONS: tuple[Direction, Direction] = ("fwd", "bwd")
ALIASES = {"attn": "pattern", "attn_logits": "attn_scores", "query": "q", "key": "k", "value": "v"}


@dataclass(frozen=True, eq=False)
class AddedHook:
    """A function on a hook point.

    Attributes:
        hook: Takes it off (`hook.remove()`).
        user_hook: The function.
        is_permanent: Whether `reset_hooks` leaves it on unless told otherwise.
    """

    hook: RemovableHandle
    user_hook: Hook
    is_permanent: bool


class HookPoint(nn.Module):
    """The identity, under a name that functions can be hooked to.

    Attributes:
        name: Where in the model it is, `blocks.0.attn.hook_z`; `HookedRootModule.setup` sets it.
        fwd_hooks: Functions of activations.
        bwd_hooks: Functions of gradients.
        ctx: Whatever a function wants to keep until `reset_hooks`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.fwd_hooks: list[AddedHook] = []
        self.bwd_hooks: list[AddedHook] = []
        self.ctx: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"HookPoint({self.name})"

    def forward(self, x: Tensor) -> Tensor:
        """The activation itself."""
        return x

    @property
    def is_hooked(self) -> bool:
        """Whether any function is on it, one of torch's own included."""
        return bool(
            self._forward_hooks
            or self._backward_hooks
            or self._forward_pre_hooks
            or self._backward_pre_hooks
        )

    def layer(self) -> int:
        """The number of the block it is in.

        Raises:
            ValueError: It is in no block.
        """
        parts = self.name.split(".")
        if parts[0] != "blocks":
            raise ValueError(f"hook point {self.name} is in no block")
        return int(parts[1])

    def add_hook(
        self,
        hook: Hook,
        dir: Direction = "fwd",
        is_permanent: bool = False,
        prepend: bool = False,
    ) -> AddedHook:
        """Puts a function on.

        Args:
            hook: `(activation, hook=point)`; returns what replaces the activation, or None.
            dir: fwd for activations, bwd for their gradients.
            is_permanent: Whether `reset_hooks` leaves it on unless told otherwise.
            prepend: Whether it runs before the functions that are on already.
        """
        if dir == "fwd":
            added = self.fwd_hooks
            handle = self.register_forward_hook(
                lambda module, args, output: hook(output, hook=module), prepend=prepend
            )
        elif dir == "bwd":
            added = self.bwd_hooks
            handle = self.register_full_backward_hook(_on_gradient(hook), prepend=prepend)
        else:
            raise ValueError(f"dir '{dir}': take fwd (activations) or bwd (their gradients)")
        entry = AddedHook(handle, hook, is_permanent)
        added.insert(0 if prepend else len(added), entry)
        return entry

    def remove_hooks(
        self,
        dir: Literal["fwd", "bwd", "both"] = "fwd",
        including_permanent: bool = False,
        only: AddedHook | None = None,
    ) -> None:
        """Takes functions off: all that are not permanent, all, or one."""
        both = {"fwd": [self.fwd_hooks], "bwd": [self.bwd_hooks]}
        if dir not in (*both, "both"):
            raise ValueError(f"dir '{dir}': take fwd, bwd or both")
        for added in both.get(dir, [self.fwd_hooks, self.bwd_hooks]):
            for entry in list(added):
                if entry is only or (
                    only is None and (including_permanent or not entry.is_permanent)
                ):
                    entry.hook.remove()
                    added.remove(entry)


def _on_gradient(hook: Hook) -> Callable[[Any, Any, Any], Any]:
    """A hook as torch calls it: gradients come and go in tuples of one."""

    def run(module: Any, inward: Any, outward: Any) -> Any:
        result = hook(outward[0], hook=module)
        return result if result is None or isinstance(result, tuple) else (result,)

    return run


class Activations(dict[str, Tensor]):
    """Activations by hook name, which also answers to short names.

    `cache["pattern", 0]` is `cache["blocks.0.attn.hook_pattern"]`, `cache["resid_post", -1]` that
    of the model's last block, `cache["scale", 0, "ln1"]` says which part of a block is meant, and
    `cache["embed"]` is `cache["hook_embed"]`. Gradients stand under names that end in `_grad`.
    """

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self.n_layers = n_layers

    def __missing__(self, key: Any) -> Tensor:
        parts = (key,) if isinstance(key, str) else tuple(key)
        short, layer, part = str(parts[0]), *(*parts[1:], None, None)[:2]
        if isinstance(layer, int) and layer < 0:
            layer += self.n_layers
        tail = f"hook_{ALIASES.get(short, short)}"
        inside = "" if layer is None else f"blocks.{layer}."
        names = [
            name
            for name in self
            if name.split(".")[-1] == tail
            and name.startswith(inside)
            and (part is None or f".{part}." in f".{name}")
            and (layer is not None or not name.startswith("blocks."))
        ]
        if len(names) != 1:
            near = names or near_names(short, self, cutoff=0.3) or list(self)[:3]
            raise ValueError(f"no single activation '{key}' was kept; near it: {', '.join(near)}")
        return self[names[0]]


class HookedRootModule(nn.Module):
    """A model with hook points, found by name."""

    hook_dict: dict[str, HookPoint]
    mod_dict: dict[str, nn.Module]

    def setup(self) -> None:
        """Names the modules; called once all of them are there, and again when one is replaced."""
        self.mod_dict = {name: module for name, module in self.named_modules() if name}
        self.hook_dict = {
            name: module for name, module in self.mod_dict.items() if isinstance(module, HookPoint)
        }
        for name, point in self.hook_dict.items():
            point.name = name

    def hook_points(self) -> Iterable[HookPoint]:
        """All hook points, in the order in which they were made."""
        return self.hook_dict.values()

    def check_hookable(self, name: str) -> None:
        """Refuses a hook point that an option of the model keeps from firing."""

    def add_hook(
        self,
        name: Names,
        hook: Hook,
        dir: Direction = "fwd",
        is_permanent: bool = False,
        prepend: bool = False,
    ) -> list[tuple[HookPoint, AddedHook]]:
        """Puts a function on hook points until it is taken off.

        Args:
            name: A hook point's name, several, or a function that says which are meant.
            hook: `(activation, hook=point)`; returns what replaces the activation, or None.
            dir: fwd for activations, bwd for their gradients.
            is_permanent: Whether `reset_hooks` leaves it on unless told otherwise.
            prepend: Whether it runs before the functions that are on already.

        Raises:
            ValueError: There is no hook point of a name, or it cannot fire in this model.
        """
        chosen = self._chosen(name)
        for each in chosen:
            self.check_hookable(each)
        points = [self.hook_dict[each] for each in chosen]
        return [(point, point.add_hook(hook, dir, is_permanent, prepend)) for point in points]

    def add_perma_hook(self, name: Names, hook: Hook, dir: Direction = "fwd") -> None:
        """Puts on a function that stays through `reset_hooks`."""
        self.add_hook(name, hook, dir, is_permanent=True)

    def reset_hooks(
        self,
        clear_contexts: bool = True,
        direction: Literal["fwd", "bwd", "both"] = "both",
        including_permanent: bool = False,
    ) -> None:
        """Takes off all functions but permanent ones, and forgets what they kept in `ctx`."""
        for point in self.hook_points():
            point.remove_hooks(direction, including_permanent)
            if clear_contexts:
                point.ctx.clear()

    @contextmanager
    def hooks(
        self,
        fwd_hooks: Sequence[tuple[Names, Hook]] = (),
        bwd_hooks: Sequence[tuple[Names, Hook]] = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
    ) -> Iterator[Any]:
        """The model with further functions on it, which leaving takes off again.

        Args:
            fwd_hooks: Functions of activations, each with the hook points it goes to.
            bwd_hooks: Functions of gradients; `backward` must be called within.
            reset_hooks_end: Whether they are taken off in the end.
            clear_contexts: Whether every `ctx` is emptied in the end.

        Raises:
            ValueError: There is no hook point of a name, or it cannot fire in this model.
        """
        with ExitStack() as stack:
            for direction, pairs in zip(DIRECTIONS, (fwd_hooks, bwd_hooks), strict=True):
                for name, hook in pairs:
                    for point, added in self.add_hook(name, hook, direction):
                        if reset_hooks_end:
                            stack.callback(point.remove_hooks, direction, only=added)
            try:
                yield self
            finally:
                if clear_contexts:
                    for point in self.hook_points():
                        point.ctx.clear()

    def run_with_hooks(
        self,
        *args: Any,
        fwd_hooks: Sequence[tuple[Names, Hook]] = (),
        bwd_hooks: Sequence[tuple[Names, Hook]] = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
        **options: Any,
    ) -> Any:
        """What the model gives with functions on it (`hooks`)."""
        with self.hooks(fwd_hooks, bwd_hooks, reset_hooks_end, clear_contexts):
            return self(*args, **options)

    def run_with_cache(
        self,
        *args: Any,
        names_filter: Names = None,
        device: torch.device | str | None = None,
        remove_batch_dim: bool = False,
        incl_bwd: bool = False,
        **options: Any,
    ) -> tuple[Any, Any]:
        """What the model gives, and its activations, detached.

        Args:
            args: What the model is run on.
            names_filter: Which hook points; all that fire where left out.
            device: Where activations are put; left where they are by default.
            remove_batch_dim: Whether the first axis, of one example, is taken off.
            incl_bwd: Whether `backward` is called on the output, a number, and gradients are kept
                under names that end in `_grad`.
            options: What else the model's forward takes.

        Raises:
            ValueError: There is no hook point of a name, or it cannot fire in this model.
        """
        cache = Activations(len(getattr(self, "blocks", ())))

        def keep(activation: Tensor, hook: HookPoint, suffix: str = "") -> None:
            kept = activation.detach().to(device)
            cache[hook.name + suffix] = kept[0] if remove_batch_dim else kept

        def keep_gradient(gradient: Tensor, hook: HookPoint) -> None:
            keep(gradient, hook, "_grad")

        backward = [(names_filter, keep_gradient)] if incl_bwd else []
        with self.hooks([(names_filter, keep)], backward):
            output = self(*args, **options)
            if incl_bwd:
                output.backward()
        return output, cache

    def _chosen(self, names: Names) -> list[str]:
        """The names of hook points that a name, several or a function stand for."""
        if names is None:
            return [name for name in self.hook_dict if self._fires(name)]
        if callable(names):
            return [name for name in self.hook_dict if names(name) and self._fires(name)]
        names = [names] if isinstance(names, str) else list(names)
        for name in names:
            if name not in self.hook_dict:
                near = near_names(name, self.hook_dict, cutoff=0.4) or list(self.hook_dict)[:3]
                raise ValueError(f"no hook point '{name}'; did you mean {', '.join(near)}?")
        return names

    def _fires(self, name: str) -> bool:
        """Whether options of the model let a hook point fire."""
        try:
            self.check_hookable(name)
        except ValueError:
            return False
        return True
