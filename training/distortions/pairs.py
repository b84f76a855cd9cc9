"""Which category may follow which when two distortions are put on one image (method.md 5.3)."""

_BRIGHTNESS = ("brighten", "darken")
_CONTRAST = ("contrast_strengthen", "contrast_weaken")
_SATURATION = ("saturate_strengthen", "saturate_weaken")
_TONE = (*_BRIGHTNESS, *_CONTRAST, *_SATURATION)

# first category -> categories that may come second
_SECOND = {
    "blur": (*_TONE, "compression", "noise", "quantization"),
    "noise": (*_TONE, "blur", "compression", "oversharpen", "pixelate"),
    "compression": (*_TONE, "blur", "noise"),
    **dict.fromkeys((*_BRIGHTNESS, *_CONTRAST), ("blur", "compression", "noise", "pixelate", "quantization")),
    **dict.fromkeys(_SATURATION, ("blur", "compression", "noise", "oversharpen", "pixelate", "quantization")),
    "pixelate": (*_TONE, "noise", "oversharpen", "quantization"),
    "quantization": (*_TONE, "noise", "oversharpen", "pixelate"),
    "oversharpen": ("brighten",),
}

PAIRS: tuple[tuple[str, str], ...] = tuple((first, second) for first, seconds in _SECOND.items() for second in seconds)
"""The 78 ordered pairs (first category, second category), in a fixed order, so that a seeded draw can be repeated."""

ALLOWED_PAIRS: frozenset[tuple[str, str]] = frozenset(PAIRS)
"""The same pairs, for membership tests."""
