"""Imports of spoilt files are refused in one line, or compute what the files describe.

80 mutations of files in each layout that is read, drawn by seed. The description is read back from
the spoilt files by a few plain lines here, and computed by the model's own class or, for the
progress-measures layout, by the vector-at-a-time oracle.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.importers import describe, import_run
from interp.runs.run import Run
from tests.foreign import PLAIN, TASK, demo_archive, hooked_state, progress_state
from tests.interp.reliability.spoiling import ON_DISK, at_most
from tests.oracles import progress_measures_logits
from tests.planted import random_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SECONDS = 60  # an import of these takes about a tenth of one
SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed % 8 else []) for seed in range(80)]
PLAINLY = PLAIN | {"attention_dir": "causal"}

Files = dict[str, Any]


def progress_file(step: int) -> dict[str, Any]:
    losses = {"train_loss": torch.tensor(2.0), "test_loss": torch.tensor(3.0)}
    return {"model": progress_state(step), "epoch": step} | losses


LAYOUTS: dict[str, Callable[[], Files]] = {
    "hooked file": lambda: {"step_100.pt": hooked_state()},
    "progress file": lambda: {"step_100.pth": progress_file(100)},
    "archive": lambda: {"archive.pt": demo_archive(train_indices=[3, 4, 20])},
    "hooked folder": lambda: {
        "step_1.safetensors": hooked_state(),
        "step_20.safetensors": hooked_state(),
        "config.json": dict(PLAINLY),
    },
    "progress folder": lambda: {f"step_{step}.pth": progress_file(step) for step in (1, 20)},
}


def a_state(files: Files, random: Random) -> dict[str, Any]:
    """One of the state_dicts that the files hold."""
    name = random.choice([name for name in files if name != "config.json"])
    content = files[name]
    if "checkpoints" in content:
        return random.choice(content["checkpoints"])
    return content.get("model", content)


def a_table(files: Files, random: Random) -> dict[str, Any]:
    """A table beside parameters: a config or what a file says of its model."""
    tables = [files["config.json"]] if "config.json" in files else []
    for content in files.values():
        tables += [content["config"]] if "config" in content else []
        tables += [content] if "model" in content else []
    return random.choice(tables or list(files.values()))


def a_name(state: Mapping[str, Any], random: Random) -> str:
    return random.choice([name for name in state if "mask" not in name and "IGNORE" not in name])


VALUES: list[Any] = [
    None, True, -1, 0, 8.0, 10**30, 1e300, torch.inf, torch.nan, "", "8", "none", "relu\nrelu",
    [], [8], {}, {"d_model": 8}, torch.ones(3), torch.tensor(8), b"8",
]  # fmt: skip


def change_a_tensor(change: Callable[[Tensor, Random], Any]) -> Callable[[Files, Random], None]:
    def mutation(files: Files, random: Random) -> None:
        state = a_state(files, random)
        name = a_name(state, random)
        state[name] = change(state[name], random)

    return mutation


def drop_a_tensor(files: Files, random: Random) -> None:
    state = a_state(files, random)
    del state[a_name(state, random)]


def swap_two_tensors(files: Files, random: Random) -> None:
    state = a_state(files, random)
    one, other = a_name(state, random), a_name(state, random)
    state[one], state[other] = state[other].clone(), state[one].clone()


def rename_a_tensor(files: Files, random: Random) -> None:
    state = a_state(files, random)
    name = a_name(state, random)
    state[random.choice(NAMES).format(name=name)] = state.pop(name)


def rename_every_tensor(files: Files, random: Random) -> None:
    state, prefix = a_state(files, random), random.choice(["module.", "_orig_mod.", "model.", "0."])
    for name in list(state):
        state[prefix + name] = state.pop(name)


def cast_a_state(files: Files, random: Random) -> None:
    state, dtype = a_state(files, random), random.choice(TYPES)
    for name, value in state.items():
        state[name] = value.to(dtype)


def set_a_field(files: Files, random: Random) -> None:
    table = a_table(files, random)
    fields = [name for name in table if name not in ("model", "checkpoints")]
    table[random.choice(fields)] = random.choice(VALUES)


def set_a_setting(files: Files, random: Random) -> None:
    name = random.choice(["d_model", "n_layers", "n_heads", "d_vocab", "gate", "eps", "num_heads"])
    table = a_table(files, random)
    table.setdefault("config", {})[name] = random.choice(VALUES)


def set_steps(files: Files, random: Random) -> None:
    for content in files.values():
        for name in {"checkpoint_epochs", "epoch"} & content.keys():
            step = random.choice(VALUES)
            content[name] = step if name == "epoch" else random.choice([step, [0, 10, step]])


def set_losses(files: Files, random: Random) -> None:
    for content in files.values():
        lists: list[Any] = [*VALUES, [torch.nan] * 20, [[1.0]] * 20, torch.ones(20, 2), [1.0] * 7]
        content[random.choice(["train_losses", "test_loss"])] = random.choice(lists)


def set_the_split(files: Files, random: Random) -> None:
    for content in files.values():
        splits: list[Any] = [*VALUES, [[3, 4]], [3, 3], torch.ones(49).int(), torch.ones(2, 2, 2)]
        content[random.choice(["train_indices", "train_data"])] = random.choice(splits)


def rename_a_file(files: Files, random: Random) -> None:
    name = random.choice(list(files))
    stem = random.choice(STEMS)
    files[stem + Path(name).suffix] = files.pop(name)


NAMES = [
    "{name} ",
    "blocks.999999.{name}",
    "blocks.7.attn.W_Q",
    "{name}.weight",
    "",
    "a\nb",
    "x" * 999,
]
TYPES = [
    torch.float16, torch.bfloat16, torch.float32, torch.float8_e4m3fn, torch.int32, torch.int64,
    torch.complex64, torch.bool, torch.uint8,
]  # fmt: skip
STEMS = [
    "step_10k", "step_1e3", "step_1,000", "step_1_000", "step_1.5", "step_-5", "step_", "7b",
    "best", "step_99999999999999999999", "step_00030", "step_1000 (1)",
]  # fmt: skip


def shaped(tensor: Tensor, random: Random) -> Tensor:
    shapes = [
        tensor.mT.clone() if tensor.ndim > 1 else tensor[None].clone(),
        tensor[None].clone(), tensor[:0].clone(), tensor[:1].clone(), tensor.flatten()[0].clone(),
        torch.cat([tensor, tensor]), torch.zeros(0, 10**9), torch.ones(1).expand(10**5, 10**5),
    ]  # fmt: skip
    return random.choice(shapes)


def strange(tensor: Tensor, random: Random) -> Any:
    strangers = [
        tensor.to_sparse(), tensor.to("meta"), tensor.expand(2, *tensor.shape), None, 3.0, "text",
        tensor.tolist(), {"weight": tensor}, torch.nn.Parameter(tensor), tensor.requires_grad_(),
    ]  # fmt: skip
    return random.choice(strangers)


def spoilt(tensor: Tensor, random: Random) -> Tensor:
    spoilt = tensor.clone()
    spoilt.view(-1)[random.randrange(spoilt.numel())] = random.choice(
        [torch.nan, torch.inf, -torch.inf, 1e300]
    )
    return spoilt


def cast(tensor: Tensor, random: Random) -> Tensor:
    return tensor.to(random.choice(TYPES))


IN_MEMORY: dict[str, Callable[[Files, Random], None]] = {
    "drop a tensor": drop_a_tensor,
    "swap two tensors": swap_two_tensors,
    "rename a tensor": rename_a_tensor,
    "rename every tensor": rename_every_tensor,
    "cast a tensor": change_a_tensor(cast),
    "cast a state": cast_a_state,
    "spoil numbers": change_a_tensor(spoilt),
    "change a shape": change_a_tensor(shaped),
    "put in something strange": change_a_tensor(strange),
    "set a field": set_a_field,
    "set a setting": set_a_setting,
    "set steps": set_steps,
    "set losses": set_losses,
    "set the split": set_the_split,
    "rename a file": rename_a_file,
}


MUTATIONS = [*IN_MEMORY, *ON_DISK]


def write(content: Any, file: Path) -> None:
    """As other code writes it; what safetensors cannot hold is written as a pickle."""
    if file.suffix == ".json":
        file.write_text(json.dumps(content, default=str))
        return
    if file.suffix == ".safetensors":
        try:
            save_file(content, file)
            return
        except (ValueError, TypeError, AttributeError, RuntimeError):
            file = file.with_suffix(".pt")
    torch.save(content, file)


@dataclass(frozen=True)
class Spoilt:
    """Files after a mutation, and what to import."""

    mutation: str
    source: Path


def spoil(seed: int, place: Path) -> Spoilt:
    """Files of a layout, spoilt by a mutation; every mutation's turn comes."""
    random, mutation = Random(f"import {seed}"), MUTATIONS[seed % len(MUTATIONS)]
    files = LAYOUTS[random.choice(list(LAYOUTS))]()
    is_folder = len(files) > 1
    if mutation in IN_MEMORY:
        IN_MEMORY[mutation](files, random)
    for name, content in files.items():
        write(content, place / name)
    if mutation in ON_DISK:
        ON_DISK[mutation](random.choice(sorted(place.iterdir())), random)
    written = sorted(place.iterdir())
    return Spoilt(mutation, place if is_folder else written[0])


def described(source: Path) -> dict[int, dict[str, Tensor]]:
    """Parameters by step, as the files have them."""
    found: dict[int, dict[str, Tensor]] = {}
    for file in sorted(source.iterdir()) if source.is_dir() else [source]:
        if file.suffix not in (".pt", ".pth", ".safetensors"):
            continue
        is_pickle = file.suffix != ".safetensors"
        content: Any = (
            torch.load(file, map_location="cpu", weights_only=True)
            if is_pickle
            else load_file(file)
        )
        if "checkpoints" in content:
            steps = map(int, content["checkpoint_epochs"])
            found |= dict(zip(steps, content["checkpoints"], strict=True))
        else:
            named = file.stem.split(" ")[0].removeprefix("step_")
            step = named if named.isdigit() and len(named) < 12 else content["epoch"]
            found[int(step)] = content.get("model", content)
    return {step: plain(state) for step, state in found.items()}


def plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = {name: name.removeprefix("module.").removeprefix("_orig_mod.") for name in state}
    return {names[name]: value.detach().double() for name, value in state.items()}


def logits_of(state: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """What a model of the described parameters computes."""
    if state["blocks.0.attn.W_O"].ndim == 2:
        rows = [progress_measures_logits(state, row, 1)[:, :7] for row in tokens]
        return torch.stack(rows)
    model = random_model()
    torch.nn.Module.load_state_dict(model, state, strict=False)  # pyright: ignore[reportArgumentType]  # the protocol's models are modules
    return model(tokens).detach()


def imported(spoilt: Spoilt, out: Path) -> Run | str:
    """The run, or the line that the import is refused with."""
    options = {"attention_dir": "causal"} | ({} if "archive" in spoilt.source.name else PLAIN)
    try:
        with at_most(SECONDS):
            run = import_run(spoilt.source, out, TASK, options)
            describe(run)
            return run
    except (ValueError, TypeError, OSError) as error:
        return str(error) or "an empty line\n"


@pytest.mark.parametrize("seed", SEEDS)
def test_spoilt_files_are_refused_in_one_line_or_mean_what_they_say(tmp_path, seed):
    place = tmp_path / "given"
    place.mkdir()
    given = spoil(seed, place)
    run = imported(given, tmp_path / "run")
    if isinstance(run, str):
        assert "\n" not in run, given.mutation
        assert len(run) < 1500, given.mutation
        assert [path.name for path in tmp_path.iterdir()] == ["given"]
        return
    states = described(given.source)
    assert run.steps == tuple(sorted(states)), given.mutation
    for step, state in states.items():
        snapshot = run.snapshot(step)
        tokens = snapshot.examples.tokens
        assert tokens is not None
        torch.testing.assert_close(
            snapshot.logits().double(), logits_of(state, tokens), atol=1e-3, rtol=1e-3
        )
