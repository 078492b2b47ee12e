"""The tasks. Each has one file, and one line in `TASKS`."""

from interp.tasks.base import Batch, Task, model_inputs
from interp.tasks.bit_parity import BitParity
from interp.tasks.factors.factor_labels import FactorLabels
from interp.tasks.from_file.file_examples import FileExamples
from interp.tasks.functions.function_classes import FunctionClasses
from interp.tasks.functions.simple import SimpleFunction
from interp.tasks.language.dyck import Dyck
from interp.tasks.language.question_formation import QuestionFormation
from interp.tasks.language.tense_inflection import TenseInflection
from interp.tasks.modular_arithmetic import ModularArithmetic
from interp.tasks.repeated_tokens import RepeatedTokens
from interp.tasks.word_selection import WordSelection

TASKS: dict[str, type[Task]] = {
    task.model_fields["name"].default: task
    for task in (
        ModularArithmetic,
        BitParity,
        QuestionFormation,
        TenseInflection,
        Dyck,
        FunctionClasses,
        SimpleFunction,
        FactorLabels,
        WordSelection,
        RepeatedTokens,
        FileExamples,
    )
}

__all__ = ["TASKS", "Batch", "Task", "model_inputs"]
