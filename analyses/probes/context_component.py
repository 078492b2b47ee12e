"""What does context add to a query? Whether it is read off which factor, or rule, is asked for.

The stream of a prompt's last query with its whole context, and the rest that remains of it when
what the weights alone make of the query is taken off, in each of the three forms:

    in_context = h(q; C)        beyond_<form> = h(q; C) - w_form(q)

Source: Fu et al. 2024 (arXiv:2309.06054), who probe h(q; C) for the factor that the prompt is
about; at which layer is not known to us. They define the component as the remainder and do not
subtract: the remainders are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from analyses.probes.components import ComponentScores, beside, component_fields, residual_sites
from analyses.probes.fit import PENALTIES
from analyses.probes.inputs import label_values
from analyses.probes.scores import check_method
from analyses.probes.without_context import FORMS, States, states_in_context, states_without_context
from analyses.result import check_needs
from analyses.rounding import SIZE_FLOOR
from hooks import Examples, Snapshot

IN_CONTEXT = "in_context"


@dataclass(frozen=True, eq=False)
class ContextComponent(ComponentScores):
    """How well the latent task of a prompt is read from its last query's residual stream.

    The first label is the task as one of so many; the others ask for each task whether it is this
    one. Means are over the first alone. `raw` reads the inputs of all positions.
    """

    needs: ClassVar = ("constants.asked", "attention")
    depth: ClassVar = ("middle", 1 / 2)

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "ContextComponent | None" = None,
        forms: Sequence[str] = FORMS,
        method: str = "ridge",
        penalties: Sequence[float] = PENALTIES,
        seed: int = 0,
    ) -> "ContextComponent":
        """Measures one snapshot on its prompts.

        Args:
            snapshot: A model, on prompts that ask for one of several things.
            reference: The first snapshot's result with the same options; one of step 0 is its own.
            forms: How what the weights make of the query is told: identity, alone, zeroed.
            method: "ridge", "logistic" or "adam".
            penalties: Candidates, of which each probe takes the best on validation prompts.
            seed: Of the split and the shuffles.

        Raises:
            ValueError: Prompts do not say what they ask for, it cannot be probed, a form or method
                is unknown, activations are not finite, or `reference` has other options.
        """
        check_needs(cls, snapshot)
        check_method(method, penalties)
        sites = residual_sites(snapshot)
        states = {IN_CONTEXT: states_in_context(snapshot, sites)}
        for form in forms:
            without = states_without_context(snapshot, sites, form)
            states[f"beyond_{form}"] = _difference(states[IN_CONTEXT], without)
        how: dict[str, Any] = {"seed": seed, "method": method, "penalties": tuple(penalties)}
        fields = component_fields(
            asked_values(snapshot.examples), states, snapshot.examples,
            has_raw=reference is None, how=how,
        )  # fmt: skip
        return beside(cls(**fields, mean_of=1), reference, snapshot.step)


def asked_values(examples: Examples) -> Mapping[str, Int[Tensor, " batch"]]:
    """What prompts ask for: as one of so many under the label's name, and yes or no for each.

    Raises:
        ValueError: All prompts ask for the same.
    """
    label = examples.constants["asked"]
    (values,) = label_values(examples, label).values()
    names = examples.constants.get("asked_names", ())
    every = values.unique().tolist()
    if len(every) < 2:
        raise ValueError(f"label '{label}' is the same in all {len(examples)} prompts: take more")
    is_each = {
        f"is {names[each] if len(names) > each else each}": (values == each).long()
        for each in every
    }
    return {label: values} | is_each


def _difference(states: States, without: States) -> States:
    return {site: remainder(states[site], without[site]) for site in states}


def remainder(
    whole: Float[Tensor, "batch query feature"], part: Float[Tensor, "batch query feature"]
) -> Float[Tensor, "batch query feature"]:
    """One less the other, features that are left with rounding alone taken as 0.

    Rounding is told by the largest number of the whole: a probe scales its features, and would
    read what the two were rounded to.
    """
    left = whole - part
    spread = left.amax((0, 1)) - left.amin((0, 1))
    return left.masked_fill(spread <= SIZE_FLOOR * whole.abs().max(), 0)
