"""One tensor over 200 checkpoints against a loop over safetensors' load_file."""

from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file

from interp.runs.checkpoint_files import pack
from interp.runs.run import Run, load
from tests.bench import Comparison, interleaved

FIXTURE = Path(__file__).parents[2] / "fixtures" / "modular-addition"
STEPS, NAME = 200, "embed.W_E"


def make_run(folder: Path) -> Run:
    """The fixture's experiment with its last checkpoint 200 times, each moved a little."""
    copytree(FIXTURE, folder, ignore=lambda *_: {"checkpoints", "results"})
    parameters = dict(load(FIXTURE).parameters(975))
    (folder / "checkpoints").mkdir()
    for step in range(STEPS):
        moved = {name: value + step for name, value in parameters.items()}
        (folder / "checkpoints" / f"{step}.safetensors").write_bytes(pack(moved))
    return Run(folder)


def plain_sum(run: Run) -> torch.Tensor:
    """The tensor's sum at every step, a file at a time."""
    files = (run.path / "checkpoints").glob("*.safetensors")
    ordered = sorted(files, key=lambda file: int(file.stem))
    return torch.stack([load_file(file)[NAME].sum() for file in ordered])


def our_sum(run: Run) -> torch.Tensor:
    """The tensor's sum at every step."""
    return run.weights(NAME).sum((1, 2))


def compare() -> Comparison:
    """Both sides find the files, read the tensor and sum it; ours also checks its checksum."""
    with TemporaryDirectory() as scratch:
        run = make_run(Path(scratch) / "run")
        torch.testing.assert_close(our_sum(run), plain_sum(run))
        plain, ours = interleaved(lambda: plain_sum(run), lambda: our_sum(run), repeats=11)
    return Comparison("W_E over 200 checkpoints, read and summed", plain, ours, goal=3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(compare())
