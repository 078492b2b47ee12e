"""A run given to the Hugging Face Hub: what of its folder is uploaded, and what is not?

Uploaded are experiment, environment, metrics, checkpoints and current results, the data files that
lie in the folder, and a model card. Not the optimiser's state, marks of failures, locks and
trackers, and results that are no longer current. Paths of this machine stay here: the experiment
names data files of the folder by relative paths, and others, which stay here, by their names.
"""

import re
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from analyses import ANALYSES
from hooks.own_classes import file_of, short_name
from interp.config import Experiment
from interp.runs import (
    SHARED_FILES,
    HubAddress,
    Run,
    Saved,
    check_run,
    current_results,
    hub_errors,
    locked,
    parse_address,
)
from interp.sharing.card import merged, model_card
from interp.tasks.data_files import UNREAD, names_folders, taken_from

CARD, EXPERIMENT = "README.md", "experiment.toml"
# What a push deletes where the run no longer has it.
OURS = re.compile(r"(checkpoints|results)/.*|" + "|".join(map(re.escape, SHARED_FILES)))
# What a repository may hold before its first run.
BESIDE = re.compile(r"README\.md|\.gitattributes|\.gitignore|LICENSE.*")
CONFLICT = 409  # the status of making what is there already


@dataclass(frozen=True)
class Upload:
    """What of a run is uploaded.

    Attributes:
        files: Contents, or files on this machine, by path in the repository.
        results: The current results among them.
        missing: For each data file that is not among them, the field that names it, and its name.
        left_out: What is not uploaded though one might expect it, in a line each.
    """

    files: Mapping[str, bytes | Path]
    results: Sequence[Saved]
    missing: Mapping[str, str]
    left_out: tuple[str, ...]


def push(run: Run, address: str, *, private: bool = False) -> str:
    """Uploads a run to the Hugging Face Hub in one commit; the repository is made where missing.

    What an earlier push uploaded and the run no longer has is deleted in that commit. The license,
    and what else its owner wrote into README.md, stay. A warning names what is not uploaded though
    one might expect it: results that are not current, and data files outside the run's folder.

    Args:
        run: The run.
        address: `hf://user/name`, or `hf://user/name@branch`; a missing branch is made.
        private: Whether nobody else may see the repository; one that is public is then refused.

    Returns:
        The address with the commit as revision, which later pushes do not change.

    Raises:
        ValueError: Another process works on the run, it has no checkpoints or a damaged one, its
            experiment holds other paths of this machine than those of data files, the repository
            holds something else or is public, or the Hub refuses.
        FileNotFoundError: A file that the task reads is gone.
        TypeError: `run` is none.
    """
    check_run(run, "interp.push")
    target = parse_address(address)
    with locked(run.path):
        upload = upload_of(run)
        for line in upload.left_out:
            warnings.warn(f"{run.path}: {line}", stacklevel=2)
        card = model_card(run, target, upload.results, list(upload.missing.values()))
        with hub_errors(target):
            commit = _commit(upload.files, card, target, private=private)
    return str(HubAddress(target.repository, commit))


def upload_of(run: Run) -> Upload:
    """What of a run is uploaded.

    Raises:
        ValueError: There are no checkpoints, one is damaged, or the experiment holds other paths
            of this machine than those of data files.
        FileNotFoundError: A file that the task reads is gone.
    """
    if not run.steps:
        raise ValueError(f"{run.path}: no checkpoints to share; train it with `interp train`")
    for step in run.steps:
        dict(run.parameters(step))  # raises where one is damaged
    inside, missing = _data_files(run)
    files: dict[str, bytes | Path] = {}
    files |= {name: run.path / name for name in SHARED_FILES if (run.path / name).is_file()}
    files |= {f"checkpoints/{step}.safetensors": run.checkpoint(step) for step in run.steps}
    files |= {name: Path(path) for path, name in inside.items()}
    own, code = _own_classes(run)
    files = {EXPERIMENT: _shared_experiment(run, inside, missing, own), **files, **code}
    everything, stale = current_results(run)
    results = [saved for saved in everything if saved.name in [*ANALYSES]]
    places = [saved.file(step) for saved in results for step in saved.steps or (None,)]
    files |= {place.relative_to(run.path).as_posix(): place for place in places}
    fields = {field: Path(path) for field, path in run.experiment.data_files.items()}
    absent = {field: missing[str(path)] for field, path in fields.items() if str(path) in missing}
    left_out = [
        f"{field}: {name} lies outside of the run's folder, and is not uploaded"
        for field, name in absent.items()
    ] + [
        f"results of {saved.name}, an analysis of your own, are not uploaded"
        for saved in everything
        if saved not in results
    ]
    return Upload(files, results, absent, (*left_out, *([stale] if stale else [])))


def _data_files(run: Run) -> tuple[dict[str, str], dict[str, str]]:
    """What data files are called in the repository: those in the run's folder, and the others.

    Returns:
        Paths in the folder, and names, by path on this machine.
    """
    folder = run.path.resolve()
    inside: dict[str, str] = {}
    missing: dict[str, str] = {}
    for path in dict.fromkeys(run.experiment.data_files.values()):
        place = Path(path).resolve()
        if place.is_relative_to(folder) and place.is_file():
            inside[path] = place.relative_to(folder).as_posix()
            continue
        name = place.name
        while name in (*inside.values(), *missing.values()):
            name = f"other-{name}"
        missing[path] = name
    return inside, missing


def _own_classes(run: Run) -> tuple[dict[str, str], dict[str, Path]]:
    """What the user's own classes are called in the repository, and the files that hold them.

    Whoever loads the run reads such a file, and says whether it may be imported.
    """
    names: dict[str, str] = {}
    code: dict[str, Path] = {}
    for reference in run.experiment.own_classes.values():
        file = file_of(reference)
        if reference.rpartition(":")[0].endswith(".py") and file is not None:
            names[reference] = f"{file.name}:{short_name(reference)}"
            if file.is_file():
                code[file.name] = file
    return names, code


def _shared_experiment(run: Run, *names: Mapping[str, str]) -> bytes:
    """The experiment as TOML, with each data file under its name in the repository.

    Raises:
        ValueError: It holds another path of this machine.
    """
    new = {path: name for table in names for path, name in table.items()}

    def shared(value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {key: shared(part, f"{place}.{key}") for key, part in value.items()}
        if isinstance(value, list):
            return [shared(part, f"{place}.{n}") for n, part in enumerate(value)]
        if isinstance(value, str) and value not in new and names_folders(value):
            raise ValueError(
                f"{run.path / EXPERIMENT}: {place.removeprefix('.')} is {value}, a path of this "
                "machine, which would be published: write a relative one"
            )
        return new.get(value, value) if isinstance(value, str) else value

    table = run.experiment.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(shared(table, "")).encode()


def _commit(
    files: Mapping[str, bytes | Path], card: str, target: HubAddress, *, private: bool
) -> str:
    """Makes the repository hold some files, and returns the commit.

    Raises:
        ValueError: It holds something else, or is public though it must not be.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(library_name="interp")
    where: dict[str, Any] = {"repo_id": target.repository, "revision": target.revision or None}
    api.create_repo(target.repository, private=private or None, exist_ok=True)
    if private and not api.repo_info(target.repository).private:
        raise ValueError(
            f"hf://{target.repository} is public: make it private on its page, or leave --private "
            "out"
        )
    is_new = bool(target.revision) and _made_branch(api, target)
    there = set(api.list_repo_files(**where))
    if not is_new:
        _check_repository(api, where, there, files[EXPERIMENT])
    earlier = _remote(api, where, CARD).decode() if CARD in there else ""
    contents = {**files, CARD: merged(card, earlier).encode()}
    stale = [name for name in there - contents.keys() if OURS.fullmatch(name)]
    operations = [
        *(CommitOperationAdd(name, content) for name, content in contents.items()),
        *(CommitOperationDelete(name) for name in sorted(stale)),
    ]
    return api.create_commit(operations=operations, commit_message="Upload a run", **where).oid


def _made_branch(api: Any, target: HubAddress) -> bool:
    """Makes a branch of the main one; whether it was missing."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_branch(target.repository, branch=target.revision)
    except HfHubHTTPError as error:
        if error.response.status_code != CONFLICT:
            raise
        return False
    return True


def _check_repository(
    api: Any, where: Mapping[str, Any], there: set[str], experiment: bytes | Path
) -> None:
    """Refuses a repository of something else, or of another run's.

    Raises:
        ValueError: It holds other files and no run, or a run of another experiment.
    """
    name = f"hf://{where['repo_id']}"
    if EXPERIMENT not in there:
        others = sorted(file for file in there if not BESIDE.fullmatch(file))
        if others:
            raise ValueError(
                f"{name} holds other files ({others[0]}) and no run: choose a new repository"
            )
        return
    assert isinstance(experiment, bytes)
    if _experiment(_remote(api, where, EXPERIMENT)) != _experiment(experiment):
        raise ValueError(
            f"{name} holds the run of another experiment: choose a new repository, or a new branch "
            f"({name}@BRANCH)"
        )


def _experiment(content: bytes) -> Experiment | None:
    """A shared experiment; None where it cannot be read."""
    try:
        table = tomllib.loads(content.decode())
        return Experiment.model_validate(table, context=taken_from(UNREAD))
    except ValueError:
        return None


def _remote(api: Any, where: Mapping[str, Any], name: str) -> bytes:
    """A file of a repository."""
    return Path(api.hf_hub_download(filename=name, **where)).read_bytes()
