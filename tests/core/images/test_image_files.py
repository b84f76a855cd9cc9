"""Damaged files, metadata that do not matter, and Pillow's values that belong to the whole process."""

import io
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from golden import SAMPLES
from PIL import Image, ImageCms

from depictqa_core.errors import ImageError
from depictqa_core.images import damage_checks, pillow
from depictqa_core.images import jpeg as jpeg_data
from depictqa_core.images import png as png_chunks
from depictqa_core.images.image import as_image

SAMPLE = Image.open(SAMPLES / "balloons_original.jpg").convert("RGB").resize((320, 256))
KINDS = {
    "baseline": {},
    "fine": {"quality": 95, "subsampling": 0, "optimize": True},
    "coarse": {"quality": 20},
    "restart": {"restart_marker_blocks": 15},
    "progressive": {"progressive": True},
    "grey": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
}


WITH_RESTARTS = pytest.mark.skipif(
    tuple(int(part) for part in PIL.__version__.split(".")[:2]) < (10, 2),
    reason="Pillow writes restart markers (restart_marker_blocks) from 10.2 on",
)


def jpeg(kind, image=SAMPLE):
    options = {"quality": 85, **KINDS[kind]}
    stream = io.BytesIO()
    image.convert(options.pop("mode", "RGB")).save(stream, "JPEG", **options)
    return stream.getvalue()


def data_of(data):
    """Where the entropy-coded data of a JPEG begin and end."""
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big"), len(data) - 2


def written(tmp_path, data, name="image"):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def chunk(kind, data, crc_error=0):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ crc_error)


def png(*before_pixels, behind=b"", image=SAMPLE, **options):
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    data = stream.getvalue()
    place = data.index(b"IDAT") - 4
    end = data.index(b"IEND") - 4
    return data[:place] + b"".join(before_pixels) + data[place:end] + behind + data[end:]


# ---------------------------------------------------------------- damaged JPEG data


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_is_judged_without_a_notice(tmp_path, kind):
    for tail in (b"", bytes(1000), jpeg("baseline")):
        assert as_image(written(tmp_path, jpeg(kind) + tail)).notices == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_jpeg_cut_in_its_data_is_refused_though_it_has_an_end(tmp_path, kind, share):
    data = jpeg(kind)
    start, end = data_of(data)
    with pytest.raises(ImageError, match="image .*damaged"):
        as_image(written(tmp_path, data[: start + int((end - start) * share)] + b"\xff\xd9"), "image")


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"progressive"}))
def test_a_jpeg_with_zeros_in_its_middle_is_refused_or_doubted(tmp_path, kind):
    data = jpeg(kind)
    start, end = data_of(data)
    middle, length = (start + end) // 2, (end - start) // 5
    zeroed = written(tmp_path, data[:middle] + bytes(length) + data[middle + length :])
    try:
        assert "probably damaged" in as_image(zeroed).notices[0]
    except ImageError as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize("kind", ["baseline", "fine", "coarse", "grey"])
@pytest.mark.parametrize("damage", ["repeated", "other"])
def test_a_jpeg_with_more_data_than_its_image_is_refused_or_doubted(tmp_path, kind, damage):
    """A part that was repeated or overwritten moves what is behind it, by a few dozen bytes or many."""
    data = jpeg(kind)
    middle = sum(data_of(data)) // 2
    middle += data[middle - 1] == 0xFF
    part = data[middle - 40 : middle] if damage == "repeated" else b"\xff\x00" * 100
    wrong = written(tmp_path, data[:middle] + part + data[middle + len(part) * (damage == "other") :])
    try:
        assert "damaged" in as_image(wrong).notices[0]
    except ImageError as error:
        assert "damaged" in str(error)


@WITH_RESTARTS
def test_restart_markers_must_be_there_and_in_order(tmp_path):
    data = jpeg("restart")
    for wrong in (data.replace(b"\xff\xd2", b"\xff\xd3", 1), data.replace(b"\xff\xd2", b"", 1)):
        with pytest.raises(ImageError, match="damaged"):
            as_image(written(tmp_path, wrong))


def test_even_images_are_no_false_alarm(tmp_path):
    for colour in ((0, 0, 0), (128, 128, 128), (255, 255, 255), (200, 30, 60)):
        for kind in KINDS:
            even = SAMPLE.copy()
            even.paste(colour, (0, 60, 320, 256))
            for image in (even, Image.new("RGB", (64, 48), colour), Image.new("RGB", (1, 1), colour)):
                assert as_image(written(tmp_path, jpeg(kind, image))).notices == (), (colour, kind)


@pytest.mark.parametrize("kind", ["baseline", "fine", "coarse", "grey", "cmyk"])
@pytest.mark.parametrize("size", [(320, 256), (77, 35), (8, 8), (640, 9)])
def test_an_intact_jpeg_is_decoded_once_more_and_coarsely(tmp_path, monkeypatch, kind, size):
    """This check runs for every image of a large run."""
    decode, decoded = damage_checks._jpeg_pixels, []
    monkeypatch.setattr(damage_checks, "_jpeg_pixels", lambda *given: decoded.append(given[1]) or decode(*given))
    as_image(written(tmp_path, jpeg(kind, SAMPLE.resize(size))))
    assert decoded == [True]


@pytest.mark.parametrize("kind", ["baseline", "fine", "coarse", "grey", "cmyk"])
def test_the_quick_test_misses_no_jpeg_whose_data_end_early(kind):
    """By few bytes, too: it is as exact as decoding with other bytes after the data."""
    found = 0
    for width in range(100, 116):
        data = jpeg(kind, SAMPLE.resize((width, 90)))
        for missing in range(12):
            short = data[: len(data) - 2 - missing] + data[-2:]
            layout, decode = jpeg_data.layout(short), damage_checks._jpeg_pixels
            other = jpeg_data._replaced(short, layout.pieces, 0)
            if not np.array_equal(decode(short, False), decode(other, False)):
                found += 1
                assert jpeg_data._may_end_early(short, layout, decode)
    assert found > 100


def test_padding_of_cameras_is_no_damage(tmp_path):
    data = jpeg("baseline")
    for padding in (bytes(20), b"\x5a" * 20, b"\xff" * 20):
        assert as_image(written(tmp_path, data[:-2] + padding + data[-2:])).notices == ()
    assert (
        "after the end of the image" in as_image(written(tmp_path, data[:-2] + b"\x5a" * 5000 + data[-2:])).notices[0]
    )


# ---------------------------------------------------------------- PNG


@pytest.mark.slow
def test_texts_and_profiles_do_not_matter(tmp_path):
    graph = zlib.compress(b"x" * 3_000_000)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    files = [
        png(chunk(b"zTXt", b"workflow\0\0" + graph)),
        png(chunk(b"iTXt", b"workflow\0\1\0\0\0" + graph)),
        png(behind=chunk(b"zTXt", b"workflow\0\0" + graph)),
        png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + graph)),
        png(chunk(b"zTXt", b"Raw profile type exif\0\0" + graph)),
        png(chunk(b"iCCP", b"p\0\0" + zlib.compress(profile + bytes(1_500_000)))),
        png(chunk(b"tEXt", b"Comment\0hello", crc_error=1)),
        png(chunk(b"gAMA", b"", crc_error=1)),
        png(chunk(b"zTXt", b"damaged\0\0" + b"no zlib data")),
        png(chunk(b"eXIf", b"no exif")),
    ]
    wanted = as_image(written(tmp_path, png()))
    for number, data in enumerate(files):
        found = as_image(written(tmp_path, data))
        assert found.key == wanted.key and found.notices == (), number


def test_an_orientation_in_texts_is_still_seen(tmp_path):
    xmp = b'<x tiff:Orientation="3"/>'
    for text in (
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
    ):
        assert np.array_equal(as_image(written(tmp_path, png(text))).rgb, np.asarray(SAMPLE)[::-1, ::-1])


def test_damaged_pixel_data_are_refused(tmp_path):
    data = png()
    place, end = data.index(b"IDAT"), data.index(b"IEND") - 4
    (length,) = struct.unpack(">I", data[place - 4 : place])
    content = data[place + 4 : place + 4 + length]
    whole = zlib.decompress(content) if end == place + 8 + length else b""
    flipped = bytearray(data)
    flipped[place + length // 2] ^= 1
    cases = {"checksum": bytes(flipped), "truncated": data[: place + length // 2]}
    if whole:
        half = chunk(b"IDAT", zlib.compress(whole[: len(whole) // 2]))
        cases["bytes of its pixel data"] = data[: place - 4] + half + data[end:]
    for words, wrong in cases.items():
        with pytest.raises(ImageError, match=words):
            as_image(written(tmp_path, wrong))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 9), (33, 17)])
def test_whole_png_of_all_modes(tmp_path, mode, size):
    image = SAMPLE.resize(size)
    deep = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)
    image = deep if mode == "I;16" else image.convert(mode)
    assert as_image(written(tmp_path, png(image=image))).width == size[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pillow_gets_png_data_unpacked_unless_they_are_large(tmp_path, monkeypatch, mode):
    grey = Image.fromarray(np.asarray(SAMPLE.convert("L")).astype(np.uint16) * 257)
    data = png(image=grey if mode == "I;16" else SAMPLE.convert(mode))
    found = []
    for most in (png_chunks._MAX_STORED, 0):
        monkeypatch.setattr(png_chunks, "_MAX_STORED", most)
        found.append((len(png_chunks.read(data, pillow.MAX_PIXELS).data), as_image(written(tmp_path, data)).key))
    (unpacked, key), (packed, same) = found
    assert unpacked > packed and key == same


# ---------------------------------------------------------------- what belongs to the process


def values():
    return PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)


FORMATS = ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "ICO", "TGA", "JPEG2000"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_values_of_the_process_neither_matter_nor_change(tmp_path, monkeypatch, kind):
    stream = io.BytesIO()
    SAMPLE.save(stream, kind)
    whole = written(tmp_path, stream.getvalue(), "whole")
    cut = written(tmp_path, stream.getvalue()[: len(stream.getvalue()) // 2], "cut")
    wanted = as_image(whole).key
    for limit, tolerant in ((10, True), (None, True), (10, False)):
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
        monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            before = values()
            assert as_image(whole).key == wanted
            with pytest.raises(ImageError, match="cut"):
                as_image(cut)
            assert values() == before


def test_values_of_the_process_stay_while_files_are_decoded():
    seen, stop = set(), threading.Event()

    def watch():
        while not stop.is_set():
            seen.add((PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES, len(warnings.filters)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for path in sorted(SAMPLES.glob("*.jpg")):
            as_image(path)
    finally:
        stop.set()
        watcher.join()
    assert len(seen) == 1


def test_damaged_metadata_are_quiet(tmp_path):
    stream = io.BytesIO()
    SAMPLE.save(stream, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(20))
    data = stream.getvalue()
    tiff = io.BytesIO()
    SAMPLE.save(tiff, "TIFF", tiffinfo={270: "words"})
    odd = tiff.getvalue().replace(struct.pack("<HHI", 258, 3, 3), struct.pack("<HHI", 258, 3, 2**20), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_image(written(tmp_path, data)).width == 320
        with pytest.raises(ImageError) as caught:
            as_image(written(tmp_path, odd))
    assert "Warning" not in type(caught.value.__cause__).__name__


@pytest.mark.slow
def test_a_bomb_inside_a_container_is_refused_whatever_the_limit_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0))
    inner = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(30_000 * 3751))) + chunk(b"IEND", b"")
    entry = struct.pack("<BBBBHHII", 32, 32, 0, 0, 1, 32, len(inner), 22)
    with pytest.raises(ImageError, match="pixels"):
        as_image(written(tmp_path, struct.pack("<HHH", 0, 1, 1) + entry + inner))


def test_one_thread_does_not_wait_for_another(tmp_path):
    """No lock around decoding: a slow decoder in one thread lets others finish."""
    begun, go_on = threading.Event(), threading.Event()
    own = pillow.instance().Image.Image
    path, slow = written(tmp_path, png(), "quick.png"), written(tmp_path, png(), "slow.png")
    wanted, convert = as_image(path).key, own.convert

    def waiting(self, *args, **kwargs):
        if threading.current_thread().name == "slow":
            begun.set()
            assert go_on.wait(30)
        return convert(self, *args, **kwargs)

    own.convert = waiting
    try:
        thread = threading.Thread(target=as_image, args=(slow,), name="slow")
        thread.start()
        assert begun.wait(30)
        start = time.monotonic()
        assert as_image(path).key == wanted and time.monotonic() - start < 10
    finally:
        go_on.set()
        thread.join()
        own.convert = convert


def test_formats_of_other_packages_are_still_found(tmp_path, monkeypatch):
    """Such as pillow-heif, which registers its format with the shared Pillow."""
    monkeypatch.setitem(PIL.Image.OPEN, "TEST", (lambda stream, name: SAMPLE.copy(), lambda head: head[:4] == b"TEST"))
    monkeypatch.setattr(PIL.Image, "ID", [*PIL.Image.ID, "TEST"])
    assert np.array_equal(as_image(written(tmp_path, b"TEST and more", "image.test")).rgb, np.asarray(SAMPLE))
