"""Conversion of colour profiles (ICC) to sRGB without traces in the histogram.

A conversion from 8 bits to 8 bits leaves gaps and peaks in histograms, which look like damage to the judge. So every
value is first spread evenly over its rounding interval, converted as a float, and rounded again. An identity conversion
then changes no bit, and a conversion that stretches the range fills its gaps.
"""

import functools
import io
import itertools
import math
import struct
from collections.abc import Callable, Sequence

import numpy as np

from ..errors import ImageError

SPACES = {b"GRAY": ("L", "grey", 1), b"RGB ": ("RGB", "RGB", 3), b"CMYK": ("CMYK", "CMYK", 4)}
"""Colour spaces of profiles: mode in Pillow, name, number of channels."""
EQUAL = 1.5
"""In levels of 255: a profile that differs less than this from sRGB is treated as a variant of sRGB."""
_SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""Linear sRGB to XYZ under D50, the white point of all profiles."""
_FINE = 16
"""Fine steps per level (of 256)."""
_ROWS = 128
"""Rows per conversion step."""
_STEP = {1: 1, 3: 5, 4: 15}
"""Distance in levels between the nodes evaluated by Pillow's colour engine, by number of channels."""

_REC709, _D65 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), (0.3127, 0.3290)
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), _D65, 563 / 256
"""The arguments of ``profile_of`` for the colour space that cameras write to EXIF instead of embedding a profile."""
_CODED_PRIMARIES = {
    1: (_REC709, _D65),
    5: (((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)), _D65),
    6: (((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)), _D65),
    7: (((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)), _D65),
    9: (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), _D65),
    11: (((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), (0.314, 0.351)),
    12: (((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), _D65),
}
_CODED_GAMMA = {**dict.fromkeys((1, 2, 6, 13, 14, 15)), 4: 2.2, 5: 2.8, 8: 1.0}
"""Transfer curves of video cameras, treated as sRGB like in image viewers."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])

Colours = Callable[[np.ndarray], np.ndarray]
"""Maps float32 [N, C] in fine steps (``_FINE`` times levels) to sRGB, float32 [N, 3] in levels 0..255."""


class ProfileError(ImageError):
    """A colour profile that cannot be used: damaged, or for another kind of data than the image."""


def to_srgb(levels: np.ndarray, profile: bytes) -> np.ndarray:
    """Convert an image from the colours of its profile to sRGB.

    Args:
        levels: uint8 [H, W, C], C = 1 (grey), 3 (RGB) or 4 (CMYK, 255 is full ink).
        profile: an ICC profile.

    Returns:
        uint8 [H, W, 3], or ``levels`` itself if the profile is a variant of sRGB. The same input gives the same output.

    Raises:
        ProfileError: the profile is damaged, is not for such data, or needs LittleCMS, which this Pillow does not have.
    """
    channels = levels.shape[2]
    space = profile[16:20]
    if space not in SPACES or profile[36:40] != b"acsp":
        raise ProfileError("its colour profile is damaged or of an unknown kind")
    if channels == 1 and space == b"RGB ":
        levels, channels = np.repeat(levels, 3, 2), 3
    if SPACES[space][2] != channels:
        own = next(name for _, name, count in SPACES.values() if count == channels)
        raise ProfileError(f"its colour profile is for {SPACES[space][1]} data, and it is {own}")
    colours = _converter(profile)
    if colours is None:
        return levels
    converted = np.empty((*levels.shape[:2], 3), np.uint8)
    for top in range(0, len(levels), _ROWS):
        rows = levels[top : top + _ROWS]
        fine = _spread(rows).reshape(-1, channels)
        converted[top : top + _ROWS] = (colours(fine) + 0.5).astype(np.uint8).reshape(*rows.shape[:2], 3)
    return converted


def profile_of(primaries: Sequence[Sequence[float]], white: Sequence[float], gamma: float | None) -> bytes:
    """Build the ICC profile of an RGB space.

    Args:
        primaries: chromaticities (x, y) of red, green and blue.
        white: chromaticity of the white.
        gamma: exponent of the tone curve; None is the curve of sRGB.

    Raises:
        ProfileError: the values are impossible.
    """
    columns = np.array([[x, y, 1 - x - y] for x, y in primaries]).T
    light = np.array([white[0], white[1], 1 - white[0] - white[1]]) / (white[1] or np.nan)
    try:
        matrix = columns * np.linalg.solve(columns, light)
        matrix = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ light)) @ _BRADFORD @ matrix
    except np.linalg.LinAlgError:
        matrix = np.array(np.nan)
    if not np.abs(matrix).max() < 100 or not 0 < (gamma or 1) < 100:
        raise ProfileError("its color metadata has impossible values")
    if gamma is None:
        curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0)
        curve += _to_fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    else:
        curve = b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _to_fixed(gamma)
    tags = {name + b"XYZ": b"XYZ " + bytes(4) + _to_fixed(*matrix[:, i]) for i, name in enumerate((b"r", b"g", b"b"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(data), len(value))
        data += value
    head = struct.pack(">I4xI4s4s4s12x4s", 128 + len(table) + len(data), 0x04000000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (head + bytes(28) + _to_fixed(*_D50)).ljust(128, b"\0") + table + data


def coded_profile(primaries: int, transfer: int) -> bytes:
    """Build the ICC profile for code points of ITU-T H.273, as in PNG (cICP) and AVIF (nclx).

    Raises:
        ProfileError: the code points are not supported, such as those of HDR.
    """
    if primaries == 2:  # unspecified
        primaries = 1
    if primaries not in _CODED_PRIMARIES or transfer not in _CODED_GAMMA:
        raise ProfileError(f"its colour code points {primaries} and {transfer} are not supported")
    return profile_of(*_CODED_PRIMARIES[primaries], _CODED_GAMMA[transfer])


def png_profile(chunks: dict[bytes, bytes]) -> bytes | None:
    """Build the ICC profile for the chunks gAMA and cHRM of a PNG; None if there are none.

    Raises:
        ProfileError: the values are impossible.
    """
    if not chunks.keys() & {b"gAMA", b"cHRM"}:
        return None
    gamma: float | None = None
    primaries: Sequence[Sequence[float]] = _REC709
    white: Sequence[float] = _D65
    if b"gAMA" in chunks:
        encoded = int.from_bytes(chunks[b"gAMA"], "big") / 100_000
        # 1 / 2.2 stands for the curve of sRGB
        gamma = None if abs(encoded - 1 / 2.2) < 0.005 else 1 / encoded if encoded else math.inf
    if b"cHRM" in chunks:
        if len(chunks[b"cHRM"]) != 32:
            raise ProfileError("its color metadata has impossible values")
        white, *primaries = (np.frombuffer(chunks[b"cHRM"], ">u4") / 100_000).reshape(4, 2).tolist()
    return profile_of(primaries, white, gamma)


def _to_fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _spread(levels: np.ndarray) -> np.ndarray:
    """Convert levels to fine steps, spread over their rounding intervals; black and white stay exact."""
    height, width, channels = levels.shape
    noise = _noise(channels)
    shift = np.tile(noise, (1, -(-width // noise.shape[1]), 1))[:height, :width]
    return levels * np.int16(_FINE) + np.where((levels == 0) | (levels == 255), np.int16(0), shift)


@functools.cache
def _noise(channels: int) -> np.ndarray:
    """Return uniform noise of one level, int16 [_ROWS, 512, channels] in fine steps; always the same."""
    half = _FINE // 2
    return np.random.default_rng(0).integers(-half, half, (_ROWS, 512, channels)).astype(np.int16)


@functools.lru_cache(maxsize=8)
@np.errstate(all="ignore")  # NaN and Inf are checked at the end
def _converter(profile: bytes) -> Colours | None:
    """Return the conversion from a profile to sRGB; None if it is sRGB."""
    try:
        tags = _tags(profile)
        table = b"A2B0" in tags
        matrix = [tags.get(name) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        curves = [tags.get(name) for name in (b"rTRC", b"gTRC", b"bTRC")]
        if profile[16:24] == b"RGB XYZ " and not table and None not in matrix + curves:
            columns = np.stack([_fixed(tag[8:20]) for tag in matrix if tag is not None], 1)
            colours = _by_matrix([_curve(tag) for tag in curves if tag is not None], np.linalg.inv(_SRGB) @ columns)
        elif profile[16:20] == b"GRAY" and not table and b"kTRC" in tags:
            colours = _by_matrix([_curve(tags[b"kTRC"])], np.ones((3, 1)))
        else:
            colours = _by_engine(profile)
    except (struct.error, ValueError, IndexError, ZeroDivisionError, OverflowError, np.linalg.LinAlgError) as error:
        raise ProfileError(f"its colour profile is damaged ({error})") from error
    channels = SPACES[profile[16:20]][2]
    some = np.array([*itertools.product(range(0, 256, 51), repeat=channels)] + [[v] * channels for v in range(256)])
    found = colours((some * _FINE).astype(np.int16))
    if not np.isfinite(found).all():
        raise ProfileError("its colour profile is damaged (it contains NaN or Inf)")
    equal = channels < 4 and np.abs(found - some).max() < EQUAL
    return None if equal else colours


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 200:
        raise ValueError(f"{count} tags")
    tags = {}
    for index in range(count):
        name, start, length = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if start + length > len(profile):
            raise ValueError("it is truncated")
        tags[name] = profile[start : start + length]
    return tags


def _fixed(data: bytes) -> np.ndarray:
    """Read fixed-point numbers with 16 integer and 16 fraction bits."""
    if len(data) < 4 or len(data) % 4:
        raise ValueError("a number is truncated")
    return np.frombuffer(data, ">i4") / 65536


def _curve(tag: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Read a tone curve 0..1 -> 0..1 (ICC.1, 10.6 and 10.18)."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        values = np.frombuffer(tag[12 : 12 + 2 * count], ">u2").astype(float)
        if len(values) != count:
            raise ValueError("a curve is truncated")
        if count == 0:
            return lambda x: x
        if count == 1:
            return lambda x: x ** (values[0] / 256)
        return lambda x: np.interp(x, np.linspace(0, 1, count), values / 65535)
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        forms: tuple[Callable[..., tuple[float, ...]], ...] = (
            lambda g: (g, 1, 0, 0, -1, 0, 0),
            lambda g, a, b: (g, a, b, 0, -b / a, 0, 0),
            lambda g, a, b, c: (g, a, b, 0, -b / a, c, c),
            lambda g, a, b, c, d: (g, a, b, c, d, 0, 0),
            lambda g, a, b, c, d, e, f: (g, a, b, c, d, e, f),
        )
        g, a, b, c, d, e, f = forms[kind](*_fixed(tag[12 : 12 + 4 * (1, 3, 4, 5, 7)[kind]]).tolist())
        return lambda x: np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    raise ValueError("a curve is of an unknown type")


def _by_matrix(curves: Sequence[Callable[[np.ndarray], np.ndarray]], matrix: np.ndarray) -> Colours:
    """Build the conversion by a tone curve per channel and a matrix to linear sRGB [3, C]."""
    steps = np.clip(np.arange(255 * _FINE + 1) / (255 * _FINE), 0, 1)
    tables = [np.clip(curve(steps), 0, 1).astype(np.float32) for curve in curves]
    matrix, encoded = matrix.astype(np.float32), _encoded()

    def colours(fine: np.ndarray) -> np.ndarray:
        linear: np.ndarray = np.stack([table.take(fine[:, i]) for i, table in enumerate(tables)], 1) @ matrix.T
        levels: np.ndarray = encoded[(np.clip(linear, 0, 1) * (len(encoded) - 1) + 0.5).astype(np.int32)]
        return levels

    return colours


@functools.cache
def _encoded() -> np.ndarray:
    """Return sRGB levels 0..255, float32, for linear light in 65535 steps: at most 0.03 of a level each."""
    light = np.linspace(0, 1, 2**16)
    return (np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255).astype(np.float32)


def _by_engine(profile: bytes) -> Colours:
    """Build the conversion by Pillow's engine, LittleCMS, which has 8 bits: linear interpolation between nodes."""
    from PIL import Image, ImageCms

    mode, _, channels = SPACES[profile[16:20]]
    step = _STEP[channels]
    axis = np.arange(0, 256, step, dtype=np.uint8)
    grid = np.stack(np.meshgrid(*[axis] * channels, indexing="ij"), -1).reshape(1, -1, channels)
    try:
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.HIGHRESPRECALC
        ways = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB"
        transform = ImageCms.buildTransform(*ways, ImageCms.Intent.RELATIVE_COLORIMETRIC, flags)
        asked = Image.frombytes(mode, grid.shape[1::-1], grid.tobytes())
        nodes = np.asarray(ImageCms.applyTransform(asked, transform)).reshape(-1, 3).astype(np.float32)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError) as error:
        raise ProfileError(f"its colour profile cannot be used ({' '.join(str(error).split())})") from error
    strides = [len(axis) ** (channels - 1 - i) for i in range(channels)]

    def colours(fine: np.ndarray) -> np.ndarray:
        places = fine.astype(np.float32) / (step * _FINE)
        low = np.minimum(places.astype(np.int32), len(axis) - 2)
        share = places - low
        start = low @ np.array(strides, np.int32)
        total = np.zeros((len(fine), 3), np.float32)
        for corner in itertools.product((0, 1), repeat=channels):
            weight = np.ones(len(fine), np.float32)
            for i, upper in enumerate(corner):
                weight *= share[:, i] if upper else 1 - share[:, i]
            total += weight[:, None] * nodes[start + int(np.dot(corner, strides))]
        return np.clip(total, 0, 255)

    return colours
