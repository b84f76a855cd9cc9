"""Pristine images: manifest, checks, near-duplicates, splits, reserved images and Qt resource files."""

import json
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from training.__main__ import main
from training.sources import prepare as pictures
from training.sources import qt_resources
from training.sources.image_checks import jpeg_quality, measure, open_checked, unfit
from training.sources.manifest import Manifest, ManifestError, Rules, Source, assign_split, load_manifest

RECIPE = pictures.DEFAULT_MANIFEST


def scene(seed: int, height: int = 320, width: int = 400) -> Image.Image:
    """A coloured image with large shapes and fine texture that passes the checks and differs from seed to seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 236, (7, 9, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(coarse, dtype=np.int16) + rng.integers(-18, 19, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def source(name: str, **changes) -> Source:
    values = {
        "id": name,
        "kind": "pip",
        "name": name,
        "version": "1",
        "licence": "CC0-1.0",
        "include": ("*",),
        "exclude": (),
        "group": None,
        "rules": Rules(),
    }
    return Source(**(values | changes))


def manifest(*sources: Source, reserved: tuple[Source, ...] = (), **changes) -> Manifest:
    values = {
        "sources": sources,
        "reserved": reserved,
        "seed": "test",
        "validation_share": 0.3,
        "near_duplicate_bits": 14,
    }
    return Manifest(**(values | changes))


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    (folder / "alpha" / "deep").mkdir(parents=True)
    (folder / "beta").mkdir()
    for seed in range(12):
        scene(seed).save(folder / "alpha" / "deep" / f"view {seed}.png")
    scene(50, 700, 2000).save(folder / "beta" / "wide.png")
    scene(51).save(folder / "beta" / "photo.jpg", quality=95)
    return folder


def reasons(summary: dict) -> dict[str, str]:
    return {item["original"].rsplit("/", 1)[-1]: item["reason"] for item in summary["dropped"]}


@pytest.mark.slow
def test_prepare_writes_pictures_and_record(raw, tmp_path):
    out = tmp_path / "out"
    summary = pictures.prepare(raw, out, manifest(source("alpha"), source("beta")))
    record = json.loads((out / "pictures.json").read_text())
    assert summary["pictures"] == {
        "train": sum(e["split"] == "train" for e in record["pictures"]),
        "validation": sum(e["split"] == "validation" for e in record["pictures"]),
        "reserved": 0,
    }
    assert len(record["pictures"]) == 14 and summary["dropped"] == []
    for entry in record["pictures"]:
        with Image.open(out / entry["file"]) as image:
            assert image.mode == "RGB" and image.size == (entry["width"], entry["height"])
        assert entry["file"].startswith(f"{entry['split']}/{entry['source']}__") and entry["licence"] == "CC0-1.0"
    by_name = {entry["original"]: entry for entry in record["pictures"]}
    assert (
        by_name["wide.png"]["width"] == 1600
        and by_name["wide.png"]["original_width"] == 2000
        and by_name["wide.png"]["height"] == 560
    )
    photo = by_name["photo.jpg"]
    assert (out / photo["file"]).read_bytes() == (raw / "beta" / "photo.jpg").read_bytes()


@pytest.mark.slow
def test_prepare_is_deterministic_and_splits_are_disjoint(raw, tmp_path):
    plan = manifest(source("alpha"), source("beta"))
    first = pictures.prepare(raw, tmp_path / "one", plan)
    second = pictures.prepare(raw, tmp_path / "two", plan)
    assert first == second
    assert (tmp_path / "one" / "pictures.json").read_bytes() == (tmp_path / "two" / "pictures.json").read_bytes()
    entries = json.loads((tmp_path / "one" / "pictures.json").read_text())["pictures"]
    train = {e["original"] for e in entries if e["split"] == "train"}
    validation = {e["original"] for e in entries if e["split"] == "validation"}
    assert train and validation and not train & validation


@pytest.mark.slow
def test_split_does_not_depend_on_the_other_pictures(raw, tmp_path):
    plan = manifest(source("alpha"))
    pictures.prepare(raw, tmp_path / "all", plan)
    before = {
        e["original"]: e["split"] for e in json.loads((tmp_path / "all" / "pictures.json").read_text())["pictures"]
    }
    (raw / "alpha" / "deep" / "view 3.png").unlink()
    scene(99).save(raw / "alpha" / "deep" / "new.png")
    pictures.prepare(raw, tmp_path / "all", plan)
    after = {
        e["original"]: e["split"] for e in json.loads((tmp_path / "all" / "pictures.json").read_text())["pictures"]
    }
    assert all(after[name] == split for name, split in before.items() if name in after)
    assert not list((tmp_path / "all").rglob("*view-3*")), "an earlier run's image is left over"


@pytest.mark.slow
def test_near_duplicates_keep_the_larger(raw, tmp_path):
    original = scene(50, 700, 2000)
    small = original.resize((800, 280), Image.Resampling.BICUBIC).point(lambda value: min(255, int(value * 1.08)))
    small.save(raw / "alpha" / "copy.jpg", quality=80)
    summary = pictures.prepare(raw, tmp_path / "out", manifest(source("alpha"), source("beta")))
    assert reasons(summary).keys() == {"copy.jpg"}
    assert "near-duplicate of" in reasons(summary)["copy.jpg"] and "beta__wide" in reasons(summary)["copy.jpg"]


@pytest.mark.slow
def test_reserved_pictures_never_reach_training(raw, tmp_path):
    kept_apart = tmp_path / "reserved_raw" / "gamma"
    kept_apart.mkdir(parents=True)
    scene(4).resize((800, 640), Image.Resampling.BICUBIC).save(kept_apart / "held.png")
    scene(6).save(kept_apart / "held_out_by_eye.png")
    scene(8).resize((200, 160)).save(kept_apart / "too_small_to_use.png")
    gamma = source("gamma", exclude=("*by_eye*",))
    plan = manifest(source("alpha"), reserved=(gamma,))
    summary = pictures.prepare(raw, tmp_path / "out", plan, reserved_dir=kept_apart.parent)
    assert summary["pictures"]["reserved"] == 1
    for seed in (4, 6, 8):
        assert "near-duplicate of" in reasons(summary)[f"view {seed}.png"]
        assert not list((tmp_path / "out" / "train").glob(f"*view-{seed}.*"))
    hashes = pictures.hash_reserved(kept_apart.parent, plan)
    assert len(hashes) == 3
    without_folder = pictures.prepare(
        raw, tmp_path / "again", manifest(source("alpha"), reserved=(gamma,), reserved_hashes=hashes)
    )
    assert set(reasons(without_folder)) == {"view 4.png", "view 6.png", "view 8.png"}


@pytest.mark.slow
def test_damaged_and_unfit_files_are_named_and_skipped(raw, tmp_path):
    folder = raw / "alpha"
    (folder / "broken.jpg").write_bytes(b"not an image")
    whole = folder / "cut.png"
    scene(60).save(whole)
    whole.write_bytes(whole.read_bytes()[:2000])
    scene(61).resize((200, 160)).save(folder / "small.png")
    scene(62).convert("L").save(folder / "grey.png")
    Image.new("RGB", (400, 400), (90, 120, 60)).save(folder / "constant.png")
    Image.fromarray(np.asarray(scene(63)) // 9).save(folder / "dark.png")
    scene(64).save(folder / "moving.webp", save_all=True, append_images=[scene(65)])
    cut_out = scene(66).convert("RGBA")
    cut_out.paste((0, 0, 0, 0), (0, 0, 200, 200))
    cut_out.save(folder / "cutout.png")
    scene(67).save(folder / "blocky.jpg", quality=15)
    found = reasons(pictures.prepare(raw, tmp_path / "out", manifest(source("alpha"))))
    expected = {
        "broken.jpg": "cannot be read",
        "cut.png": "cannot be read",
        "small.png": "short side",
        "grey.png": "grey",
        "constant.png": "nearly constant",
        "dark.png": "too dark",
        "moving.webp": "animation",
        "cutout.png": "transparent",
        "blocky.jpg": "JPEG quality",
    }
    assert found.keys() == expected.keys()
    assert all(found[name].startswith(start) for name, start in expected.items()), found


@pytest.mark.slow
def test_missing_sources_are_reported(raw, tmp_path):
    assert pictures.prepare(raw, tmp_path / "out", manifest(source("alpha"), source("nowhere")))["missing"] == [
        "nowhere"
    ]
    with pytest.raises(ManifestError, match="fetch_pictures"):
        pictures.prepare(raw, tmp_path / "out", manifest(source("nowhere")))


@pytest.mark.slow
def test_equal_names_get_different_files(raw, tmp_path):
    (raw / "alpha" / "other").mkdir()
    scene(70).save(raw / "alpha" / "other" / "view 1.png")
    assert pictures.prepare(raw, tmp_path / "out", manifest(source("alpha")))["dropped"] == []
    assert (
        len(list((tmp_path / "out").rglob("alpha__view-1*.png"))) == 1 + 1 + 2
    )  # view 1, its namesake, view 10, view 11


def test_globs_and_groups():
    grouped = source("alpha", group=r"^(.*?)-\d+$")
    plan = manifest(grouped, validation_share=0.5)
    for name in ("sofa", "river", "tower"):
        assert len({assign_split(grouped, f"a/{name}-{number}.png", plan) for number in range(1, 9)}) == 1
    splits = [assign_split(source("alpha"), f"{number}.png", plan) for number in range(400)]
    assert 150 < splits.count("validation") < 250


def test_measures_tell_drawings_from_photographs():
    drawing = Image.new("RGB", (400, 400), "white")
    drawing.paste((200, 30, 30), (50, 50, 200, 350))
    assert unfit(drawing, Rules()).startswith(("few colours", "flat areas"))
    assert unfit(scene(1), Rules()) is None
    assert measure(drawing)["flat"] > 0.9 > 0.1 > measure(scene(1))["flat"]
    smooth = Image.fromarray(np.asarray(scene(2).resize((9, 7)).resize((400, 320), Image.Resampling.BICUBIC)))
    assert unfit(smooth, Rules()).startswith("little detail")


@pytest.mark.parametrize("quality", [30, 60, 75, 90])
def test_jpeg_quality_estimate(quality, tmp_path):
    scene(1).save(tmp_path / "a.jpg", quality=quality)
    with Image.open(tmp_path / "a.jpg") as image:
        assert abs(jpeg_quality(image) - quality) <= 3
    scene(1).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert jpeg_quality(image) is None


def test_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(1, 320, 480).save(tmp_path / "a.jpg", quality=95, exif=exif)
    picture, reason = open_checked(tmp_path / "a.jpg", Rules())
    assert reason is None and picture.size == (320, 480)


def test_recipe_manifest_is_sound():
    plan = load_manifest(RECIPE)
    assert {
        "foolbox",
        "plasma-workspace-wallpapers",
        "opencv-doc",
        "python3-skimage",
        "startbootstrap-creative",
        "comfyui-workflow-templates-media-api",
    } <= {item.name for item in plan.reserved}
    assert not {item.name for item in plan.sources} & {item.name for item in plan.reserved}
    assert len(plan.reserved_hashes) > 100 and all(len(code) == 32 for code in plan.reserved_hashes)


@pytest.mark.parametrize(
    "text, message",
    [
        ("sources: [{kind: pip, name: a, version: 1}]", "missing licence"),
        ("sources: [{kind: conda, name: a, version: 1, licence: MIT}]", "kind is 'conda'"),
        (
            "sources: [{kind: pip, name: a, version: 1, licence: MIT, rules: {min_shrot: 3}}]",
            "unknown key min_shrot (did you mean min_short?)",
        ),
        ("sources: [{kind: pip, name: a, version: 1, licence: MIT, group: '(a)(b)'}]", "exactly one group"),
        (
            "sources: [{kind: pip, name: a, version: 1, licence: MIT}]\n"
            "reserved: {sources: [{kind: pip, name: a, version: 2, licence: MIT}]}",
            "listed 2 times",
        ),
        ("validation_share: 1.5", "validation_share is 1.5"),
        ("sources: 3", "sources is 3; allowed: a list of sources"),
        ("sources: [3]", "source 3: must hold keys"),
        ("sources: [{kind: pip, name: a, id: ../a, version: 1, licence: MIT}]", "id is '../a'"),
        ("rules: {min_short: 1e9}", "min_short is '1e9'"),
        ("near_duplicate_bits: 200", "near_duplicate_bits is 200"),
        ("source: []", "unknown key source (did you mean sources?)"),
        ("[" * 9999, "nested more than"),
    ],
)
def test_manifest_errors_name_the_entry(text, message, tmp_path):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ManifestError, match=re.escape(message)):
        load_manifest(tmp_path / "m.yaml")


@pytest.mark.slow
def test_command_line(raw, tmp_path, capsys):
    (tmp_path / "m.yaml").write_text("sources: [{kind: pip, name: alpha, version: 1, licence: CC0-1.0}]")
    listed = ["--manifest", str(tmp_path / "m.yaml")]
    assert main(["images", "list", *listed]) == 0
    assert capsys.readouterr().out == "pip alpha 1 alpha\n"
    assert main(["images", "prepare", str(tmp_path / "out"), "--raw", str(raw), *listed]) == 0
    assert "total: 1" in capsys.readouterr().out
    empty = ["pictures", "prepare", str(tmp_path / "out"), "--raw", str(tmp_path / "empty"), *listed]  # the former name
    assert main(empty) == 1
    assert "there is no folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(empty) == 1
    assert capsys.readouterr().err.startswith("error: none of the listed sources")


def qt_resource(name: str, body: bytes) -> bytes:
    """A version 1 resource file with one folder and one compressed file in it."""
    names, at = b"", {}
    for part in ("folder", name):
        at[part] = len(names)
        names += struct.pack(">HI", len(part), 0) + part.encode("utf-16-be")
    packed = struct.pack(">I", len(body)) + zlib.compress(body)
    contents = struct.pack(">I", len(packed)) + packed
    tree = (
        struct.pack(">IHII", 0, 2, 1, 1)
        + struct.pack(">IHII", at["folder"], 2, 1, 2)
        + struct.pack(">IHHHI", at[name], 1, 0, 0, 0)
    )
    return b"qres" + struct.pack(">4I", 1, 20, 20 + len(tree), 20 + len(tree) + len(contents)) + tree + contents + names


def test_qt_resources(tmp_path):
    (tmp_path / "a.rcc").write_bytes(qt_resource("bear.webp", b"pixels"))
    assert qt_resources.unpack_folder(tmp_path, (".webp",)) == 1
    assert (tmp_path / "a.rcc.unpacked" / "folder" / "bear.webp").read_bytes() == b"pixels"
    assert qt_resources.unpack(tmp_path / "a.rcc", tmp_path / "other", (".png",)) == 0
    for name, body in (
        ("up.rcc", qt_resource("../x.webp", b"x")),
        ("cut.rcc", qt_resource("a.webp", b"x")[:70]),
        ("no.rcc", b"text"),
    ):
        (tmp_path / name).write_bytes(body)
        with pytest.raises(ValueError, match=name):
            qt_resources.unpack(tmp_path / name, tmp_path / "bad")
    assert not (tmp_path / "x.webp").exists()


@pytest.mark.parametrize("words", [["images"], ["pictures"], ["images", "prepare"]])
def test_help_is_that_of_the_command(words, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--help"])
    assert "usage: python -m training" in capsys.readouterr().out
