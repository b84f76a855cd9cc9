"""Ratings inside JPEG, PNG and WebP files: others read them, nothing else changes, undo restores the same bytes."""

import io
import os
import random
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageSequence
from PIL.PngImagePlugin import PngInfo
from trees import ROOT

from depictqa_core.culling import edits, embedded
from depictqa_core.culling.embedded import rating_edits
from depictqa_core.culling.moves import COPY, RATE, apply, steps_to, undo
from depictqa_core.culling.ratings import rated, rating_steps
from depictqa_core.culling.xmp import NAMESPACE, with_rating
from depictqa_core.errors import StorageError

RATING = f"{{{NAMESPACE}}}Rating"
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:{0}="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 {1} dc:format='xmp:Rating="3"'>{2}<dc:title>Härte</dc:title></rdf:Description>
</rdf:RDF></x:xmpmeta>{3}<?xpacket end="w"?>"""
PACKETS = [
    PACKET.format("xmp", "xmp:Rating = '1'", "", ""),
    PACKET.format("xmp", 'xmp:Rating="-1"', "", " " * 200),
    PACKET.format("xmp", "", "<xmp:Rating>2</xmp:Rating>", "\n" * 9),
    PACKET.format("xap", 'xap:Rating="1"', "", ""),
    PACKET.format("xap", "", "<xap:Rating >1</xap:Rating >", " " * 200),
    PACKET.format("xap", "", "<xap:Rating/>", ""),
    PACKET.format("xap", "", "", ""),
    PACKET.format("xmp", "", "", " " * 2000),
    "\ufeff" + PACKET.format("xmp", "", "", ""),
    PACKET.format("xmp", "", "", "").replace("http://ns.adobe.com/xap/1.0/", "urn:other"),
    PACKET.format("xmp", "", "", "").split("?>\n", 1)[1].split("<?xpacket")[0],
]
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXIF = Image.Exif()
EXIF[0x010E], EXIF[0x0112] = "a description", 6
WORKFLOW = '{"1": {"class_type": "KSampler", "inputs": {"seed": 7}}}' * 40


def rating_in(packet):
    """The only rating of a packet, and what else it holds."""
    text = packet.decode("utf-8-sig").strip("\0 \n")
    top = ElementTree.fromstring(text)
    found = [element.get(RATING) or element.findtext(RATING) for element in top.iter()]
    (rating,) = [one for one in found if one is not None]
    return int(rating)


# ---------------------------------------------------------------------- XMP


@pytest.mark.parametrize("packet", PACKETS)
def test_every_spelling_of_a_rating_is_set_once_and_the_rest_stays(packet):
    before = packet.encode()
    after = with_rating(before, 5)
    assert rating_in(after) == 5 and with_rating(after, 5) == after and rating_in(with_rating(after, 0)) == 0
    assert "<dc:title>Härte</dc:title>".encode() in after and b"""dc:format='xmp:Rating="3"'""" in after
    assert after.startswith(before[:30])
    if b" " * 100 in before:
        assert len(after) == len(before)


def test_padding_of_zeros_and_ratings_of_others_stay():
    before = PACKETS[0].replace("xmp:Rating", 'xmlns:m="urn:m" m:Rating="99" xmp:Rating').encode() + b"\0\0"
    after = with_rating(before, 4)
    assert after.endswith(b'end="w"?>\0\0') and b'm:Rating="99"' in after and rating_in(after) == 4


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "no XML",
        PACKETS[0][:-60],
        "<a/>",
        '<!DOCTYPE a [<!ENTITY b "c">]>' + PACKETS[-1],
        PACKETS[0].replace("xmp:Rating", "abc:Rating"),
        '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
    ],
)
def test_packets_that_are_not_xmp_are_refused(packet):
    with pytest.raises(ValueError):
        with_rating(packet.encode(), 3)
    with pytest.raises(StorageError, match="a.xmp: is not an XMP sidecar"):
        rated(packet, 3, "a.xmp")


# ---------------------------------------------------------------------- files


@st.composite
def images(draw, extensions=("jpg", "png", "webp")):
    """(extension, bytes) of an image file with any metadata, and the packet in it, or None."""
    extension = draw(st.sampled_from(extensions))
    packet = draw(st.none() | st.sampled_from(PACKETS))
    packet = packet and packet.encode()
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    channels = draw(st.sampled_from([3] if extension == "jpg" else [3, 4]))
    frames = [Image.fromarray(rng.integers(0, 255, (*size, channels), np.uint8)) for _ in range(3)]
    options = {}
    if draw(st.booleans()):
        options["exif"] = EXIF.tobytes()
    if draw(st.booleans()):
        options["icc_profile"] = ICC
    if extension == "png":
        info = PngInfo()
        if draw(st.booleans()):
            info.add_text("workflow", WORKFLOW)
            info.add_text("prompt", WORKFLOW, zip=True)
        if packet:
            info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=draw(st.booleans()))
        options["pnginfo"] = info
    elif packet:
        options["xmp"] = packet
    if extension == "jpg":
        options["progressive"] = draw(st.booleans())
    if extension == "webp":
        options["lossless"] = draw(st.booleans())
    if extension != "jpg" and draw(st.integers(0, 3)) == 0:
        options.update(save_all=True, append_images=frames[1:])
    file = io.BytesIO()
    frames[0].save(file, {"jpg": "JPEG"}.get(extension, extension), **options)
    return extension, file.getvalue(), packet


def contents(path):
    """Everything that Pillow reads of a file, without its XMP; and the XMP."""
    with Image.open(path) as image:
        pixels = [frame.copy().tobytes() for frame in ImageSequence.Iterator(image)]
        info = {key: value for key, value in image.info.items() if "xmp" not in key}
        return (image.size, image.mode, pixels, info, dict(image.getexif())), image.info.get("xmp")


def rate(path, stars=4, journal="undo.jsonl"):
    steps, notices = rating_steps([(str(path), stars * 20.0)], inside=True)
    return [error for _, error in apply(steps, journal)], notices


def take_back(journal="undo.jsonl"):
    return [error for _, error in undo(journal)]


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(image=images(), stars=st.integers(0, 5))
def test_ratings_are_read_by_pillow_and_taken_back_to_the_byte(image, stars, tmp_path_factory):
    extension, data, packet = image
    here = tmp_path_factory.mktemp("one")
    path, journal = here / f"a.{extension}", here / "undo.jsonl"
    path.write_bytes(data)
    os.chmod(path, 0o640)
    os.utime(path, ns=(10**18, 10**18 + 1))
    kept, _ = contents(path)
    changes = with_rating(packet, stars) != packet
    assert rate(path, stars, journal) == ([None] * changes, [])
    assert (path.read_bytes() != data) == changes and os.stat(path).st_mode & 0o777 == 0o640
    assert os.stat(path).st_mtime_ns == 10**18 + 1
    found, xmp = contents(path)
    assert found == kept and rating_in(xmp) == stars
    assert xmp == with_rating(packet, stars)
    assert rate(path, stars, journal) == ([], [])  # the second run finds nothing to do
    for _ in range(2 * changes):  # once more changes nothing
        assert take_back(journal) == [None] and path.read_bytes() == data
    assert os.stat(path).st_mtime_ns == 10**18 + 1
    assert [one.name for one in here.iterdir() if one.name.endswith(".part")] == []


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(image=images(), cut=st.floats(0, 1, exclude_max=True))
def test_truncated_files_stay_as_they_are(image, cut, tmp_path_factory):
    extension, data, _ = image
    path = tmp_path_factory.getbasetemp() / f"cut.{extension}"
    path.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(StorageError, match="cut"):
        rating_edits(path, 3)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(image=images(), seed=st.integers(0, 2**32))
def test_damaged_files_raise_nothing_else(image, seed, tmp_path_factory):
    """Bytes of headers, lengths and packets are overwritten: a file is refused, or edited without loss."""
    extension, data, _ = image
    noise = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(noise.randint(1, 4)):
        damaged[noise.randrange(min(len(data), 400))] = noise.choice([0, 255, noise.randrange(256)])
    path = tmp_path_factory.getbasetemp() / f"damaged.{extension}"
    path.write_bytes(damaged)
    try:
        found = rating_edits(path, 3)
    except StorageError as error:
        assert str(error).startswith(str(path)) and path.read_bytes() == damaged
        return
    edits.edit_file(path, found, *edits.hashes(path, found))
    assert rating_edits(path, 3) == []
    back = edits.inverse(found)
    edits.edit_file(path, back, *edits.hashes(path, back))
    assert path.read_bytes() == damaged


def saved(name, **options):
    image = Image.fromarray(np.random.default_rng(3).integers(0, 255, (40, 50, 3), np.uint8))
    image.save(name, **options)
    return Path(name)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segments(data):
    place, found = 2, []
    while data[place + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, place + 2)
        found.append((data[place + 1], data[place + 4 : place + 2 + length]))
        place += 2 + length
    return found


def test_jpeg_segments_are_in_order_and_extended_xmp_stays(here):
    plain = saved("a.jpg", exif=EXIF.tobytes(), icc_profile=ICC).read_bytes()
    assert rate("a.jpg") == ([None], [])
    names = [(kind, content[:8]) for kind, content in segments(Path("a.jpg").read_bytes())]
    assert [kind for kind, _ in names[:4]] == [0xE0, 0xE1, 0xE1, 0xE2] and names[2][1] == b"http://n"
    extended = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", 4, 0) + b"more"
    note = PACKETS[7].replace("dc:format", 'xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="AA" dc:format')
    parts = [b"http://ns.adobe.com/xap/1.0/\0" + note.encode(), extended]
    both = b"".join(struct.pack(">BBH", 0xFF, 0xE1, 2 + len(part)) + part for part in parts)
    Path("b.jpg").write_bytes(plain[:20] + both + plain[20:])
    assert rate("b.jpg") == ([None], [])
    found = [content for kind, content in segments(Path("b.jpg").read_bytes()) if b"ns.adobe.com" in content]
    assert found[1] == extended and b'n:HasExtendedXMP="AA"' in found[0] and rating_in(found[0].split(b"\0", 1)[1]) == 4


def test_a_jpeg_packet_without_space_gets_a_notice(here):
    full = PACKETS[6].replace("Härte", "x" * (65502 - len(PACKETS[6].encode())))
    before = saved("a.jpg", xmp=full.encode()).read_bytes()
    errors, notices = rate("a.jpg")
    assert errors == [] and "a.jpg: its XMP has no space left for a rating: a JPEG file takes 64 KB" in notices[0]
    assert Path("a.jpg").read_bytes() == before
    padded = PACKETS[7].replace("Härte", "x" * (65502 - len(PACKETS[7].encode())))
    size = saved("b.jpg", xmp=padded.encode()).stat().st_size
    assert rate("b.jpg") == ([None], []) and Path("b.jpg").stat().st_size == size


@pytest.mark.parametrize("packet", [None, PACKETS[0], PACKETS[6]])
@pytest.mark.parametrize("last", [False, True])
def test_further_images_of_a_jpeg_file_are_found(here, packet, last):
    frames = [Image.fromarray(np.full((16, 24, 3), level, np.uint8)) for level in (20, 90, 160)]
    frames[0].save("a.mpo", save_all=True, append_images=frames[1:])
    data = Path("a.mpo").read_bytes()
    if packet:  # before or behind the list of images, which counts from its own place
        part = b"http://ns.adobe.com/xap/1.0/\0" + packet.encode()
        part = struct.pack(">BBH", 0xFF, 0xE1, 2 + len(part)) + part
        place = data.index(b"\xff\xdb") if last else 20
        if last:
            data = bytearray(data)
            entry = data.index(b"MPF\0") + 4
            for n, offset in shifted(data, entry, len(part)):
                struct.pack_into("<I", data, n, offset)
        data = bytes(data[:place]) + part + bytes(data[place:])
        Path("a.mpo").write_bytes(data)
    kept = contents("a.mpo")[0]
    assert [pixels[0] for pixels in kept[2]] == [20, 90, 160]
    sizes = [struct.unpack_from("<I", data, n - 4)[0] for n, _ in shifted(data, data.index(b"MPF\0") + 4, 0)]
    assert rate("a.mpo") == ([None], [])
    found = contents("a.mpo")
    assert found[0][2] == kept[2] and rating_in(found[1]) == 4
    after = Path("a.mpo").read_bytes()
    sizes_after = [struct.unpack_from("<I", after, n - 4)[0] for n, _ in shifted(after, after.index(b"MPF\0") + 4, 0)]
    assert sizes_after[1:] == sizes[1:] and first_size(after) - first_size(data) == len(after) - len(data)
    assert take_back() == [None] and Path("a.mpo").read_bytes() == data


def image_list(data, start):
    (place,) = struct.unpack_from("<I", data, start + 4)
    (count,) = struct.unpack_from("<H", data, start + place)
    for n in range(count):
        tag, _, length, where = struct.unpack_from("<HHII", data, start + place + 2 + 12 * n)
        if tag == 0xB002:
            return [start + entry for entry in range(where, where + length, 16)]


def first_size(data):
    return struct.unpack_from("<I", data, image_list(data, data.index(b"MPF\0") + 4)[0] + 4)[0]


def shifted(data, start, by):
    """(place, offset + by) of each further image."""
    return [(entry + 8, struct.unpack_from("<I", data, entry + 8)[0] + by) for entry in image_list(data, start)[1:]]


def chunks(data):
    place, found = 8, []
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert data[place + 8 + length : place + 12 + length] == struct.pack(">I", zlib.crc32(kind + content))
        found.append((kind, content))
        place += 12 + length
    return found


def test_png_chunks_of_a_workflow_stay_and_the_packet_is_before_the_pixels(here):
    info = PngInfo()
    info.add_text("workflow", WORKFLOW)
    before = chunks(saved("a.png", pnginfo=info, icc_profile=ICC).read_bytes())
    assert rate("a.png") == ([None], [])
    after = chunks(Path("a.png").read_bytes())
    (new,) = [one for one in after if one not in before]
    assert [one for one in after if one != new] == before
    kinds = [kind for kind, _ in after]
    assert kinds.index(b"iTXt") == kinds.index(b"IDAT") - 1 and new[1].startswith(
        b"XML:com.adobe.xmp\0\0\0\0\0<?xpacket"
    )


def test_png_packets_behind_the_pixels_and_unpacked_ones_that_are_too_large(here, monkeypatch):
    data = saved("a.png").read_bytes()
    text = b"XML:com.adobe.xmp\0\1\0en\0x\0" + zlib.compress(PACKETS[0].encode())
    Path("a.png").write_bytes(data[:-12] + embedded._png_chunk(text) + data[-12:])
    assert rate("a.png", 3) == ([None], [])
    with Image.open("a.png") as image:
        image.load()
        assert rating_in(image.info["xmp"]) == 3
    kind, content = chunks(Path("a.png").read_bytes())[-2]
    assert kind == b"iTXt" and content.startswith(b"XML:com.adobe.xmp\0\1\0en\0x\0")
    monkeypatch.setattr(embedded, "MAX_METADATA", 300)
    text = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(9**6))[:200]
    Path("a.png").write_bytes(data[:-12] + embedded._png_chunk(text) + data[-12:])
    with pytest.raises(StorageError, match="a.png: its XMP .* 300"):
        rating_edits("a.png", 3)


def test_webp_files_without_an_extended_header_get_one(here):
    for name, mode, options, flags in (
        ("a.webp", "RGB", {"quality": 50}, 0x04),
        ("b.webp", "RGB", {"lossless": True}, 0x04),
        ("c.webp", "RGBA", {"lossless": True}, 0x14),
        ("d.webp", "RGBA", {"exif": EXIF.tobytes(), "icc_profile": ICC}, 0x3C),
    ):
        noise = np.random.default_rng(0).integers(0, 255, (33, 47, len(mode)), np.uint8)
        Image.fromarray(noise).save(name, **options)
        simple = Path(name).read_bytes()
        assert rate(name) == ([None], [])
        data = Path(name).read_bytes()
        assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8 and data[12:16] == b"VP8X" and data[20] == flags
        assert [int.from_bytes(data[place : place + 3], "little") + 1 for place in (24, 27)] == [47, 33]
        pixels = simple[simple.index(b"VP8", 16 if simple[12:16] == b"VP8X" else 0) :]
        assert pixels in data or flags & 0x08


def test_other_formats_name_sidecars(here):
    saved("a.tif")
    saved("b.bmp")
    Path("c.jpg").write_text("no image")
    Path("d.png").write_bytes(b"")
    for name in ("a.tif", "b.bmp", "c.jpg", "d.png"):
        before = Path(name).read_bytes()
        errors, notices = rate(name)
        assert errors == [] and Path(name).read_bytes() == before
        assert f"{name}: only JPEG, PNG and WebP files" in notices[0] and "sidecar (--ratings)" in notices[0]


def test_lengths_that_lie(here):
    jpeg, png, webp = (saved(f"a.{extension}").read_bytes() for extension in ("jpg", "png", "webp"))
    for name, data in (
        ("segment.jpg", jpeg[:4] + b"\xff\xff" + jpeg[6:]),
        ("short.jpg", jpeg[:4] + b"\0\1" + jpeg[6:]),
        ("end.jpg", jpeg[:-2]),
        ("chunk.png", png[:33] + b"\x7f" + png[34:]),
        ("shorter.png", png[:36] + bytes([png[36] ^ 1]) + png[37:]),
        ("header.png", png[:8] + png[33:]),
        ("riff.webp", webp[:4] + struct.pack("<I", len(webp)) + webp[8:]),
        ("chunk.webp", webp[:16] + b"\xff" + webp[17:]),
        ("pixels.webp", webp[:12] + b"VP8Z" + webp[16:]),
    ):
        Path(name).write_bytes(data)
        errors, notices = rate(name)
        assert errors == [] and len(notices) == 1 and f"{name}: the file is truncated or damaged" in notices[0]
        assert Path(name).read_bytes() == data


def test_a_wrong_checksum_of_a_packet_gets_a_notice(here):
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", PACKETS[0])
    data = saved("a.png", pnginfo=info).read_bytes()
    Path("a.png").write_bytes(data.replace(b"xmp:Rating = '1'", b"xmp:Rating = '2'"))
    assert "wrong checksum" in rate("a.png")[1][0]


# ---------------------------------------------------------------------- undo


def test_files_that_were_changed_or_are_gone_are_reported_and_stay(here):
    for name in ("a.png", "b.jpg", "c.webp"):
        saved(name)
    old = Path("b.jpg").read_bytes()
    steps, _ = rating_steps([(name, 80.0) for name in ("a.png", "b.jpg", "c.webp")], inside=True)
    assert [(step.action, error) for step, error in apply(steps, "undo.jsonl")] == [(RATE, None)] * 3
    with open("a.png", "ab") as file:
        file.write(b"more")
    changed = Path("a.png").read_bytes()
    os.remove("c.webp")
    gone, restored, other = take_back()
    assert "c.webp: No such file" in gone and restored is None and "a.png: was changed since" in other
    assert Path("a.png").read_bytes() == changed and Path("b.jpg").read_bytes() == old
    assert sorted(os.listdir()) == [".undo.jsonl.lock", "a.png", "b.jpg", "undo.jsonl"]


def test_an_undo_list_that_was_changed_restores_nothing(here):
    saved("a.png")
    rate("a.png")
    rated_file = Path("a.png").read_bytes()
    line = Path("undo.jsonl").read_text()
    for wrong in (line.replace('"edits": [[', '"edits": [[1'), line.replace('"edits": [[', '"edits": [5, [')):
        Path("undo.jsonl").write_text(wrong)
        (error,) = take_back()
        assert error and Path("a.png").read_bytes() == rated_file


def test_a_kill_between_the_list_and_the_file_loses_nothing(here):
    old = {name: saved(name).read_bytes() for name in ("a.png", "b.jpg", "c.webp")}
    code = """
import os, signal
from depictqa_core.culling import moves, ratings
from depictqa_core.storage import files
steps, _ = ratings.rating_steps([(name, 80.0) for name in ("a.png", "b.jpg", "c.webp")], inside=True)
rename, count = os.replace, []
def killed(source, target):
    count.append(1)
    if len(count) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
files.os.replace = killed
list(moves.apply(steps, "undo.jsonl"))
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -9 and [Path(name).read_bytes() == data for name, data in old.items()] == [
        False,
        True,
        True,
    ]
    with open("undo.jsonl", "ab") as file:
        file.write('{"action": "rate", "target": "ä'.encode()[:-1])  # a line that a power failure cut
    assert take_back() == [None, None]
    assert all(Path(name).read_bytes() == data for name, data in old.items())


def test_read_only_files_and_links(here):
    old = saved("a.png").read_bytes()
    os.chmod("a.png", 0o444)
    assert "a.png: is read-only; change its permissions; it stays" in rate("a.png")[1][0]
    os.chmod("a.png", 0o644)
    os.symlink("a.png", "link.png")
    assert rate("link.png") == ([None], [])
    assert os.path.islink("link.png") and rating_in(contents("a.png")[1]) == 4
    os.chmod("a.png", 0o444)
    assert "is read-only" in take_back()[0]
    os.chmod("a.png", 0o644)
    assert take_back() == [None] and Path("a.png").read_bytes() == old


def test_copies_of_the_best_have_their_ratings_and_all_is_taken_back(here):
    old = saved("a.png").read_bytes()
    steps, _ = rating_steps([("a.png", 80.0), ("./a.png", 80.0)], inside=True)  # the second finds nothing to do
    copies, _ = steps_to(["a.png"], "best", COPY)
    assert [error for _, error in apply([*steps, *copies], "undo.jsonl")] == [None] * 3
    assert rating_in(contents("best/a.png")[1]) == 4
    assert take_back() == [None] * 3
    assert Path("a.png").read_bytes() == old and os.listdir("best") == []


def test_a_file_that_changes_while_it_is_rated_stays(here):
    before, after = saved("a.png").read_bytes(), b"another"
    found = rating_edits("a.png", 4)
    expected = edits.hashes("a.png", found)
    Path("a.png").write_bytes(before + after)
    with pytest.raises(StorageError, match="a.png: was changed since"):
        edits.edit_file("a.png", found, *expected)
    assert Path("a.png").read_bytes() == before + after and os.listdir() == ["a.png"]


@pytest.mark.slow
def test_large_files_are_not_held_in_memory(here):
    saved("a.png")
    data = Path("a.png").read_bytes()
    pixels = embedded._png_chunk(b"")[:4]
    with open("a.png", "wb") as file:  # 200 MB of chunks that nobody reads
        file.write(data[:-12])
        for _ in range(50):
            content = bytes(2**22)
            file.write(struct.pack(">I", len(content)) + b"abCd" + content + pixels)
        file.write(data[-12:])
    code = """
import resource
from depictqa_core.culling import moves, ratings
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
steps, _ = ratings.rating_steps([("a.png", 80.0)], inside=True)
assert [error for _, error in moves.apply(steps, "undo.jsonl")] == [None]
assert [error for _, error in moves.undo("undo.jsonl")] == [None]
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert int(done.stdout) < 16 * 1024, done.stderr  # KiB


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("exiftool"), reason="needs exiftool")
@pytest.mark.parametrize("packet", [None, PACKETS[0], PACKETS[4]])
def test_exiftool_reads_the_rating_and_finds_no_fault(here, packet):
    names = ["a.jpg", "b.png", "c.webp"]
    for name in names:
        info = PngInfo()
        if packet:
            info.add_itxt("XML:com.adobe.xmp", packet, zip=True)
        found = {"pnginfo": info} if name == "b.png" else {"xmp": packet.encode()} if packet else {}
        saved(name, icc_profile=ICC, **found)
        assert rate(name, 3) == ([None], [])
    words = ["exiftool", "-q", "-s3", "-XMP-xmp:Rating", "-validate", "-warning", *names]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "OK"] * 3
