import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import interp


def test_no_submodule_has_the_name_of_something_public():
    # Importing it would put the module in the place of the function.
    assert not {module.name for module in pkgutil.iter_modules(interp.__path__)} & {*interp.__all__}


@pytest.mark.parametrize("name", interp.__all__)
def test_every_public_name_is_there_and_callable(name):
    assert callable(getattr(interp, name))


def test_type_checkers_see_what_python_sees():
    tree = ast.parse(Path(interp.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in imports for alias in node.names
    }  # fmt: skip
    there = {
        name: f"{interp._MODULES[name]}.{interp._CALLED.get(name, name)}" for name in interp.__all__
    }
    assert seen == there


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'interp' has no attribute 'anlyze'"):
        _ = interp.anlyze  # pyright: ignore[reportAttributeAccessIssue]  # refused


def test_importing_the_package_imports_no_torch():
    code = "import sys, interp; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
