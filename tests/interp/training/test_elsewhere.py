"""What a GPU would refuse is found without one, on a device that stands in for it."""

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no backends in Python: placing of tensors was not checked",
)


@pytest.mark.parametrize("what", ["steps", "analyses"])
def test_models_elsewhere_compute_what_they_do_on_the_cpu(what):
    command = [sys.executable, "-O", "-m", "tests.elsewhere", what]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("alike"), done.stderr[-3000:]
