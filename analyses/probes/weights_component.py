"""What do the weights alone make of a query? Its factors, read from its stream without context.

Where this gets worse while training, below its value at the start, the paper speaks of dysfunction:
what must be compared with the context's examples is no longer there.

Source: Fu et al. 2024 (arXiv:2309.06054) and code: attention replaced by the identity, the output
of the third of twelve blocks, one linear layer that reads all factors, mean accuracy over factors.
There Adam makes one pass over 4 million images (`method="adam"` makes as many updates); here each
factor has its own ridge probe, fitted to the end on the prompts' last images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from analyses.probes.components import ComponentScores, beside, component_fields, residual_sites
from analyses.probes.fit import PENALTIES
from analyses.probes.inputs import label_values
from analyses.probes.scores import check_method
from analyses.probes.without_context import FORMS, query_only, states_without_context
from analyses.result import check_needs
from hooks import Snapshot


@dataclass(frozen=True, eq=False)
class WeightsComponent(ComponentScores):
    """How well each factor of a query is read from its residual stream without context.

    `raw` reads the query's own input. Where factors are real numbers (inputs of a function) scores
    are R², so that 1 - score is the error over that of guessing the mean.
    """

    needs: ClassVar = ("constants.factors", "attention")

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "WeightsComponent | None" = None,
        forms: Sequence[str] = FORMS,
        method: str = "ridge",
        penalties: Sequence[float] = PENALTIES,
        seed: int = 0,
    ) -> "WeightsComponent":
        """Measures one snapshot on the last queries of its prompts.

        Args:
            snapshot: A model, on prompts whose last query has factors as labels.
            reference: The first snapshot's result with the same options; one of step 0 is its own.
            forms: How context is taken away: identity, alone, zeroed; the first is quoted.
            method: "ridge", or "logistic" and "adam", which read classes only.
            penalties: Candidates, of which each probe takes the best on validation prompts.
            seed: Of the split and the shuffles.

        Raises:
            ValueError: The examples have no factors, one cannot be probed, a form or method is
                unknown, activations are not finite, or `reference` has other options.
        """
        check_needs(cls, snapshot)
        check_method(method, penalties)
        single, sites = query_only(snapshot.examples), residual_sites(snapshot)
        states = {form: states_without_context(snapshot, sites, form) for form in forms}
        if not states:
            raise ValueError(f"forms: name one of {', '.join(FORMS)}")
        values = label_values(single, list(single.constants["factors"]))
        how: dict[str, Any] = {"seed": seed, "method": method, "penalties": tuple(penalties)}
        fields = component_fields(values, states, single, has_raw=reference is None, how=how)
        result = cls(**fields, mean_of=len(fields["labels"]))
        return beside(result, reference, snapshot.step)
