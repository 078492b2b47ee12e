import subprocess
import sys

import pytest

SUBMODULES = ["train", "analyze", "report", "show", "demo", "run"]
FUNCTIONS = ["train", "analyze", "trace", "report", "show", "load"]


def not_callable(before, submodules, after):
    """Functions of the package that are none, in a fresh process that looks names up in order."""
    code = f"""
import importlib, interp
[getattr(interp, name) for name in {before}]
[importlib.import_module("interp." + name) for name in {submodules}]
print([name for name in {after} if not callable(getattr(interp, name))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("submodules", "functions"), [(SUBMODULES, FUNCTIONS), (SUBMODULES[::-1], FUNCTIONS[::-1])]
)
def test_functions_stay_functions_once_submodules_are_imported(submodules, functions):
    assert not_callable([], submodules, functions) == "[]"


def test_functions_stay_functions_where_they_were_looked_up_first():
    assert not_callable(FUNCTIONS, SUBMODULES, FUNCTIONS) == "[]"
