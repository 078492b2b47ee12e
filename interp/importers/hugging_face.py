"""Folders and revisions of models as Hugging Face's transformers saves them.

Transformers reads config.json, for it knows the defaults of options that a file leaves out. The
tensors are read from the files themselves: `.safetensors`, or pickles by torch.load(weights_only),
in one file or in several with an index. Code that comes with a model is not run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from interp.importers.archives import Archive, as_step, step_in_name
from interp.importers.layouts import State
from interp.importers.reading import read_file, read_table

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there is read
FILES = ("*.safetensors", "*.safetensors.index.json")
PICKLES = ("*.bin", "*.bin.index.json")


@dataclass(frozen=True)
class Revision:
    """A model's folder, or a revision on the Hugging Face hub.

    Attributes:
        source: The folder, or a name on the hub.
        revision: The revision on the hub; None for a folder.
    """

    source: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.source if self.revision is None else f"{self.source} ({self.revision})"

    def read(self, cls: Any) -> Any:
        """What a class of transformers reads from it, without running code that comes with it.

        Raises:
            ValueError: It cannot be read; the message is one line.
        """
        place = {"local_files_only": True} if self.revision is None else {"revision": self.revision}
        try:
            return cls.from_pretrained(self.source, trust_remote_code=False, **place)
        except (
            Exception
        ) as error:  # a damaged file, or a config of wrong types, may fail in any way
            raise ValueError(f"{self} cannot be read: {_one_line(error)}") from None

    def config(self) -> dict[str, Any]:
        """The options of config.json, with transformers' defaults for those that it leaves out.

        Raises:
            ValueError: It cannot be read.
        """
        from transformers import AutoConfig  # heavy

        return self.read(AutoConfig).to_dict()

    def state(self) -> State:
        """All tensors by the names in the files.

        Raises:
            FileNotFoundError: There are no weights.
            ValueError: A file is damaged, or a part is missing.
        """
        return read_weights(self._folder())

    def _folder(self) -> Path:
        """Where the weights are; those of a revision on the hub are fetched into its cache."""
        if self.revision is None:
            return Path(self.source)
        from huggingface_hub import snapshot_download  # heavy

        try:
            for patterns in (FILES, PICKLES):
                folder = Path(
                    snapshot_download(
                        self.source, revision=self.revision, allow_patterns=[*patterns]
                    )
                )
                if has_weights(folder):
                    break
        except Exception as error:  # no network, no such name, no room, ...
            raise ValueError(f"{self} cannot be read: {_one_line(error)}") from None
        return folder


def has_weights(folder: Path) -> bool:
    """Whether a folder holds a model's weights, in one file or in several."""
    return any(
        (folder / f"{name}{end}").is_file() for name in WEIGHTS for end in ("", ".index.json")
    )


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model as transformers saves it: weights, and a config of a kind."""
    config = folder / "config.json"
    return has_weights(folder) and config.is_file() and "model_type" in read_table(config)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder by name.

    Raises:
        FileNotFoundError: There are no weights, or a part of them is missing.
        ValueError: A file is damaged, or its index names files or tensors that are not there.
    """
    for name in WEIGHTS:
        file, index = folder / name, folder / f"{name}.index.json"
        if file.is_file():
            return _tensors(file)
        if index.is_file():
            return _parts(index)
    raise FileNotFoundError(
        f"{folder} holds neither {' nor '.join(WEIGHTS)}, in one file or with an index: save the "
        "model again with save_pretrained"
    )


def _parts(index: Path) -> dict[str, Tensor]:
    """Tensors of several files, which an index names."""
    places = read_table(index).get("weight_map")
    if not isinstance(places, Mapping) or not places:
        raise ValueError(f"{index} holds no weight_map: save the model again with save_pretrained")
    tensors: dict[str, Tensor] = {}
    for name in sorted({str(name) for name in places.values()}):
        if Path(name).name != name:
            raise ValueError(f"{index} names {name!r}, which is no file beside it")
        tensors |= _tensors(index.parent / name)
    lacking = sorted(set(places) - set(tensors))
    if lacking:
        raise ValueError(f"{index} names {lacking[0]}, which is in none of its files")
    return tensors


def _tensors(file: Path) -> dict[str, Tensor]:
    content = read_file(file, pickles=(".bin",))
    others = [] if isinstance(content, Mapping) else ["it"]
    others += [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(f"{file}: {others[0]} is no tensor: save the model's state_dict() alone")
    return dict(content)


def model_folders(source: Path) -> list[Path]:
    """The folders of a series inside a folder, or the folder itself where it is a model; or none.

    A folder inside belongs to the series if it holds a model, and its name a step.
    """
    series = [folder for folder in _step_folders(source) if is_model(folder)]
    return series or ([source] if is_model(source) else [])


def _step_folders(source: Path) -> list[Path]:
    """The folders inside a folder whose names say a step."""
    return [folder for folder in source.iterdir() if folder.is_dir() and _is_step(folder.name)]


def model_archives(source: Path) -> Iterator[Archive]:
    """The archive of each model of a folder, ascending by step.

    Raises:
        ValueError: One cannot be read, or a folder whose name says a step holds no model.
    """
    folders = model_folders(source)
    if folders == [source]:
        revision = Revision(str(source))
        yield _archive(source, revision, step_in_name(source.resolve().name))
        return
    for folder in _step_folders(source):
        if folder not in folders:
            raise ValueError(
                f"{folder} holds no whole model (config.json with model_type, and "
                f"{' or '.join(WEIGHTS)}), unlike {folders[0].name}: complete it, or move it away"
            )
    steps = {folder: step_in_name(folder.name) or 0 for folder in folders}
    for folder in sorted(folders, key=lambda folder: (steps[folder], folder.name)):
        yield _archive(folder, Revision(str(folder)), steps[folder])


def _archive(folder: Path, revision: Revision, step: int | None) -> Archive:
    config, state = revision.config(), revision.state()
    return Archive(
        path=folder,
        checkpoints={} if step is None else {step: state},
        config=config,
        unplaced=state if step is None else None,
    )


def _is_step(name: str) -> bool:
    try:
        return as_step(step_in_name(name)) is not None
    except ValueError:
        return False


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
