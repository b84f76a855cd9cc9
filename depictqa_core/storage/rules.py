"""Declarative checks of values from disk: the allowed values in words and as a test."""

import math

from ..checks import Rule
from .documents import describe


def is_number(value: object) -> bool:
    """Return whether a value is a finite number, but not True or False."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def whole(low: int, high: int) -> Rule:
    """Return the rule for a whole number in low..high."""
    return Rule(
        f"a whole number from {low:,} to {high:,}", lambda v: is_number(v) and isinstance(v, int) and low <= v <= high
    )


def number(low: float, high: float) -> Rule:
    """Return the rule for a number in low..high."""
    return Rule(f"a number from {low:g} to {high:g}", lambda v: is_number(v) and low <= v <= high)


def above(low: float, high: float) -> Rule:
    """Return the rule for a number above low, at most high."""
    return Rule(f"a number above {low:g}, at most {high:g}", lambda v: is_number(v) and low < v <= high)


def string(longest: int = 10_000) -> Rule:
    """Return the rule for a non-empty text."""
    return Rule("a text", lambda v: isinstance(v, str) and 0 < len(v) <= longest)


SWITCH = Rule("true or false", lambda v: isinstance(v, bool))
OBJECT = Rule("settings by name", lambda v: isinstance(v, dict))


def one_of(*options: str) -> Rule:
    """Return the rule for one of the given texts."""
    return Rule(f"one of {', '.join(options)}", lambda v: isinstance(v, str) and v in options)


def list_of(rule: Rule, least: int, most: int, unique: bool = False) -> Rule:
    """Return the rule for a list of least..most values that fit a rule."""
    size = f"{least}" if least == most else f"{least} to {most}"
    each = f"a list of {size}{' different' if unique else ''} values, each {rule.allowed}"
    return Rule(
        each,
        lambda v: (
            isinstance(v, (list, tuple))
            and least <= len(v) <= most
            and all(rule.fits(one) for one in v)
            and not (unique and len({*v}) < len(v))
        ),
    )


def row_of(*rules: Rule) -> Rule:
    """Return the rule for a list with one rule per position."""
    return Rule(
        f"a list of {len(rules)} values ({', '.join(rule.allowed for rule in rules)})",
        lambda v: (
            isinstance(v, (list, tuple)) and len(v) == len(rules) and all(r.fits(one) for r, one in zip(rules, v))
        ),
    )


def problem(content: dict, rules: dict, prefix: str = "") -> str | None:
    """Return the first value that breaks a rule, in words, or None. Missing keys and keys without a rule are fine.

    Args:
        content: values by name.
        rules: name -> Rule, or a dict of rules for nested settings.
    """
    for name, rule in rules.items():
        if name not in content:
            continue
        value = content[name]
        if isinstance(rule, dict):
            if not isinstance(value, dict):
                return f"{prefix}{name} is {describe(value)}; allowed: {OBJECT.allowed}"
            if found := problem(value, rule, f"{prefix}{name}."):
                return found
        elif not rule.fits(value):
            return f"{prefix}{name} is {describe(value)}; allowed: {rule.allowed}"
    return None
