"""Colours of embedded profiles become sRGB: RGB, grey, CMYK; without traces; damaged profiles are named and ignored."""

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from golden import SAMPLES
from PIL import Image, ImageCms

from depictqa_core.images import colour_profiles
from depictqa_core.images.colour_profiles import ProfileError, to_srgb
from depictqa_core.images.image import as_image

SAMPLE = Image.open(SAMPLES / "balloons_original.jpg").convert("RGB").resize((320, 256))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SPACES = {
    "sRGB primaries, gamma 2.2": (((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), 2.2),
    "Adobe RGB": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.2),
    "Display P3": (((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), None),
    "Rec. 2020": (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), 2.4),
}


def fixed(*values):
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def curve(gamma):
    """A tone curve: a power, or the one of sRGB."""
    if gamma is None:
        return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def profile(space, tags):
    table, data, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for key, value in tags.items():
        value += bytes(-len(value) % 4)
        table += key + struct.pack(">II", start + len(data), len(value))
        data += value
    head = struct.pack(">I", 128 + len(table) + len(data)) + b"lcms" + bytes([4, 0, 0, 0]) + b"mntr" + space + b"XYZ "
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*D50)
    return head.ljust(128, b"\0") + table + data


def rgb_profile(primaries, gamma):
    columns = np.stack([np.array([x / y, 1, (1 - x - y) / y]) for x, y in primaries], 1)
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    matrix = columns * np.linalg.solve(columns, white)
    matrix = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / (BRADFORD @ white)) @ BRADFORD @ matrix
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(*D50)}
    tags |= {name: b"XYZ " + bytes(4) + fixed(*matrix[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(gamma)))


def grey_profile(gamma):
    return profile(b"GRAY", {b"wtpt": b"XYZ " + bytes(4) + fixed(*D50), b"kTRC": curve(gamma)})


def stored(image, icc, kind="PNG"):
    stream = io.BytesIO()
    image.save(stream, kind, icc_profile=icc)
    return Image.open(stream)


def by_lcms(image, icc):
    own = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return np.asarray(ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), 1, "RGB"))


def combs(rgb):
    """How far the histogram of green lies from its own mean of three: gaps and peaks that a conversion leaves."""
    histogram = np.bincount(rgb[..., 1].ravel(), minlength=256)[10:245].astype(float)
    return np.abs(histogram[1:-1] - (histogram[:-2] + histogram[1:-1] + histogram[2:]) / 3).sum() / histogram.sum()


@pytest.mark.parametrize("space", SPACES)
def test_colours_are_those_of_a_colour_engine(space):
    icc = rgb_profile(*SPACES[space])
    found, wanted = as_image(stored(SAMPLE, icc)).rgb.astype(int), by_lcms(SAMPLE, icc)
    assert np.abs(found - wanted).max() <= 6 and abs((found - wanted).mean()) < 0.1
    assert np.abs(found - np.asarray(SAMPLE)).max() > 4  # the profile does something


@pytest.mark.parametrize("space", ["Adobe RGB", "sRGB primaries, gamma 2.2"])
def test_the_conversion_leaves_no_gaps_in_histograms(space):
    icc = rgb_profile(*SPACES[space])
    image = Image.fromarray(np.random.default_rng(0).normal(128, 50, (300, 300, 3)).clip(0, 255).astype(np.uint8))
    assert combs(as_image(stored(image, icc)).rgb) < combs(by_lcms(image, icc)) / 2


@pytest.mark.slow
@pytest.mark.parametrize("icc", [SRGB, rgb_profile(SPACES["sRGB primaries, gamma 2.2"][0], None)])
def test_variants_of_srgb_leave_every_byte(icc):
    for mode in ("RGB", "L", "RGBA", "P", "LA"):
        image = SAMPLE.convert(mode)
        found = as_image(stored(image, icc))
        assert np.array_equal(found.rgb, as_image(image).rgb) and found.notices == ()


def test_black_white_and_greys_stay_neutral():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    for space in SPACES:
        rgb = as_image(stored(Image.fromarray(ramp), rgb_profile(*SPACES[space]))).rgb[0].astype(int)
        assert rgb[0].tolist() == [0, 0, 0] and rgb[255].tolist() == [255, 255, 255]
        assert np.ptp(rgb, 1).max() <= 3


def test_grey_profiles():
    grey = SAMPLE.convert("L")
    found = as_image(stored(grey, grey_profile(1.8)))
    light = np.asarray(grey)[..., None] / 255.0
    wanted = 255 * np.where((y := light**1.8) <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055)
    assert found.notices == () and np.abs(found.rgb - wanted).max() <= 2
    assert np.array_equal(as_image(stored(grey, grey_profile(None))).rgb, as_image(grey).rgb)
    with_alpha = Image.merge("LA", [grey, Image.new("L", grey.size, 255)])
    assert np.array_equal(as_image(stored(with_alpha, grey_profile(1.8))).rgb, found.rgb)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    deep.info["icc_profile"] = grey_profile(1.8)
    assert np.array_equal(as_image(deep).rgb, found.rgb)


def test_alpha_is_laid_over_white_after_the_conversion():
    icc = rgb_profile(*SPACES["Adobe RGB"])
    clear = Image.merge("RGBA", [*SAMPLE.split(), Image.new("L", SAMPLE.size, 0)])
    assert (as_image(stored(clear, icc)).rgb == 255).all()
    full = Image.merge("RGBA", [*SAMPLE.split(), Image.new("L", SAMPLE.size, 255)])
    assert np.array_equal(as_image(stored(full, icc)).rgb, as_image(stored(SAMPLE, icc)).rgb)


def table_profile(channels):
    """A profile of a printer or scanner: a table (mft2) to Lab, whose lightness falls with ink or rises with light."""
    ink = channels == 4
    nodes = np.stack(np.meshgrid(*[[0.0, 1.0]] * channels, indexing="ij"), -1).reshape(-1, channels)
    light = (1 - nodes[:, :3].mean(1)) * (1 - nodes[:, 3]) if ink else nodes.mean(1)
    lab = np.stack([light * 0xFF00, np.full(len(light), 0x8000), np.full(len(light), 0x8000)], 1).astype(">u2")
    even = np.array([0, 65535], ">u2").tobytes()
    data = b"mft2" + bytes(4) + bytes([channels, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + struct.pack(">HH", 2, 2)
    data += even * channels + lab.tobytes() + even * 3
    icc = bytearray(profile(b"CMYK" if ink else b"RGB ", {b"A2B0": data, b"wtpt": b"XYZ " + bytes(4) + fixed(*D50)}))
    icc[8:10], icc[12:16], icc[20:24] = b"\x02\x40", b"prtr" if ink else b"scnr", b"Lab "
    return bytes(icc)


@pytest.mark.slow
def test_profiles_with_tables():
    for mode, channels in (("RGB", 3), ("CMYK", 4)):
        icc, image = table_profile(channels), SAMPLE.convert(mode)
        found = as_image(stored(image, icc, "TIFF"))
        assert found.notices == ()
        difference = found.rgb.astype(int) - by_lcms(image, icc)
        assert np.abs(difference).max() <= 6 and abs(difference.mean()) < 1


def test_cmyk_without_a_profile_is_as_before():
    image = SAMPLE.convert("CMYK")
    assert np.array_equal(as_image(image).rgb, np.asarray(image.convert("RGB")))


GOOD = rgb_profile(*SPACES["Adobe RGB"])
DAMAGED = {
    "no profile": b"not a profile",
    "empty": b"\0" * 200,
    "cut": GOOD[:200],
    "no curve": GOOD.replace(b"curv", b"oops"),
    "many tags": GOOD[:128] + b"\xff\xff\xff\xff" + GOOD[132:],
    "other space": GOOD.replace(b"RGB XYZ ", b"Luv XYZ "),
    "grey": grey_profile(2.2),
    "cmyk": table_profile(4),
    "cut table": table_profile(3)[:220],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_profile_that_cannot_be_used_is_named_and_ignored(tmp_path, kind, damage):
    with pytest.raises(ProfileError):
        to_srgb(np.zeros((2, 2, 3), np.uint8), DAMAGED[damage])
    SAMPLE.save(tmp_path / "odd", kind, icc_profile=DAMAGED[damage])
    SAMPLE.save(tmp_path / "plain", kind)
    found = as_image(tmp_path / "odd")
    assert found.key == as_image(tmp_path / "plain").key
    (notice,) = found.notices
    assert "colour profile" in notice and "ignored" in notice and "\n" not in notice


@pytest.mark.slow
def test_any_bytes_are_a_profile_or_refused(monkeypatch):
    monkeypatch.setitem(colour_profiles._STEP, 3, 51)  # fewer nodes: what is tested is which bytes are refused
    rng, levels = np.random.default_rng(0), np.asarray(SAMPLE)[:8, :8]
    for icc in (GOOD, rgb_profile(*SPACES["Display P3"]), table_profile(3)):
        for _ in range(150):
            odd = bytearray(icc)
            for place in rng.integers(0, len(odd), rng.integers(1, 6)):
                odd[place] = rng.integers(0, 256)
            with warnings.catch_warnings(), contextlib.suppress(ProfileError):
                warnings.simplefilter("error")
                assert to_srgb(levels, bytes(odd)).shape == (8, 8, 3)


# ---------------------------------------------------------------- files that describe their colours without a profile


def chunks(**contents):
    """A PNG of the sample with chunks before its pixels."""
    stream = io.BytesIO()
    SAMPLE.save(stream, "PNG")
    data = stream.getvalue()
    made = b""
    for kind, content in contents.items():
        made += struct.pack(">I", len(content)) + kind.encode() + content
        made += struct.pack(">I", zlib.crc32(kind.encode() + content))
    return data[:33] + made + data[33:]


def numbers(*values):
    return struct.pack(f">{len(values)}I", *(round(value * 100_000) for value in values))


def chromaticities(name):
    return numbers(0.3127, 0.3290, *(value for pair in SPACES[name][0] for value in pair))


def read(tmp_path, data, name="image.png"):
    (tmp_path / name).write_bytes(data)
    return as_image(tmp_path / name)


def by_profile(name, gamma):
    return to_srgb(np.asarray(SAMPLE), rgb_profile(SPACES[name][0], gamma)).astype(int)


@pytest.mark.parametrize(
    ("contents", "name", "gamma"),
    [
        ({"gAMA": numbers(1 / 1.8), "cHRM": chromaticities("Adobe RGB")}, "Adobe RGB", 1.8),
        ({"cHRM": chromaticities("Display P3")}, "Display P3", None),
        ({"gAMA": numbers(1.0)}, "sRGB primaries, gamma 2.2", 1.0),
        ({"cICP": bytes([12, 13, 0, 1])}, "Display P3", None),
        ({"cICP": bytes([9, 13, 0, 1]), "sRGB": b"\0"}, "Rec. 2020", None),
    ],
)
def test_chunks_of_a_png_are_as_good_as_a_profile(tmp_path, contents, name, gamma):
    found = read(tmp_path, chunks(**contents))
    assert found.notices == () and np.abs(found.rgb - by_profile(name, gamma)).max() <= 1
    assert np.abs(found.rgb - np.asarray(SAMPLE).astype(int)).max() > 8


@pytest.mark.parametrize(
    "contents",
    [
        {"gAMA": numbers(0.45455), "cHRM": chromaticities("sRGB primaries, gamma 2.2")},
        {"sRGB": b"\0", "gAMA": numbers(1.0)},
        {"cICP": bytes([1, 13, 0, 1])},
    ],
)
def test_chunks_that_say_srgb_change_nothing(tmp_path, contents):
    found = read(tmp_path, chunks(**contents))
    assert found.notices == () and np.array_equal(found.rgb, np.asarray(SAMPLE))


@pytest.mark.parametrize(
    "contents",
    [
        {"gAMA": bytes(4)},
        {"gAMA": b""},
        {"cHRM": bytes(32)},
        {"cHRM": b"\xff" * 32},
        {"cHRM": b"short"},
        {"cICP": bytes([9, 16, 0, 1])},
        {"cICP": bytes([99, 13, 0, 1])},
    ],
)
def test_chunks_that_cannot_be_used_are_named(tmp_path, contents):
    found = read(tmp_path, chunks(**contents))
    assert "taken as sRGB" in found.notices[0] and np.array_equal(found.rgb, np.asarray(SAMPLE))


@pytest.mark.parametrize(("space", "adobe"), [(2, True), (0xFFFF, True), (1, False)])
def test_cameras_that_name_adobe_rgb_in_exif(tmp_path, space, adobe):
    exif = Image.Exif()
    exif[0x8769] = {0xA001: space, 0xA005: {1: "R03"}}
    stream = io.BytesIO()
    SAMPLE.save(stream, "PNG", exif=exif)
    found = read(tmp_path, stream.getvalue())
    expected = by_profile("Adobe RGB", 563 / 256) if adobe else np.asarray(SAMPLE)
    assert found.notices == () and np.abs(found.rgb - expected).max() <= 1


def test_code_points_of_an_avif(tmp_path):
    stream = io.BytesIO()
    try:
        SAMPLE.save(stream, "AVIF", quality=100)
    except (KeyError, OSError):
        pytest.skip("this Pillow writes no AVIF")
    data = stream.getvalue()
    plain = read(tmp_path, data, "image.avif").rgb
    place = data.index(b"nclx") + 4
    found = read(tmp_path, data[:place] + struct.pack(">HH", 12, 13) + data[place + 4 :], "image.avif").rgb
    wanted = to_srgb(plain, rgb_profile(*SPACES["Display P3"]))
    assert np.abs(found - wanted.astype(int)).max() <= 1 and np.abs(found - plain.astype(int)).max() > 8
