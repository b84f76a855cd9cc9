"""Plans: how many samples of which sets a data set has and how they are drawn, in YAML that is checked beforehand."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin

import yaml

from .readers import READERS
from .record_format import PUBLISHED_EXCLUDE, Mix
from .samples import KINDS, Drawing

PUBLISHED_MIX = Mix(short_tail=0.5, rating_tail=0.5, exclude=PUBLISHED_EXCLUDE, exclude_probability=1.0)
"""Question forms and filter of the published data (facts 3.2, 6.3)."""


class PlanError(ValueError):
    """A plan that cannot be carried out: an unknown key, a missing one, or an impossible value."""


@dataclass(frozen=True)
class Wanted:
    """One set: ``samples`` to make, and the most records of them with a reference (``fr``) and without (``nr``).

    None takes all. Records without a reference are those left by the filter of subtle changes (facts 6.3).
    """

    samples: int
    fr: int | None = None
    nr: int | None = None

    def __post_init__(self):
        for name, value in vars(self).items():
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")

    def scaled(self, factor: float) -> "Wanted":
        """The same shares of a smaller or larger set; at least one sample of each set that had any."""

        def times(value):
            return value and max(1, round(value * factor))

        return Wanted(times(self.samples), times(self.fr), times(self.nr))


@dataclass(frozen=True)
class RatingSet:
    """A human rating set: ``reader`` (see ``readers``), its ``folder`` below the data root, and how pairs are drawn.

    ``margin`` is the difference that a pair must have, as a share of the set's own scale; None takes the reader's.
    """

    reader: str
    folder: str
    pairs: int
    margin: float | None = None
    split: str | None = None

    def __post_init__(self):
        if self.pairs < 1 or not 0 <= (self.margin or 0) <= 1:
            raise ValueError("pairs must be at least 1, and margin a share from 0 to 1")


@dataclass(frozen=True)
class Plan:
    """A whole data set. Sample i of a set depends on (seed, set, i) and the source pictures alone.

    Attributes:
        name: for people.
        seed: seed of everything random.
        form: records for "train" (conversations) or "test" (query and answer).
        drawing: how samples are drawn.
        mix: how questions are drawn and which records are left out without a reference.
        sets: set name (``samples.KINDS``) -> what is wanted of it.
        ratings: human rating sets whose pairs become rating records.
        decided_ratings: sets of distorted pictures that can stand in for ``ratings`` where those are not at hand.
    """

    name: str
    seed: int
    form: str = "train"
    drawing: Drawing = field(default_factory=Drawing)
    mix: Mix = PUBLISHED_MIX
    sets: dict[str, Wanted] = field(default_factory=dict)
    ratings: tuple[RatingSet, ...] = ()
    decided_ratings: dict[str, Wanted] = field(default_factory=dict)

    def __post_init__(self):
        if self.form not in ("train", "test"):
            raise ValueError(f"form must be train or test, not {self.form!r}")
        for name in (*self.sets, *self.decided_ratings):
            if name not in KINDS:
                raise ValueError(f"unknown set '{name}': choose from {', '.join(KINDS)}")
        for one in self.ratings:
            if one.reader not in READERS:
                raise ValueError(f"unknown rating set '{one.reader}': choose from {', '.join(READERS)}")
        if self.seed < 0:
            raise ValueError(f"seed must be a whole number from 0, not {self.seed}")
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
        """The plan without human rating sets: their pairs are distorted pictures whose order the metrics decide."""
        if not self.decided_ratings:
            raise PlanError(f"{self.name} has no decided_ratings to put in the place of its ratings")
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
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"the plan {path} cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise PlanError(f"{path} is no plan: {' '.join(str(error).split())}") from error
    content = _mapping(content, str(path))
    made: dict = {}
    for key, default in (("drawing", Drawing()), ("mix", PUBLISHED_MIX)):
        if key in content:
            made[key] = _make(partial(replace, default), content[key], type(default), f"{path}: {key}")
    for key in ("sets", "decided_ratings"):
        made[key] = {
            name: _make(Wanted, {"samples": one} if isinstance(one, int) else one, Wanted, f"{path}: {key}: {name}")
            for name, one in _mapping(content.get(key, {}), f"{path}: {key}").items()
        }
    made["ratings"] = tuple(
        _make(RatingSet, one, RatingSet, f"{path}: ratings: entry {number}")
        for number, one in enumerate(content.get("ratings") or (), 1)
    )
    return _make(Plan, {**content, **made}, Plan, str(path))


def _mapping(value, where: str) -> dict:
    if not isinstance(value, Mapping):
        raise PlanError(f"{where} must hold keys and values, not {value!r}")
    return dict(value)


def _make(make: Callable, values, kind: type, where: str):
    """``make(**values)`` after a check of keys and types against the fields of ``kind``."""
    values = _mapping(values, where)
    known = {item.name: item.type for item in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise PlanError(f"{where}: unknown key {name}; known keys are {', '.join(known)}")
        if isinstance(value, list):
            values[name] = value = tuple(value)
        if not isinstance(value, allowed := _types(known[name])) or (isinstance(value, bool) and bool not in allowed):
            raise PlanError(f"{where}: {name} must be {_names(allowed)}, not {value!r}")
    needed = [item for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING]
    if missing := [item for item in needed if item.name not in values]:
        raise PlanError(f"{where}: {missing[0].name} is missing: {_names(_types(missing[0].type))}")
    try:
        return make(**values)
    except (TypeError, ValueError) as error:
        raise PlanError(f"{where}: {error}") from error


def _types(annotation) -> tuple[type, ...]:
    """What may stand where a field is annotated so; whole numbers may stand for any number."""
    if isinstance(annotation, UnionType):
        return tuple(kind for one in get_args(annotation) for kind in _types(one))
    return (int, float) if annotation is float else (get_origin(annotation) or annotation,)


def _names(kinds: tuple[type, ...]) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", tuple: "a list"}
    return " or ".join(words.get(kind, "nothing" if kind is type(None) else kind.__name__) for kind in kinds)
