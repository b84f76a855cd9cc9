"""Distortions, faults and everyday changes at any severity from 0 to 5, not at the five whole ones alone.

Parameters between two whole severities are interpolated. Below severity 1 they go on to the parameter that leaves an
image as it is (`IDENTITY`); where there is none, the image at severity 1 is blended with the clean one. Functions that
take whole numbers get the nearest one, so that neighbouring levels can give the same image.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, features

from training import distortions, faults
from training.faults.base import finished

from .everyday import scaled

LEVELS = 20
"""Number of levels above 0; the last one is severity 5."""
MOST = 5.0
"""Highest severity."""
IDENTITY: dict[str, object] = {
    "blur_motion": (0, 3),
    "blur_glass": (0, 1, 1),
    "noise_gaussian_YCrCb": (0, 1),
    "noise_poisson": np.inf,
    "compression_jpeg": 100,
    "compression_jpeg_2000": 50,
    "brightness_brighten_gamma_HSV": 1,
    "brightness_brighten_gamma_RGB": 1,
    "brightness_darken_gamma_HSV": 1,
    "brightness_darken_gamma_RGB": 1,
    "contrast_strengthen_scale": 1,
    "contrast_weaken_scale": 1,
    "saturate_strengthen_HSV": 1,
    "saturate_strengthen_YCrCb": 1,
    "saturate_weaken_HSV": 1,
    "saturate_weaken_YCrCb": 1,
    "pixelate": 1,
    "quantization_otsu": 256,
    "quantization_median": 256,
    "banding_chroma": 1,
    "waxy_guided": (3, 0),
}
"""Distortion or fault -> its parameter that changes nothing; 0 for all others."""
BLENDED = (
    "contrast_strengthen_stretch",
    "contrast_weaken_stretch",
    "quantization_hist",
    "noise_spatially_correlated",
    "burned_channels",
)
"""Names that change an image with every parameter: below severity 1 they are blended with the clean image."""
POWER = {"noise_poisson": -0.5, "pixelate": -1, "quantization_otsu": -1, "quantization_median": -1}
"""Distortion -> the power of its parameter that grows evenly with what is seen: the standard deviation of the noise,
the size of a block, the size of a step."""
WHOLE = frozenset(
    "blur_zoom blur_jitter compression_jpeg quantization_otsu quantization_median quantization_hist".split()
)
"""Names whose parameter must be a whole number."""
WHOLE_PLACES = {"blur_motion": (0,), "blur_glass": (1, 2), "waxy_guided": (0,)}
"""Name -> places of its parameter that must be whole numbers."""


def severities() -> list[float]:
    """The severities of the levels, 0 (clean) first."""
    return [round(MOST * level / LEVELS, 4) for level in range(LEVELS + 1)]


def identity(name: str, example: object) -> object:
    """The parameter that changes nothing, in the form of an example."""
    return IDENTITY.get(name, tuple(0 for _ in example) if isinstance(example, tuple) else 0)


def parameter(name: str, severity: float, parameters: tuple) -> object:
    """Interpolate the parameter of a distortion or fault.

    Args:
        name: of it.
        severity: 0..5.
        parameters: those of severity 1 to 5; numbers, or tuples of numbers.
    """
    first = parameters[0]
    ladder = [first if name in BLENDED else identity(name, first), *parameters]
    if isinstance(first, tuple):
        columns = zip(*ladder)  # type: ignore[call-overload]
        values = [float(np.interp(severity, range(6), column)) for column in columns]
        whole = WHOLE_PLACES.get(name, ())
        return tuple(round(value) if place in whole else value for place, value in enumerate(values))
    power = POWER.get(name, 1)
    value = float(np.interp(severity, range(6), [float(one) ** power for one in ladder]) ** (1 / power))
    return round(value) if name in WHOLE else value


def apply(name: str, image: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Put a distortion or a fault on an image at any severity.

    Args:
        name: of ``distortions.NAMES``, or one of the values of `FAULT_CURVES`.
        image: uint8 [H, W, 3].
        severity: 0 (the image as it is) to 5. Whole ones give what ``distortions.apply`` and ``faults.apply`` give.
        rng: source of all randomness. The same state at all severities makes a ladder of one and the same damage.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: a severity outside 0..5, or a name of neither.
    """
    if not 0 <= severity <= MOST:
        raise ValueError(f"a severity must be from 0 to {MOST:g}, got {severity:g}")
    if name not in distortions.REGISTRY and name not in FAULT_CURVES.values():
        known = ", ".join((*distortions.NAMES, *FAULT_CURVES.values()))
        raise ValueError(f"no ladder for '{name}': choose one of {known}")
    if severity == 0:
        return image
    module = distortions if name in distortions.REGISTRY else faults
    entry = module.REGISTRY[name]
    if float(severity).is_integer():
        return module.apply(name, image, int(severity), rng)
    found = parameter(name, severity, entry.parameters)
    if found == identity(name, entry.parameters[0]):
        return image
    random = module is faults or name in distortions.RANDOM
    result = finished(entry.function(image, found, rng) if random else entry.function(image, found))
    if name in BLENDED and severity < 1:
        result = finished(image * (1 - severity) + result.astype(float) * severity)
    return result


# ---------------------------------------------------------------------- everyday changes


def saved(image: np.ndarray, kind: str, quality: float) -> np.ndarray:
    """An image as it is after it was saved in a lossy format with a quality of 0..100."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=round(quality))
    return np.asarray(Image.open(buffer).convert("RGB"))


def smaller(image: np.ndarray, factor: float) -> np.ndarray:
    """An image scaled down by a factor of 0..1; it stays small."""
    return scaled(image, max(32, round(min(image.shape[:2]) * factor)))


def enlarged(image: np.ndarray, factor: float) -> np.ndarray:
    """An image scaled down by a factor of 0..1 and enlarged to its size again, as low resolution looks."""
    height, width = image.shape[:2]
    small = Image.fromarray(smaller(image, factor))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def sharpened(image: np.ndarray, amount: float) -> np.ndarray:
    """An image plus ``amount`` times its difference from a Gaussian blur of 1.5 px."""
    import cv2

    x = image.astype(np.float32)
    return finished(x + amount * (x - cv2.GaussianBlur(x, (0, 0), 1.5)))


_QUALITIES = np.linspace(97, 2, LEVELS).round().tolist()
_FACTORS = np.linspace(0.96, 0.1, LEVELS).round(3).tolist()
CHANGES: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], list[float], str]] = {
    "JPEG quality": (lambda image, value: saved(image, "JPEG", value), _QUALITIES, "compression"),
    "WebP quality": (lambda image, value: saved(image, "WEBP", value), _QUALITIES, "compression"),
    "AVIF quality": (lambda image, value: saved(image, "AVIF", value), _QUALITIES, "compression"),
    "resize factor": (smaller, _FACTORS, "none"),
    "resize factor, enlarged again": (enlarged, _FACTORS, "blur"),
    "sharpening": (sharpened, np.linspace(0.25, 5, LEVELS).round(3).tolist(), "oversharpening"),
}
"""Change -> (function of image and value, values from weak to strong, the label that it should get)."""


FAULT_CURVES = {
    fault: next(name for name in names if faults.REGISTRY[name].held_out)
    for fault, names in faults.BY_FAULT.items()
    if fault != "failed frame"  # which is the same at every severity
}
"""Fault -> an implementation that no training image has."""


def supported_changes() -> list[str]:
    """Names of `CHANGES` that this Pillow can make."""
    return [name for name in CHANGES if not name.startswith("AVIF") or features.check("avif")]
