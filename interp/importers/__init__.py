"""Other people's checkpoints become run folders: `import_run`, and `interp import`.

Three layouts are known: a HookedTransformer's state_dict, in one file or in a file for each step;
an archive with `config`, `checkpoints` and `checkpoint_epochs`, as the public grokking demo writes
it; and the state_dicts of the progress-measures code. Nothing in a file is run by reading it.
"""

from interp.importers.configs import user_options
from interp.importers.importing import describe, import_run

__all__ = ["describe", "import_run", "user_options"]
