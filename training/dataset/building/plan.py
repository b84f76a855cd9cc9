"""Plans in YAML: the sets of a data set, their numbers of samples, and how samples are drawn."""

from dataclasses import field, fields, replace
from pathlib import Path
from typing import Annotated

from depictqa_core.errors import DepictQAError
from depictqa_core.storage.documents import named, nearest
from depictqa_core.storage.rules import Rule, number, one_of, whole
from training.validation import NAME, Allowed, checked, data_model, instance_of, optional, read_yaml

from ..readers import READERS
from ..records.format import FORMS, PUBLISHED_EXCLUDE, Mix
from .samples import KINDS, Drawing

PUBLISHED_MIX = Mix(short_tail=0.5, rating_tail=0.5, exclude=PUBLISHED_EXCLUDE, exclude_probability=1.0)
"""Question forms and filter of the published data (method.md 3.2, 6.3)."""


class PlanError(DepictQAError, ValueError):
    """A plan that cannot be carried out: an unknown key, a missing one, or an impossible value."""


COUNT = whole(0, 10**9)
SET_NAME = one_of(*KINDS)


@data_model
class Wanted:
    """One set: ``samples`` to make, and the most records of them with a reference (``fr``) and without (``nr``).

    None takes all. Records without a reference are those left by the filter of subtle changes (method.md 6.3).
    """

    samples: Annotated[int, Allowed(COUNT)]
    fr: Annotated[int | None, Allowed(optional(COUNT))] = None
    nr: Annotated[int | None, Allowed(optional(COUNT))] = None

    def scaled(self, factor: float) -> "Wanted":
        """The same shares of a smaller or larger set; at least one sample of each set that had any."""

        def times(value):
            return value and max(1, round(value * factor))

        return Wanted(times(self.samples), times(self.fr), times(self.nr))


@data_model
class RatingSet:
    """A human rating set: ``reader`` (see ``readers``), its ``folder`` below the data root, and how pairs are drawn.

    ``margin`` is the difference that a pair must have, as a share of the set's own scale; None takes the reader's.
    """

    reader: Annotated[str, Allowed(one_of(*READERS))]
    folder: Annotated[str, Allowed(NAME)]
    pairs: Annotated[int, Allowed(whole(1, 10**9))]
    margin: Annotated[float | None, Allowed(optional(number(0, 1)))] = None
    split: Annotated[str | None, Allowed(optional(NAME))] = None


def _sets_of(kind: type, allowed: str) -> Rule:
    """Sets by name."""
    return Rule(
        allowed,
        lambda v: isinstance(v, dict) and all(SET_NAME.fits(name) and isinstance(v[name], kind) for name in v),
    )


SETS = _sets_of(Wanted, f"what is wanted of sets of these names: {', '.join(KINDS)}")


@data_model
class Plan:
    """A whole data set. Sample i of a set depends on (seed, set, i) and the source images alone.

    Attributes:
        name: for people.
        seed: seed of everything random.
        form: records for "train" (conversations) or "test" (query and answer).
        drawing: how samples are drawn.
        mix: how questions are drawn and which records are left out without a reference.
        sets: set name (``samples.KINDS``) -> what is wanted of it.
        ratings: human rating sets whose pairs become rating records.
        decided_ratings: sets of distorted images that can stand in for ``ratings`` where those are not at hand.
    """

    name: Annotated[str, Allowed(NAME)]
    seed: Annotated[int, Allowed(whole(0, 2**63 - 1))]
    form: Annotated[str, Allowed(one_of(*FORMS))] = "train"
    drawing: Annotated[Drawing, Allowed(instance_of(Drawing, "how samples are drawn"))] = field(default_factory=Drawing)
    mix: Annotated[Mix, Allowed(instance_of(Mix, "how questions are drawn"))] = PUBLISHED_MIX
    sets: Annotated[dict[str, Wanted], Allowed(SETS)] = field(default_factory=dict)
    ratings: Annotated[tuple[RatingSet, ...], Allowed(instance_of(tuple, "a list of rating sets"))] = ()
    decided_ratings: Annotated[dict[str, Wanted], Allowed(SETS)] = field(default_factory=dict)

    def __post_init__(self):
        if not any(wanted.samples for wanted in self.sets.values()) and not self.ratings:
            raise ValueError("no set has samples, and there are no ratings: nothing would be made")

    def scaled(self, factor: float) -> "Plan":
        """A smaller data set of the same shape, for trials."""
        if not factor > 0:
            raise PlanError(f"the scale must be above 0, not {factor}")
        return replace(
            self,
            sets={name: wanted.scaled(factor) for name, wanted in self.sets.items()},
            ratings=tuple(replace(one, pairs=max(1, round(one.pairs * factor))) for one in self.ratings),
            decided_ratings={name: wanted.scaled(factor) for name, wanted in self.decided_ratings.items()},
        )

    def with_decided_ratings(self) -> "Plan":
        """The plan without human rating sets: their pairs are distorted images whose order the metrics decide."""
        if not self.decided_ratings:
            raise PlanError(f"{self.name} has no decided_ratings to replace its ratings")
        return replace(self, ratings=(), sets={**self.sets, **self.decided_ratings})

    def only(self, parts: list[str]) -> "Plan":
        """The sets and rating sets of these names; "identification" stands for its two sets, "rating" for all."""
        known = {*self.sets, *(KINDS[name].task for name in self.sets), *(one.reader for one in self.ratings)}
        known |= {"rating"} if self.ratings else set()
        if unknown := [part for part in parts if part not in known]:
            instead = {*self.decided_ratings, *(KINDS[name].task for name in self.decided_ratings)}
            hint = "; with --decided-ratings it has" if unknown[0] in instead else ""
            raise PlanError(f"{self.name} has no part '{unknown[0]}'{hint}: choose from {', '.join(sorted(known))}")
        sets = {name: one for name, one in self.sets.items() if name in parts or KINDS[name].task in parts}
        return replace(
            self, sets=sets, ratings=tuple(one for one in self.ratings if "rating" in parts or one.reader in parts)
        )


def read_plan(path: str | Path) -> Plan:
    """Read and check a plan.

    Raises:
        PlanError: no YAML mapping, an unknown or missing key, or an impossible value; the message names it.
    """
    content, where = read_yaml(path, where=f"the plan {named(path)}", error=PlanError), named(path)
    for key, default in (("drawing", Drawing()), ("mix", PUBLISHED_MIX)):
        if isinstance(content.get(key), dict):
            changes = {name: tuple(one) if isinstance(one, list) else one for name, one in content[key].items()}
            content[key] = checked(type(default), {**vars_of(default), **changes}, where, PlanError, f"{key}.")
    for key in ("sets", "decided_ratings"):
        if isinstance(content.get(key), dict):
            content[key] = {
                name: checked(
                    Wanted, one if isinstance(one, dict) else {"samples": one}, where, PlanError, f"{key}.{name}."
                )
                for name, one in content[key].items()
            }
            if unknown := [name for name in content[key] if name not in KINDS]:
                near = nearest(unknown[0], KINDS)
                raise PlanError(f"{where}: {key}: unknown set '{unknown[0]}'{near}; choose from {', '.join(KINDS)}")
    if isinstance(content.get("ratings"), list):
        content["ratings"] = tuple(
            checked(RatingSet, one, where, PlanError, f"ratings: entry {place}: ")
            for place, one in enumerate(content["ratings"], 1)
        )
    return checked(Plan, content, where, PlanError)


def vars_of(model) -> dict:
    """The fields of a data model by name."""
    return {item.name: getattr(model, item.name) for item in fields(model)}
