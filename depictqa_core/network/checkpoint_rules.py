"""Checks of ``config.json`` and the card of a checkpoint.

The libraries build any network that a configuration describes. A damaged one could take hours or all memory to build,
process images wrongly without an error, or fail at the first question.
"""

from collections.abc import Iterator

from ..calibration import HEADS, NONE
from ..storage.documents import describe
from ..storage.rules import OBJECT, SWITCH, Rule, is_number, list_of, number, one_of, problem, row_of, string, whole
from ..tasks import TASKS

SIDE = whole(1, 16_384)
REPEATS = whole(1, 1024)
"""Maximum number of layers of one kind: each is a separate module, and the largest networks have fewer than 200."""

CONFIG = {
    "size": {"short": SIDE, "long": SIDE, "min": SIDE, "multiple": whole(1, 1024)},
    "mean": list_of(number(-1, 1), 3, 3),
    "std": list_of(number(0.001, 10), 3, 3),
    "tasks": list_of(one_of(*TASKS), 1, len(TASKS), unique=True),
    "calibration": OBJECT,
    "names_first": SWITCH,
    "free_questions": SWITCH,
    "personal": SWITCH,
    "vision": {
        "kind": one_of("clip", "backbone", "cnn"),
        "stem": whole(1, 4096),
        "stages": list_of(
            row_of(whole(1, 64), whole(1, 31), whole(1, 8), whole(1, 32), whole(1, 2**16)),
            1,
            32,
        ),
        "config": {"model_type": string(100)},
        "local": {
            "channels": whole(1, 4096),
            "grid": whole(1, 64),
            "hidden": whole(1, 4096),
        },
        "tiles": {
            "channels": whole(1, 4096),
            "grid": whole(1, 64),
            "side": whole(32, 4096),
        },
    },
    "connector": {
        "kind": one_of("linear", "abstractor", "pooling"),
        "queries": whole(1, 4096),
        "layers": REPEATS,
        "heads": whole(1, 1024),
        "feedforward": whole(1, 2**20),
        "dropout": number(0, 0.99),
        "grid": whole(1, 64),
        "grid_stages": list_of(whole(0, 31), 1, 32),
        "summary_tokens": whole(1, 4096),
        "hidden": whole(1, 2**16),
        "comparison": SWITCH,
        "pair": SWITCH,
        "findings": SWITCH,
    },
    "language": {"model_type": string(100)},
    "lora": Rule("settings by name, or null", lambda value: value is None or isinstance(value, dict)),
}
"""Settings of ``DepictQAConfig`` itself; ``_LIMITS`` has those of transformers' networks."""

CARD = {
    **{name: Rule("a text", lambda value: isinstance(value, str)) for name in ("name", "version", "license")},
    "trained_on": Rule("a text", lambda value: isinstance(value, str)),
    "tokenizer": OBJECT,
    "self_test": Rule(
        "coverages 0 to 1 by task", lambda value: isinstance(value, dict) and all(map(is_number, value.values()))
    ),
}

MEASURED = ("order_", "score_error_")
"""Prefixes of the entries of ``calibration`` that are not temperatures, see ``DepictQAConfig``."""
_LIMITS = (
    (("_size", "_heads", "stride", "kernel", "_channels"), whole(0, 2**24)),
    (("layer", "depth", "block", "expert", "stage"), whole(0, 1024)),
    (("",), whole(-(2**31), 2**31)),
)
"""Limits of whole numbers in the settings of a network, by words in their name; the first match counts."""


def config_problem(settings: dict) -> str | None:
    """Return the first problem of the content of a ``config.json``, in words, or None."""
    found = problem(settings, CONFIG)
    for group in ("vision", "language", "lora"):
        found = found or _network_problem(settings.get(group) or {}, group)
    return found or _calibration_problem(settings.get("calibration") or {})


def card_problem(card: dict) -> str | None:
    """Return the first problem of the content of a card (``depictqa.json``), in words, or None."""
    return problem(card, CARD)


def _network_problem(settings: dict, where: str) -> str | None:
    """Return the first setting that would build an excessive network or load code."""
    for path, name, value in _leaves(settings, where, where):
        if isinstance(value, int) and not isinstance(value, bool):
            rule = next(rule for words, rule in _LIMITS if any(word in name for word in words))
            if not rule.fits(value):
                return f"{path} is {describe(value)}; allowed: {rule.allowed}"
        elif "implementation" in name and "/" in str(value):
            return f"{path} is {describe(value)}; allowed: an implementation of transformers itself"
    return None


def _leaves(value: object, path: str, name: str) -> Iterator[tuple[str, str, object]]:
    """Yield (dotted path, name, value) of every leaf of nested settings."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}", str(key))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner, path, name)
    else:
        yield path, name, value


def _calibration_problem(values: dict) -> str | None:
    """Return the first invalid temperature; other entries are objects, which are checked when they are read."""
    rule = Rule("a temperature from 0.001 to 1000", lambda v: is_number(v) and 0.001 <= v <= 1000)
    prefixes = {**dict.fromkeys(MEASURED, OBJECT), NONE: number(-20, 20), HEADS: number(0, 100)}
    rules = {name: next((r for prefix, r in prefixes.items() if name.startswith(prefix)), rule) for name in values}
    return problem({"calibration": values}, {"calibration": rules})
