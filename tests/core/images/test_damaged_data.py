"""Damaged image data in TIFF, WebP and AVIF files, of which decoders say nothing; whole files raise no alarm."""

import io
import struct

import numpy as np
import pytest
from golden import SAMPLES
from PIL import Image, ImageCms, features

from depictqa_core.errors import ImageError
from depictqa_core.images.coded_data import avif_span, webp_span
from depictqa_core.images.image import as_image

SAMPLE = Image.open(SAMPLES / "balloons_original.jpg").convert("RGB").resize((160, 128))
CODED = {
    "WebP": ("WEBP", {"quality": 80}, webp_span),
    "WebP of high quality": ("WEBP", {"quality": 98, "method": 0}, webp_span),
    "lossless WebP": ("WEBP", {"lossless": True}, webp_span),
    "AVIF": ("AVIF", {"quality": 70, "speed": 9}, avif_span),
}
TIFF = ["jpeg", "tiff_adobe_deflate", "tiff_lzw", "packbits", None]
if not features.check("avif"):
    del CODED["AVIF"]


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def doubted(path, data):
    """Whether a file is refused, or judged with a notice of damage."""
    path.write_bytes(data)
    try:
        return any("damaged" in notice for notice in as_image(path).notices)
    except ImageError:
        return True


def damaged(data, start, end, kind, rng):
    """The file with a twentieth of its image data overwritten, somewhere in the middle."""
    length = max(8, (end - start) // 20)
    place = start + int((end - start) * rng.uniform(0.3, 0.7))
    other = bytes(length) if kind == "zeros" else rng.integers(0, 256, length, np.uint8).tobytes()
    return data[:place] + other + data[place + length :]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zeros", "other bytes"])
@pytest.mark.parametrize("name", CODED)
def test_overwritten_middles_of_coded_images_are_found(tmp_path, name, kind):
    """Most of them: now and then, and oftener in the short codes of lossless WebP, the right end comes by chance."""
    form, options, span = CODED[name]
    data, rng = saved(SAMPLE, form, **options), np.random.default_rng(1)
    found = sum(doubted(tmp_path / "x", damaged(data, *span(data), kind, rng)) for _ in range(10))
    assert found >= (5 if options.get("lossless") else 9)


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("size", [(160, 128), (33, 50), (1, 1)])
def test_whole_coded_images_raise_no_alarm(tmp_path, name, size):
    form, options, _ = CODED[name]
    exif = Image.Exif()
    exif[0x010E] = "words" * 50
    for number, image in enumerate((SAMPLE.resize(size), Image.new("RGB", size, (200, 30, 60)))):
        alpha = image.convert("RGBA")
        alpha.putalpha(image.convert("L"))
        for shown in (image, alpha):
            path = tmp_path / f"{number}.{form.lower()}"
            path.write_bytes(saved(shown, form, **options, exif=exif.tobytes()))
            assert as_image(path).notices == ()


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_where_the_data_lie_is_not_known_of_every_file(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    frames = [SAMPLE, SAMPLE.rotate(90)]
    animation = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    if kind == "WEBP":
        assert webp_span(animation) is None
    find = {"WEBP": webp_span, "AVIF": avif_span}[kind]
    whole = saved(SAMPLE, kind)
    for length in range(0, min(len(whole), 400)):
        find(whole[:length])  # a part of a file raises nothing


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("compression", TIFF)
def test_whole_tiff_raise_no_alarm(tmp_path, mode, compression):
    if compression == "jpeg" and mode not in ("L", "RGB", "CMYK"):
        pytest.skip("JPEG has no such data")
    image = SAMPLE.resize((61, 130))
    grey = np.asarray(image.convert("L"))
    arrays = {"I;16": grey.astype(np.uint16) * 257, "F": grey.astype(np.float32) / 255}
    image = Image.fromarray(arrays[mode]) if mode in arrays else image.convert(mode)
    path = tmp_path / "x.tif"
    path.write_bytes(saved(image, "TIFF", **({"compression": compression} if compression else {})))
    assert as_image(path).notices == ()


@pytest.mark.parametrize("kind", ["zeros", "other bytes"])
@pytest.mark.parametrize("compression", ["jpeg", "tiff_adobe_deflate"])
def test_overwritten_middles_of_tiff_are_found(tmp_path, compression, kind):
    data, rng = saved(SAMPLE, "TIFF", compression=compression), np.random.default_rng(2)
    tags = Image.open(io.BytesIO(data)).tag_v2
    start, length = tags[273][len(tags[273]) // 2], tags[279][len(tags[273]) // 2]
    found = [doubted(tmp_path / "x", damaged(data, start, start + length, kind, rng)) for _ in range(6)]
    assert all(found)


def changed_tag(data, number, change):
    """A TIFF file with another value of a tag that has one number."""
    (place,) = struct.unpack_from("<I", data, 4)
    for entry in range(struct.unpack_from("<H", data, place)[0]):
        at = place + 2 + 12 * entry
        tag, kind, count = struct.unpack_from("<HHI", data, at)
        if tag == number and count == 1:
            form = {3: "<H", 4: "<I"}[kind]
            new = struct.pack(form, change(struct.unpack_from(form, data, at + 8)[0]))
            return data[: at + 8] + new + data[at + 8 + len(new) :]
    raise KeyError(number)


def test_a_tiff_that_claims_more_rows_than_it_holds_is_refused(tmp_path):
    """They would be read as zeros: a black part that nobody drew."""
    plain = saved(SAMPLE, "TIFF")
    for claimed in (
        changed_tag(plain, 257, lambda rows: 4 * rows),
        changed_tag(changed_tag(plain, 257, lambda rows: 4 * rows), 278, lambda rows: 4 * rows) + bytes(10**6),
        changed_tag(plain, 278, lambda rows: max(1, rows // 4)),
        changed_tag(saved(SAMPLE, "TIFF", compression="jpeg"), 257, lambda rows: 2 * rows),
    ):
        assert doubted(tmp_path / "x", claimed)
    assert not doubted(tmp_path / "x", plain)


def test_a_lab_image_has_its_own_colours_whatever_its_profile(tmp_path):
    spaces = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    lab = ImageCms.applyTransform(SAMPLE, ImageCms.buildTransform(*spaces, "RGB", "LAB"))
    found = []
    for number, space in enumerate(spaces):
        lab.save(tmp_path / f"{number}.tif", icc_profile=ImageCms.ImageCmsProfile(space).tobytes())
        found.append(as_image(tmp_path / f"{number}.tif"))
        assert found[-1].notices == ()
        assert np.abs(found[-1].rgb.astype(int) - np.asarray(SAMPLE)).mean() < 1
    assert found[0].key == found[1].key
