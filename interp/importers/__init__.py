"""Other people's checkpoints become run folders: `import_run`, and `interp import`.

`LAYOUTS` lists the codes whose names and shapes are known; for others the user gives a table.
Folders that Hugging Face's transformers wrote can be looked at where they are: `language_series`.
Nothing in a file is run by reading it.
"""

from interp.importers.configs import user_options
from interp.importers.importing import describe, import_run
from interp.importers.language_series import language_series, repeated_sequences
from interp.importers.layouts import LAYOUTS

__all__ = [
    "LAYOUTS",
    "describe",
    "import_run",
    "language_series",
    "repeated_sequences",
    "user_options",
]
