"""The versions that are said to work are those that are installed and tried."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = [*PROJECT["dependencies"], *EXTRAS["test"], *EXTRAS["xarray"]]
REQUIRED = [Requirement(line) for line in NEEDED if not line.startswith("interp")]
TOOLS = [Requirement(line) for line in [*EXTRAS["dev"], *EXTRAS["docs"]] if "interp" not in line]
BOUNDED = [
    (required.name, bound.version)
    for required in REQUIRED
    for bound in required.specifier
    if bound.operator == ">=" and required.name != "torch"  # one with a small build for the CPU
]


def versions(name: str) -> dict[str, Version]:
    """Version of each package that a file of constraints names for this Python."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {pin.name: Version(str(pin.specifier).removeprefix("==")) for pin in here}


@pytest.mark.parametrize("required", [*REQUIRED, *TOOLS], ids=str)
def test_the_known_versions_are_within_the_bounds(required):
    assert versions("constraints.txt")[required.name] in required.specifier


@pytest.mark.parametrize(("name", "bound"), BOUNDED)
def test_the_lowest_versions_are_the_lower_bounds(name, bound):
    assert versions("constraints-lowest.txt")[name] == Version(bound)


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-lowest.txt"])
def test_torch_is_one_with_a_small_build(name):
    assert versions(name)["torch"] == Version("2.13.0")
