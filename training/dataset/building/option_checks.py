"""What the options of both kinds of scenes have in common: values of a YAML recipe, shares and ranges."""

import math
from collections.abc import Sequence


def freeze_lists(options: object) -> None:
    """Make tuples of the lists and mappings that a YAML recipe gives to a frozen dataclass."""
    for name, value in vars(options).items():
        if isinstance(value, dict):
            value = list(value.items())
        if isinstance(value, list):
            object.__setattr__(options, name, tuple(tuple(one) if isinstance(one, list) else one for one in value))


def require_shares(options: object, *names: str) -> None:
    """Raise ValueError unless each of the named options is a share from 0 to 1."""
    for name in names:
        if not 0 <= getattr(options, name) <= 1:
            raise ValueError(f"{name} must be a share from 0 to 1, got {getattr(options, name)}")


def is_distribution(shares: Sequence[float]) -> bool:
    """Whether shares are not negative and have the sum 1."""
    return min(shares) >= 0 and math.isclose(sum(shares), 1, abs_tol=1e-6)
