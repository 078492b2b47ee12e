"""The experiments and sweeps that come with the package; naming them costs no heavy import."""

from pathlib import Path

PRESETS = Path(__file__).parent


def preset_names(folder: str = ".") -> list[str]:
    """Names of the experiments that come with the package, or of the sweeps, in `sweeps`."""
    return sorted(path.stem for path in (PRESETS / folder).glob("*.toml"))


def preset_summary(name: str, folder: str = ".") -> str:
    """The first line of a preset, which says what it trains."""
    text = (PRESETS / folder / f"{name}.toml").read_text(encoding="utf-8")
    return text.splitlines()[0].strip("# ")
