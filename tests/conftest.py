"""Shape checks on every annotation, one thread if not told, and fixtures that files share."""

import os
from itertools import count
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  # the hook finds the checker by name

install_import_hook(["hooks", "analyses", "interp"], "tests.typecheck.check")

# Everything below is imported under the hook.
from analyses import InternalMeasures  # noqa: E402
from hooks import Snapshot  # noqa: E402
from interp.config.experiment import Experiment  # noqa: E402
from interp.measure.analyze import analyze  # noqa: E402
from interp.measure.sweep import analyze_sweep  # noqa: E402
from interp.runs.run import Run  # noqa: E402
from interp.sweeps.sweep import SweepFolder  # noqa: E402
from interp.training.loop import train  # noqa: E402
from tests.planted import (  # noqa: E402
    random_model,
    tiny_config,
    tiny_experiment,
    tiny_factors,
    tiny_parity,
    tiny_prompts,
    tiny_repeats,
    tiny_sentences,
    tokens_as_examples,
)
from tests.sweeps import tiny_sweep, train_members  # noqa: E402

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))  # one, unless asked
settings.register_profile("untimed", deadline=None)  # a busy machine is not a wrong answer
settings.load_profile("untimed")
STATES = count()


@pytest.fixture(autouse=True)
def _state_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has trusted is written down in a folder of each test's own."""
    folder = tmp_path_factory.getbasetemp() / "state" / str(next(STATES))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    monkeypatch.setattr("hooks.own_classes._trusted", set())


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    return tiny_experiment()


@pytest.fixture(scope="session")
def run(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of 40 updates; tests that change a run copy it first."""
    return train(experiment, tmp_path_factory.mktemp("runs") / "tiny", device="cpu")


@pytest.fixture(scope="session")
def two_layer_run(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same with two layers, for what a single layer cannot have."""
    deeper = experiment.model_copy(update={"model": tiny_config(n_layers=2)})
    return train(deeper, tmp_path_factory.mktemp("runs") / "two-layers", device="cpu")


@pytest.fixture(scope="session")
def prompts_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of 4 updates on functions learned in context."""
    return train(tiny_prompts(), tmp_path_factory.mktemp("runs") / "prompts", device="cpu")


@pytest.fixture(scope="session")
def factors_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of 4 updates on labels of one factor of images."""
    return train(tiny_factors(), tmp_path_factory.mktemp("runs") / "factors", device="cpu")


@pytest.fixture(scope="session")
def repeats_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of 4 updates on repeated tokens."""
    return train(tiny_repeats(), tmp_path_factory.mktemp("runs") / "repeats", device="cpu")


@pytest.fixture(scope="session")
def sentences_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of 4 updates on sentences that have gold trees, and its internal measures."""
    run = train(tiny_sentences(), tmp_path_factory.mktemp("runs") / "sentences", device="cpu")
    analyze(run, InternalMeasures.reads)
    return run


@pytest.fixture(scope="session")
def parity_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of 40 updates of a network with one hidden layer."""
    return train(tiny_parity(), tmp_path_factory.mktemp("runs") / "parity", device="cpu")


@pytest.fixture(scope="session")
def analysed_sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """Eight finished runs of two axes and two seeds, measured for what is said of all of them."""
    folder = train_members(tiny_sweep(), tmp_path_factory.mktemp("sweeps") / "tiny")
    analyze_sweep(folder, ["OutcomeShares", "SeedSpread"])
    return folder


@pytest.fixture(scope="session")
def sentences_sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """Four finished runs on sentences, of two depths and two seeds, with internal measures."""
    vary = {"model.n_layers": [1, 2]}
    sweep = tiny_sweep(base=tiny_sentences(), vary=vary)
    folder = train_members(sweep, tmp_path_factory.mktemp("sweeps") / "sentences")
    analyze_sweep(folder, ["MeasuresByDepth"])
    return folder


@pytest.fixture(scope="session")
def selection_sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """Three finished runs: of each of two classes of functions alone, and of their mixture."""
    task = {"classes": [{"family": "dense"}, {"family": "sparse", "nnz": 1}]}
    vary = {"task.weights": [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]}
    sweep = tiny_sweep(base=tiny_prompts(**task), vary=vary, seeds=1)
    return train_members(sweep, tmp_path_factory.mktemp("sweeps") / "selection")


@pytest.fixture(scope="session")
def factors_sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """Two finished runs of different difficulty, measured for what is said of both."""
    sweep = tiny_sweep(base=tiny_factors(), vary={"task.difficulty": [0.3, 1.0]}, seeds=1)
    folder = train_members(sweep, tmp_path_factory.mktemp("sweeps") / "factors")
    analyze_sweep(folder, ["LearningPlateau", "WeightsComponent"])
    return folder


@pytest.fixture
def snapshot() -> Snapshot:
    """An untrained one-layer model on all 49 pairs of numbers below 7."""
    tokens = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))
    return Snapshot.of(random_model(), tokens_as_examples(tokens))


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    import shutil

    return shutil.copytree(run.path, tmp_path / "copy")
