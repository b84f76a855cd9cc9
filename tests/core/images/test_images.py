"""Images from every kind of source, the size rules of the published models, and refusals that name the input."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile

from depictqa_core import images, results
from depictqa_core.errors import ImageError
from depictqa_core.images import image_files, pillow, pixels
from depictqa_core.images.image import RGBImage, as_image, as_images
from depictqa_core.images.size_policy import SizePolicy, fit, to_pixels

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
RGB = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(5, 9), st.just(3)))
RGBA = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(5, 9), st.just(4)))
QUICK = settings(max_examples=40, deadline=None)


def gradient(height=20, width=30):
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) % 256], -1).astype(np.uint8)


def over_white(rgba):
    colour, alpha = rgba[..., :-1].astype(float), rgba[..., -1:].astype(float) / 255
    return np.floor(colour * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)


# ---------------------------------------------------------------- size rules

BASE = {
    (64, 64): (70, 70), (224, 224): (224, 224), (256, 256): (224, 224), (384, 512): (224, 308),
    (1024, 1024): (224, 224), (1080, 1920): (224, 406), (2160, 3840): (224, 406), (3000, 1000): (672, 224),
    (300, 500): (224, 378), (900, 260): (672, 196), (40, 97): (70, 98), (131, 157): (140, 168), (100, 1000): (70, 672),
}  # fmt: skip
ABSTRACTOR = {
    (64, 64): (70, 70), (224, 224): (224, 224), (256, 256): (266, 266), (384, 512): (392, 518),
    (1024, 1024): (1036, 1036), (1080, 1920): (1036, 1820), (2160, 3840): (1036, 1820), (3000, 1000): (2058, 686),
}  # fmt: skip


@pytest.mark.parametrize(("policy", "table"), [(SizePolicy(), BASE), (SizePolicy(1024, 2048), ABSTRACTOR)])
def test_padded_sizes_of_the_published_models(policy, table):
    assert {size: policy.padded(*size) for size in table} == table


def test_fit_gives_the_published_sizes():
    for size, padded in BASE.items():
        picture = as_image(np.full((*size, 3), 255, np.uint8))
        assert fit(picture, SizePolicy()).shape == (*padded, 3)


def test_rounding_is_half_to_even_and_never_zero():
    policy = SizePolicy(short=10, long=100, min=1, multiple=1)
    assert policy.resized(20, 25) == (10, 12)  # 12.5
    assert policy.resized(20, 27) == (10, 14)  # 13.5
    assert policy.resized(1, 10_000) == (1, 100)


def test_the_resize_condition():
    policy = SizePolicy()
    assert policy.resized(223, 671) == (223, 671)
    assert policy.resized(224, 671) == (224, 671)
    assert policy.resized(225, 300) == (224, 299)
    assert policy.resized(223, 673) == (223, 672)
    assert policy.resized(100, 673) == (100, 672)


@QUICK
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600), st.integers(0, 900), st.integers(1, 32))
def test_sizes_hold_for_any_picture_and_policy(height, width, short, more, multiple):
    policy = SizePolicy(short=short, long=short + more, min=70, multiple=multiple)
    small, padded = policy.resized(height, width), policy.padded(height, width)
    assert 1 <= small[0] <= height and 1 <= small[1] <= width
    assert min(small) <= policy.short and max(small) <= policy.long
    assert all(side % multiple == 0 and side >= max(70, inner) for side, inner in zip(padded, small, strict=True))
    assert all(side - max(70, inner) < multiple for side, inner in zip(padded, small, strict=True))
    assert policy.resized(*small) == small and policy.padded(*small) == padded


@pytest.mark.parametrize("field", ["short", "long", "min", "multiple"])
def test_a_policy_needs_positive_whole_numbers(field):
    for value in (0, -1, 2.5):
        with pytest.raises(ValueError, match=field):
            SizePolicy(**{field: value})


def test_padding_is_centred_black_with_the_odd_pixel_at_the_end():
    canvas = fit(as_image(np.full((40, 97, 3), 255, np.uint8)), SizePolicy())
    assert canvas.shape == (70, 98, 3) and canvas.dtype == np.uint8
    assert (canvas[15:55, :97] == 255).all() and canvas.sum() == 40 * 97 * 3 * 255


def test_fit_resizes_with_pillow_bicubic():
    picture = as_image(gradient(448, 448))
    expected = np.asarray(Image.fromarray(gradient(448, 448)).resize((224, 224), Image.Resampling.BICUBIC))
    assert np.array_equal(fit(picture, SizePolicy()), expected)


def test_a_crop_keeps_the_middle_of_the_resized_picture():
    picture = as_image(gradient(448, 896))
    whole = fit(picture, SizePolicy(multiple=1))
    assert whole.shape == (224, 448, 3)
    assert np.array_equal(fit(picture, SizePolicy(multiple=1), (0.75, 0.8)), whole[28:196, 45:403])
    padded = fit(picture, SizePolicy(), (0.75, 0.8))  # 168 x 358, padded to a multiple of 14
    assert padded.shape == (168, 364, 3) and np.array_equal(padded[:, 3:361], whole[28:196, 45:403])


def test_a_crop_never_goes_below_the_smallest_side_and_leaves_small_pictures_whole():
    policy = SizePolicy()
    assert policy.cropped(80, 200, (0.7, 0.7)) == (70, 140)
    assert policy.cropped(70, 200, (0.7, 0.7)) == (70, 200)
    assert policy.cropped(81, 201, (1.0, 1.0)) == (81, 201)


def test_to_pixels_is_float64_arithmetic_cast_at_the_end():
    rgb = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    pixels = to_pixels(rgb, CLIP_MEAN, CLIP_STD)
    assert pixels.dtype == torch.float32 and pixels.shape == (3, 16, 16) and pixels.is_contiguous()
    exact = [[[(int(rgb[y, x, c]) / 255 - CLIP_MEAN[c]) / CLIP_STD[c] for x in range(16)] for y in range(16)]
             for c in range(3)]  # fmt: skip
    assert torch.equal(pixels, torch.tensor(exact, dtype=torch.float64).float())


# ---------------------------------------------------------------- sources


@QUICK
@given(RGB)
def test_uint8_to_float_and_back_is_the_same_picture(rgb):
    wanted = as_image(rgb)
    assert np.array_equal(wanted.rgb, rgb)
    unit = (rgb / 255).astype(np.float32)
    sources = [
        rgb / 255, unit, unit.astype(np.float16), unit[None], rgb.astype(np.uint16) * 257, Image.fromarray(rgb),
        torch.from_numpy(rgb), torch.from_numpy(unit), torch.from_numpy(unit)[None], torch.from_numpy(unit).bfloat16(),
    ]  # fmt: skip
    for source in sources[:-1]:
        assert as_image(source).key == wanted.key
    # bfloat16 has 8 bits of precision, so one level may be lost
    assert np.abs(as_image(sources[-1]).rgb.astype(int) - rgb).max() <= 1


@QUICK
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(5, 8), st.integers(1, 4))))
def test_a_batch_equals_its_singles(batch):
    singles = [as_image(one).key for one in batch]
    for source in (batch, list(batch), torch.from_numpy(batch), torch.from_numpy(batch).float() / 255, [batch]):
        pictures = as_images(source, "frame")
        assert [picture.key for picture in pictures] == singles
        assert [picture.name for picture in pictures] == [f"frame {k + 1}" for k in range(len(batch))]


@QUICK
@given(RGB, RGB)
def test_keys_are_equal_exactly_for_equal_pixels(a, b):
    assert (as_image(a, "x").key == as_image(b, "y").key) == (a.shape == b.shape and np.array_equal(a, b))
    turned = a.reshape(a.shape[1], a.shape[0], 3)  # the same bytes in another shape
    if turned.shape != a.shape and turned.shape[-1] == 3:
        assert RGBImage(a, "x").key != RGBImage(turned, "x").key


@QUICK
@given(RGBA)
def test_alpha_is_laid_over_white(rgba):
    expected = over_white(rgba)
    assert np.array_equal(as_image(rgba).rgb, expected)
    assert np.array_equal(as_image(rgba / 255).rgb, expected)
    assert np.array_equal(as_image(Image.fromarray(rgba)).rgb, expected)
    assert as_image(rgba).rgba is None
    for source in (rgba, Image.fromarray(rgba)):
        assert np.array_equal(as_image(source, keep_alpha=True).rgba, rgba)
    grey = np.repeat(over_white(rgba[..., 2:]), 3, -1)  # two channels: grey and alpha
    assert np.array_equal(as_image(rgba[..., 2:].copy()).rgb, grey)
    assert np.array_equal(as_image(Image.merge("LA", [Image.fromarray(rgba[..., c]) for c in (2, 3)])).rgb, grey)


def test_grey_bool_and_other_memory_layouts():
    grey = gradient()[..., 0]
    wanted = np.repeat(grey[..., None], 3, -1)
    for source in (grey, grey[..., None], grey[None, ..., None], np.asfortranarray(grey), grey / 255):
        assert np.array_equal(as_image(source).rgb, wanted)
    assert np.array_equal(as_image(gradient()[::-1, ::2]).rgb, gradient()[::-1, ::2])
    mask = grey > 100
    assert np.array_equal(as_image(mask).rgb[..., 1], mask * 255)
    assert np.array_equal(as_image(torch.from_numpy(mask)).rgb[..., 1], mask * 255)


def test_sixteen_bits_are_scaled_to_eight():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    wanted = np.floor(values / 65535 * 255 + 0.5)
    for source in (values, values.astype(">u2"), Image.fromarray(values), Image.fromarray(values.astype(np.int32))):
        assert np.array_equal(as_image(source).rgb[..., 0], wanted)
    assert np.array_equal(as_image(torch.from_numpy(values)).rgb[..., 0], wanted)


def test_float_overshoot_is_clipped():
    source = np.array([[[-0.4, 0.5, 1.4], [0.0, 1.0, 0.002]]])
    assert as_image(source).rgb.tolist() == [[[0, 128, 255], [0, 255, 1]]]
    assert as_image(torch.tensor([[0.25, 0.75]], requires_grad=True)).rgb[0, :, 0].tolist() == [64, 191]


def test_the_callers_data_is_neither_kept_nor_changed():
    for dtype in (np.uint8, np.uint16, np.float32, np.float64):
        for channels in (1, 3, 4):
            source = np.random.default_rng(1).integers(0, 2, (6, 7, channels)).astype(dtype)
            for given_source in (source, torch.from_numpy(source), as_image(source.astype(np.uint8))):
                before, picture = source.copy(), as_image(given_source)
                kept = picture.rgb.copy()
                assert np.array_equal(source, before)
                source[:] = 1 - source
                assert np.array_equal(picture.rgb, kept) and not np.shares_memory(picture.rgb, source)
                source[:] = before
                with pytest.raises(ValueError, match="read-only"):
                    picture.rgb[0] = 0


def test_a_picture_made_by_hand_is_checked_and_copied():
    source = gradient()
    picture = RGBImage(source, "by hand")
    source[:] = 0
    assert np.array_equal(picture.rgb, gradient()) and (picture.height, picture.width) == (20, 30)
    assert picture.rgb.flags.c_contiguous and not picture.rgb.flags.writeable
    for wrong in (source / 255, source[..., 0], source[:0], [1]):
        with pytest.raises(ImageError, match="by hand"):
            RGBImage(wrong, "by hand")


# ---------------------------------------------------------------- files


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr", "HSV", "F", "La", "RGBa"]


@pytest.mark.parametrize("mode", MODES)
def test_pil_modes(mode):
    base = Image.fromarray(gradient())
    if mode == "I;16":
        source = Image.fromarray(gradient()[..., 0].astype(np.uint16) * 257)
        assert source.mode.startswith("I;16")
    elif mode == "F":
        source = Image.fromarray(gradient()[..., 0].astype(np.float32) / 255)
    else:
        source = base.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert(mode)
    picture = as_image(source)
    grey = mode in ("1", "L", "LA", "La", "I;16", "F")
    expected = np.asarray(base.convert("L" if grey else "RGB").convert("RGB")).astype(int)
    if mode in ("I;16", "F"):
        expected = np.repeat(gradient()[..., :1], 3, -1).astype(int)
    limit = {"1": 255, "P": 52, "YCbCr": 6, "HSV": 6}.get(mode, 0)
    assert np.abs(picture.rgb - expected).max() <= limit


def test_files_and_their_names(tmp_path):
    for name in ("a.png", "b.bmp", "c.tiff", "d.webp"):
        Image.fromarray(gradient()).save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        picture = as_image(tmp_path / name)
        assert np.array_equal(picture.rgb, gradient()) and picture.name == name
    assert as_image(str(tmp_path / "a.png"), "left").name == "left"
    (tmp_path / "more").mkdir()
    Image.fromarray(gradient()).save(tmp_path / "more" / "a.png")
    mixed = [tmp_path / "b.bmp", gradient(), tmp_path / "a.png", as_image(gradient(), "mine"),
             np.zeros((2, 4, 4, 3)), str(tmp_path / "more" / "a.png"), torch.zeros(7, 5)]  # fmt: skip
    assert [picture.name for picture in as_images(mixed, "x")] == [
        "b.bmp", "x 2", str(tmp_path / "a.png"), "mine", "x 5", "x 6", str(tmp_path / "more" / "a.png"), "x 8",
    ]  # fmt: skip


def test_files_with_transparency_and_sixteen_bits(tmp_path):
    rgba = np.dstack([gradient(), gradient()[..., 1]])
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    assert np.array_equal(as_image(tmp_path / "alpha.png").rgb, over_white(rgba))
    palette = Image.new("P", (4, 2), 1)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((0, 0), 0)
    palette.save(tmp_path / "palette.png", transparency=0)
    rgb = as_image(tmp_path / "palette.png").rgb
    assert rgb[0, 0].tolist() == [255, 255, 255] and rgb[1, 1].tolist() == [200, 100, 50]
    values = gradient()[..., 0].astype(np.uint16) * 257
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert np.array_equal(as_image(tmp_path / "deep.png").rgb[..., 0], gradient()[..., 0])
    see_through = Image.fromarray(values)
    see_through.info["transparency"] = 0
    assert (as_image(see_through).rgb[values == 0] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, tmp_path):
    turn = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient()).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(as_image(tmp_path / "turned.png").rgb, turn(gradient()))
    with Image.open(tmp_path / "turned.png") as source:
        assert np.array_equal(as_image(source).rgb, turn(gradient()))
        assert source.size == (30, 20)


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    assert (as_image(tmp_path / "moving.png").rgb == (255, 0, 0)).all()
    with Image.open(tmp_path / "moving.png") as source:
        source.seek(1)
        assert (as_image(source).rgb == (0, 0, 255)).all() and source.tell() == 1


# ---------------------------------------------------------------- refusals


def refused(source, *words, call=as_image, name="left eye"):
    with pytest.raises(ImageError) as caught:
        call(source, name)
    message = str(caught.value)
    assert message.startswith(name) and "\n" not in message
    for word in words:
        assert word in message


def test_arrays_that_are_no_pictures():
    nan = np.zeros((4, 5, 3))
    nan[1, 1, 1] = np.nan
    refused(nan, "NaN")
    refused(np.full((4, 5, 3), np.inf), "infinite")
    refused(np.full((4, 5, 3), 200.0), "255")
    refused(np.linspace(-1, 1, 60).reshape(4, 5, 3), "(x + 1) / 2")
    refused(np.full((4, 5, 3), 1e6, np.float32), "0..1")
    refused(np.zeros((4, 5, 3), np.int64), "int64", "uint8")
    refused(np.zeros((4, 5, 3), complex), "complex128")
    refused(np.full((4, 5, 3), "x"), "<U1")
    refused(np.zeros(5), "[5]")
    refused(np.zeros((1, 1, 4, 5, 3)), "[1, 1, 4, 5, 3]")
    refused(np.zeros((8, 8, 7)), "[8, 8, 7]", "[B, H, W, 1]")
    refused(torch.zeros(3, 8, 8), ".permute(1, 2, 0)")
    refused(torch.zeros(2, 3, 8, 8), ".permute(0, 2, 3, 1)", call=as_images)
    refused(np.zeros((0, 5, 3)), "no pixels")
    refused(np.zeros((0, 4, 5, 3)), "no pixels", call=as_images)
    refused(np.zeros((2, 4, 5, 3)), "batch of 2")
    refused([gradient()], "list")
    refused(Image.new("RGB", (0, 4)), "no pixels")
    refused(Image.fromarray(np.full((4, 5), 70_000, np.int32)), "70000")
    refused(torch.zeros(4, 5, 3, device="meta"))
    refused(b"bytes", "not an image of a supported format")
    for nothing in (None, 7, {"a": 1}):
        refused(nothing, type(nothing).__name__)


def test_the_number_of_the_bad_one_in_a_list_is_named(tmp_path):
    refused([gradient(), np.zeros((2, 6, 6, 3)), np.full((6, 6), np.nan)], "left eye 4", call=as_images)
    refused([gradient(), tmp_path / "gone.png"], "left eye 2", "gone.png", call=as_images)
    assert as_images([]) == []


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return start + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_files_that_are_no_pictures(tmp_path, monkeypatch):
    refused(tmp_path / "gone.png", "gone.png", "no such file")
    refused(tmp_path, "folder")
    refused("null\0byte.png", "null")
    (tmp_path / "text.png").write_text("hello")
    refused(tmp_path / "text.png", "text.png", "not an image of a supported format")
    (tmp_path / "empty.jpg").write_bytes(b"")
    refused(tmp_path / "empty.jpg", "empty.jpg")
    (tmp_path / "drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    refused(tmp_path / "drawing.eps", "EPS")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    for tolerant in (False, True):  # other packs switch this on for the whole process
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
        for kind in ("JPEG", "PNG", "TIFF", "BMP"):
            data = io.BytesIO()
            noise.save(data, kind)
            path = tmp_path / f"cut.{kind.lower()}"
            path.write_bytes(data.getvalue()[: len(data.getvalue()) // 2])
            refused(path, path.name)
        assert ImageFile.LOAD_TRUNCATED_IMAGES is tolerant


def test_too_many_pixels_are_found_before_decoding(tmp_path, monkeypatch):
    for own in (pillow.instance().Image.Image, pillow.instance().ImageFile.ImageFile):
        monkeypatch.setattr(own, "load", lambda *_: pytest.fail("decoded"))
    # above ours only; and above Pillow's own limit
    for side in (12_000, 40_000):
        (tmp_path / "bomb.png").write_bytes(png_header(side, side))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            refused(tmp_path / "bomb.png", "bomb.png", "134217728 pixels", "smaller")
    refused(np.broadcast_to(np.uint8(0), (20_000, 20_000, 3)), "20000 x 20000")


def test_pillows_warning_is_not_the_users(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)  # 600 pixels: Pillow warns, we allow
    Image.fromarray(gradient()).save(tmp_path / "large.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_image(tmp_path / "large.png").rgb.shape == (20, 30, 3)
    monkeypatch.setattr(pixels, "MAX_PIXELS", 500)
    refused(gradient(), "500")


def test_former_names_stay_for_scripts():
    assert (images.Picture, images.as_picture, images.as_pictures) == (RGBImage, as_image, as_images)
    assert (image_files.FilePicture, image_files.load_pictures) == (image_files.FileImage, image_files.load_images)
    assert results.RankedPicture is results.RankedImage
