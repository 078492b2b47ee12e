"""Runs on the Hugging Face Hub: `hf://user/name`, or `hf://user/name@revision`.

A repository there is a run folder with a model card. It is downloaded into the Hub client's own
cache, whose snapshots (`models--user--name/snapshots/<commit>`) stay as they are: they are read,
through the cache's symbolic links, and nothing is written to them. Only files that a run folder has
are downloaded, and none of them is unpickled.
"""

import glob
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.config.experiment import read_toml

# Files of a run folder that are shared as they are, where it has them.
SHARED_FILES = ("environment.json", "metrics.jsonl", "data_files.json", "imported.json")
PATTERNS = (
    "experiment.toml",
    "README.md",
    *SHARED_FILES,
    "*.py",  # classes of the run's own, which are imported only if they are trusted
    "checkpoints/*.safetensors",
    "results/*.npz",  # in its folders too
)
# A path of the command line has lost one of the two slashes.
ADDRESS = re.compile(
    r"hf:/{1,2}(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?"
)
SNAPSHOT = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)")
COMMIT = re.compile(r"[0-9a-f]{40}")
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
UNREACHED = (
    "the Hub cannot be reached, and an earlier download is not in the cache: see to the network, "
    "and that HF_HUB_OFFLINE is not set"
)


@dataclass(frozen=True)
class HubAddress:
    """Where a run is on the Hub.

    Attributes:
        repository: `user/name`.
        revision: A branch, tag or commit; empty for the main branch.
    """

    repository: str
    revision: str = ""

    def __str__(self) -> str:
        return f"hf://{self.repository}{self.revision and f'@{self.revision}'}"

    @property
    def name(self) -> str:
        """The repository's name without its owner."""
        return self.repository.partition("/")[2]


def is_address(path: str | Path) -> bool:
    """Whether a text is meant as an address on the Hub rather than as a folder."""
    text = path.as_posix() if isinstance(path, Path) else path
    return text.startswith("hf:/")


def parse_address(path: str | Path) -> HubAddress:
    """The address that a text is.

    Raises:
        ValueError: It is none.
    """
    text = path.as_posix() if isinstance(path, Path) else path
    match = ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is no address on the Hub: write hf://user/name@revision")
    return HubAddress(match["repository"], match["revision"] or "")


def source_of(folder: Path) -> HubAddress | None:
    """The address of which a folder is the snapshot in the Hub client's cache; None for others."""
    place = folder.absolute()
    match = SNAPSHOT.fullmatch(place.parent.parent.name)
    if match is None or place.parent.name != "snapshots" or not COMMIT.fullmatch(place.name):
        return None
    return HubAddress(f"{match['owner']}/{match['name']}", place.name)


def downloaded(address: HubAddress) -> Path:
    """The folder of a run on the Hub, downloaded where it is not in the cache yet.

    Raises:
        FileNotFoundError: No such repository or revision, it holds no run, or it is not to be had.
        ValueError: It may not be read, or the Hub refuses for another reason.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    options: dict[str, Any] = {"repo_id": address.repository, "library_name": "interp"}
    with hub_errors(address):
        file = Path(
            hf_hub_download(
                filename="experiment.toml", revision=address.revision or None, **options
            )
        )
    # Data files have names of their own, which the experiment says.
    named = [glob.escape(text) for text in _texts(read_toml(file))]
    with hub_errors(address):
        return Path(
            snapshot_download(
                revision=file.parent.name, allow_patterns=[*PATTERNS, *named], **options
            )
        )


@contextmanager
def hub_errors(address: HubAddress) -> Iterator[None]:
    """Says in one line what the Hub's client raises.

    Raises:
        FileNotFoundError: What is asked for is not there, or cannot be reached.
        ValueError: The Hub refuses, or the client breaks off.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except Exception as error:
        is_refusal = isinstance(error, HfHubHTTPError)
        if isinstance(error, ValueError) and not is_refusal:
            raise  # says what is wrong with a name, or is ours
        missing = _missing(error, address)
        if missing:
            raise FileNotFoundError(f"{address}{missing}") from error
        reason = _refusal(error) if is_refusal else _breaking_off(error)
        raise ValueError(f"{address}: {reason}") from error


def _missing(error: Exception, address: HubAddress) -> str:
    """What of an address is not there, and what to do about it; nothing for other errors."""
    from huggingface_hub import errors

    reasons = {
        errors.GatedRepoError: ": its owner grants access one by one: ask for it on the "
        f"repository's page, and {LOG_IN}",
        errors.RepositoryNotFoundError: ": no such repository, or a private one: see to its name, "
        f"and for a private one {LOG_IN}",
        errors.RevisionNotFoundError: f": the repository has no revision '{address.revision}': "
        "name a branch, a tag or a whole commit",
        errors.RemoteEntryNotFoundError: " is not a run: the repository has no experiment.toml",
        errors.LocalEntryNotFoundError: f": {UNREACHED}",
        errors.OfflineModeIsEnabled: f": {UNREACHED}",
    }
    return next((words for kind, words in reasons.items() if isinstance(error, kind)), "")


def _refusal(error: Any) -> str:
    """What the Hub says of a request that it does not fulfil."""
    status = error.response.status_code
    if status in (401, 403):
        return f"the Hub refuses ({status}): {LOG_IN}, with a token that may do this"
    said = error.server_message or str(error)
    return f"the Hub refuses ({status}): {' '.join(said.split())}"


def _breaking_off(error: BaseException) -> str:
    """What stopped the client, which may hide it behind other errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = " ".join(str(error).split()) or "no reason given"
    return (
        f"the Hub's client broke off ({type(error).__name__}: {said}); see to the network, and "
        "try again"
    )


def _texts(value: Any) -> set[str]:
    """All texts in a table."""
    if isinstance(value, Mapping | list):
        parts = value.values() if isinstance(value, Mapping) else value
        return set().union(*map(_texts, parts))
    return {value} if isinstance(value, str) else set()
