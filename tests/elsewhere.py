"""A device that is not the CPU, for machines without a GPU.

Its tensors hold one of the CPU each, which all operations are done on. As on a GPU, tensors of two
devices do not meet, NumPy cannot read them, and a step that is being recorded (`recording`) may
neither move tensors nor ask for their values. It registers itself with torch for the whole
process, so it is used in one of its own: `python -O -m tests.elsewhere` (transformer_lens asserts
that inputs are plain tensors). Rests on torch's experimental backends in Python.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

MOVES = ("aten::_to_copy", "aten::copy_", "aten::index", "aten::index_put_")
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal",
         "aten::is_nonzero", "aten::_unique2")  # fmt: skip
FACTORIES = ("empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step")
RECORDING = [False]
LIBRARIES: list[torch.library.Library] = []


def start() -> torch.device:
    """Registers the device with torch."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend("elsewhere")
    LIBRARIES.extend(torch.library.Library(name, "IMPL") for name in ("_", "aten"))
    LIBRARIES[0].fallback(lambda op, *args, **kwargs: _done(op, args, kwargs), "PrivateUse1")
    for name in FACTORIES:
        LIBRARIES[1].impl(name, _factory(name), "PrivateUse1")
    plain = torch.tensor

    def tensor(data: Any, *, dtype: Any = None, device: Any = None) -> torch.Tensor:
        made = plain(data, dtype=dtype)
        return made if device is None else made.to(device)

    torch.tensor = tensor  # torch's own does not know backends in Python
    return torch.device("elsewhere:0")


@contextmanager
def recording() -> Iterator[None]:
    """What a step may not do while it is recorded is refused within."""
    RECORDING[0] = True
    try:
        yield
    finally:
        RECORDING[0] = False


class Away(torch.Tensor):
    """A tensor of the device."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]
    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw):
        made = torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), strides=raw.stride(), dtype=raw.dtype,
            device=torch.device("elsewhere:0"), storage_offset=raw.storage_offset(),
        )  # fmt: skip
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _done(func, args, kwargs or {})


def _factory(name):
    packet, _, overload = name.partition(".")
    operation = getattr(getattr(torch.ops.aten, packet), overload or "default")

    def make(*args, **kwargs):
        kwargs = {key: value for key, value in kwargs.items() if key == "dtype"}
        return Away(operation(*args, **kwargs))

    return make


def _done(func, args, kwargs):
    """An operation on what the tensors hold."""
    name = func._schema.name
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    away = [each for each in tensors if isinstance(each, Away)]
    are_mixed = any(each.ndim for each in tensors if not isinstance(each, Away)) and bool(away)
    goes_away = bool(away)
    if kwargs.get("device") is not None:
        goes_away = torch.device(kwargs["device"]).type == "elsewhere"
        kwargs = kwargs | {"device": torch.device("cpu")}
    if are_mixed and (name not in MOVES or RECORDING[0]):
        raise RuntimeError(f"{name}: tensors of two devices")
    is_move = name == "aten::_to_copy" and goes_away != bool(away)
    if RECORDING[0] and (is_move or (away and name in WAITS)):
        raise RuntimeError(f"{name}: waits for the device while a step is recorded")
    held = {id(each.raw): each for each in away}

    def wrapped(value):
        if not isinstance(value, torch.Tensor) or isinstance(value, Away) or not goes_away:
            return value
        return held[id(value)] if id(value) in held else Away(value)

    bare = tree_map(lambda each: each.raw if isinstance(each, Away) else each, (args, kwargs))
    return tree_map(wrapped, func(*bare[0], **bare[1]))


def check_steps(device: torch.device) -> None:
    """Steps of stacks that are recorded elsewhere have the losses and scores of the CPU."""
    from interp.config.experiment import load_experiment
    from interp.training.cuda_graph import Recorder
    from interp.training.stack_step import (
        DataCache,
        StackStepper,
        assembled,
        stack_scores,
        states_of,
    )
    from interp.training.state import fresh
    from tests.interp.training.stacks import replicas
    from tests.planted import tiny_prompts

    def record(step):
        def replay():
            with recording():
                step()

        replay()
        return replay

    prompts, parity = tiny_prompts(), load_experiment("parity")
    for experiments in (
        replicas(2, steps=6),
        replicas(1, steps=6, batch_size=10, optimizer="sgd", momentum=0.9),
        [prompts.with_seed(seed) for seed in range(2)],
        [parity.with_seed(seed) for seed in range(2)],
    ):
        states = [fresh(each) for each in experiments]
        here = StackStepper(assembled(experiments, states, torch.device("cpu")))
        there = StackStepper(assembled(experiments, states, device), recorder=Recorder(record))
        here.advance(4)
        there.advance(4)
        if not there.is_captured:
            raise AssertionError("a step was not recorded")
        torch.testing.assert_close(there.losses[:4].cpu(), here.losses[:4], rtol=1e-6, atol=1e-9)
        rows = [stack_scores(each.stack, DataCache())() for each in (there, here)]
        for mine, other in zip(*rows, strict=True):
            assert_alike(mine, other)
        states_of(there.stack)


def check_analyses(device: torch.device) -> None:
    """Analyses of models that run elsewhere give what they give on the CPU."""
    from analyses import ANALYSES
    from analyses.fourier.clock_pizza import logit_gradients
    from analyses.result import Result
    from interp.runs.run import load

    run = load(Path("fixtures/modular-addition"))
    here, there = run.series(), replace(run.series(), device=device)
    step = run.steps[-1]
    for name in ("FourierSpectrum", "NeuronWaves", "AttentionSparsity", "ProbeAccuracy",
                 "EffectiveSubnetwork", "ExampleViews", "WeightNorms"):  # fmt: skip
        cls = ANALYSES[name]
        assert issubclass(cls, Result)
        examples = here.examples(None, min(cls.count or 200, 200))
        found = [cls.measure(each.snapshot(step, examples)).summary() for each in (there, here)]
        assert_alike(*found)
    examples, some = here.examples(None, 20), torch.arange(5)
    mine, other = (logit_gradients(each.snapshot(step, examples), some, some) for each in
                   (there, here))  # fmt: skip
    torch.testing.assert_close(mine, other)


def assert_alike(mine: dict[str, Any], other: dict[str, Any]) -> None:
    """Equal texts, and numbers equal to float32's rounding."""
    if mine.keys() != other.keys():
        raise AssertionError(f"{sorted(mine)} and {sorted(other)}")
    for name, value in mine.items():
        is_text = isinstance(value, str)
        if is_text and value != other[name]:
            raise AssertionError(f"{name}: {value} and {other[name]}")
        if not is_text:
            torch.testing.assert_close(
                float(value), float(other[name]), rtol=1e-5, atol=1e-7, equal_nan=True, msg=name
            )


if __name__ == "__main__":
    place = start()
    {"steps": check_steps, "analyses": check_analyses}[sys.argv[1]](place)
    print("alike")
