"""Scenes of distorted images: labels and their order, where the error lies, one scene, and the resumable build."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom
from trees import ROOT

from tests.trees import contents
from training import distortions
from training.dataset.building import measures, synthesis
from training.dataset.building.scenes import SceneError, SceneOptions, build_scenes, make_scene, read_scenes
from training.dataset.building.shard import BuildError
from training.dataset.records import labels


def photo(seed: int, height: int = 300, width: int = 340) -> np.ndarray:
    """A stand-in for a photograph: coloured patches of several sizes with edges, a gradient and some texture."""
    rng = np.random.default_rng(seed)
    coarse = zoom(rng.integers(0, 256, (7, 8, 3)).astype(np.float32), (height / 7, width / 8, 1), order=0)
    fine = gaussian_filter(rng.normal(0, 40, (height, width, 3)), (1.5, 1.5, 0))
    shade = np.linspace(-30, 30, width)[None, :, None]
    return np.clip(coarse[:height, :width] * 0.7 + 30 + fine + shade, 0, 255).astype(np.uint8)


@pytest.fixture
def cheap_metrics(monkeypatch):
    monkeypatch.setattr(measures, "metrics", lambda a, b: dict(measures.BEST))


# ---- labels

LIMITS = {"ssim": (-0.2, 1), "gmsd": (0, 0.4), "haarpsi": (0, 1), "mdsi": (0, 0.8), "psnr": (3, 80), "vsi": (0.5, 1)}
metric_values = st.fixed_dictionaries({name: st.floats(low, high) for name, (low, high) in LIMITS.items()})
single = st.builds(lambda n, s: [{"name": n, "severity": s}], st.sampled_from(distortions.NAMES), st.integers(1, 5))
double = st.builds(
    lambda a, b, s, t: [{"name": a, "severity": s}, {"name": b, "severity": t}],
    st.sampled_from(distortions.NAMES), st.sampled_from(distortions.NAMES), st.integers(1, 3), st.integers(1, 3),
)  # fmt: skip
variants = st.builds(
    lambda d, m, r: {"distortions": d, "metrics": m, "resaved": r},
    st.one_of(st.just([]), single, double), metric_values, st.sampled_from([None, "jpeg 90", "resize 0.9"]),
)  # fmt: skip


def variant(name: str | None, severity: int = 0, seen: float = 0.0, resaved: str | None = None) -> dict:
    """A variant whose metrics all see the severity `seen`."""
    values = {m: float(np.interp(seen, range(6), labels.ANCHORS[m])) for m in labels.ANCHORS}
    return {
        "distortions": [{"name": name, "severity": severity}] if name else [],
        "metrics": values,
        "resaved": resaved,
    }


def quality_of(v: dict) -> float:
    return labels.quality(v["distortions"], v["metrics"])


def test_severity_of_none_one_and_two():
    def items(*steps):
        return [{"name": "x", "severity": s} for s in steps]

    assert labels.severity([]) == 0
    assert labels.severity(items(4)) == 4
    assert labels.severity(items(1, 3)) == labels.severity(items(3, 1)) == 3.5
    assert labels.severity(items(3, 3)) == 4.5
    assert labels.severity(items(5, 5)) == 5
    with pytest.raises(ValueError, match="at most two"):
        labels.severity(items(1, 1, 1))
    with pytest.raises(ValueError, match="1 to 5"):
        labels.severity(items(6))


def test_every_metric_of_a_scene_has_anchors_in_its_own_direction():
    assert set(labels.ANCHORS) == set(measures.METRICS) == set(measures.BEST)
    for name, anchors in labels.ANCHORS.items():
        steps = np.diff(anchors)
        assert (steps < 0).all() or (steps > 0).all()
        assert (steps > 0).all() == (name in ("gmsd", "mdsi"))
        assert labels.seen_severity({name: measures.BEST[name]})[name] == 0
        assert labels.seen_severity({name: anchors[3]})[name] == pytest.approx(3)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(a=variants, b=variants)
def test_better_is_antisymmetric_and_agrees_with_quality(a, b):
    verdict = labels.better(a, b)
    assert labels.better(b, a) is (None if verdict is None else not verdict)
    assert labels.better(a, a) is None
    assert 0 <= quality_of(a) <= 1
    if verdict is True:
        assert quality_of(a) >= quality_of(b)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(distortions.NAMES),
    low=st.integers(1, 4),
    step=st.integers(1, 4),
    m=metric_values,
    n=metric_values,
)
def test_severity_orders_one_implementation_whatever_the_metrics(name, low, step, m, n):
    mild = {"distortions": [{"name": name, "severity": low}], "metrics": m}
    strong = {"distortions": [{"name": name, "severity": min(5, low + step)}], "metrics": n}
    assert labels.better(mild, strong) is True
    assert 1 > quality_of(mild) > quality_of(strong)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(a=variants, b=variants)
def test_two_steps_of_severity_are_decided_by_severity(a, b):
    gap = labels.severity(b["distortions"]) - labels.severity(a["distortions"])
    if gap >= 2 and a["distortions"]:
        assert labels.better(a, b) is True
        assert quality_of(a) > quality_of(b)


@settings(max_examples=100, deadline=None)
@given(a=variants)
def test_a_pristine_picture_beats_every_distorted_one(a):
    pristine = {"distortions": [], "metrics": dict(measures.BEST), "resaved": None}
    assert quality_of(pristine) == 1.0
    assert labels.better(pristine, a) is (True if a["distortions"] else None)


def test_undecided_cases():
    blur, noise = variant("blur_lens", 3, 3.0), variant("noise_speckle", 3, 3.1)
    assert labels.better(blur, noise) is None  # no metric sees a difference worth a vote
    worse = variant("noise_speckle", 3, 4.0)
    assert labels.better(blur, worse) is True
    split = variant("noise_speckle", 3, 4.0)
    for name in ("ssim", "psnr"):  # two of six see the opposite
        split["metrics"][name] = labels.ANCHORS[name][2]
    assert labels.better(blur, split) is None
    one_off = variant("noise_speckle", 3, 4.0)
    one_off["metrics"]["psnr"] = labels.ANCHORS["psnr"][2]
    assert labels.better(blur, one_off) is True  # five of six agree


def test_metrics_may_not_contradict_the_quality():
    mild_but_seen, strong_but_unseen = variant("blur_lens", 2, 4.0), variant("noise_speckle", 3, 1.0)
    assert quality_of(mild_but_seen) > quality_of(strong_but_unseen)
    assert labels.better(mild_but_seen, strong_but_unseen) is None


def test_a_resaved_pristine_picture_may_lose_its_lead_over_an_invisible_distortion():
    resaved, invisible = variant(None, seen=1.0, resaved="jpeg 88"), variant("blur_gaussian", 1, 0.2)
    assert labels.better(resaved, invisible) is None
    assert labels.better(resaved, variant("blur_gaussian", 1, 1.5)) is True
    assert labels.better(resaved, variant(None)) is None


def test_quality_moves_with_the_metrics_but_less_than_half_a_step():
    plain, good, bad = (quality_of(variant("pixelate", 3, seen)) for seen in (3.0, 0.0, 5.0))
    assert plain == pytest.approx(1 - 3 * labels.STEP)
    assert good - plain == pytest.approx(labels.MAX_MOVE * labels.STEP, abs=1e-3)
    assert plain - labels.STEP / 2 < bad < plain


# ---- measures


def test_metrics_of_identical_pictures_are_the_best_and_fall_with_severity():
    picture = photo(1, 224, 260)
    assert measures.metrics(picture, picture.copy()) == measures.BEST
    rng = np.random.default_rng(0)
    seen = []
    for severity in (1, 3, 5):
        values = measures.metrics(distortions.apply("noise_gaussian_RGB", picture, severity, rng), picture)
        seen.append(labels.seen_severity(values))
    for name in measures.METRICS:
        assert 0 < seen[0][name] < seen[1][name] <= seen[2][name]
    with pytest.raises(ValueError, match="one size"):
        measures.metrics(picture, picture[1:])


@pytest.mark.parametrize("index", range(9))
def test_where_names_the_cell_of_a_local_error(index):
    picture = photo(2, 240, 300)
    row, column = divmod(index, 3)
    spoiled = picture.copy()
    spoiled[row * 80 + 10 : row * 80 + 70, column * 100 + 10 : column * 100 + 90] ^= 64
    assert measures.where(spoiled, picture)["region"] == measures.REGIONS[index]


def test_where_is_everywhere_for_even_and_for_faint_errors():
    picture = photo(3, 240, 300)
    even = {"region": "everywhere", "tone": None, "texture": None}
    assert measures.where(np.clip(picture, 40, 215) + 20, np.clip(picture, 40, 215)) == even
    faint = picture.copy()
    faint[:5, :5] ^= 255
    assert measures.where(faint, picture) == even


def test_where_names_tone_and_texture():
    picture = np.full((240, 300, 3), 30, np.uint8)
    picture[:, 150:] = 220
    dark = picture.copy()
    dark[:, :150] += 40
    assert measures.where(dark, picture)["tone"] == "dark areas"
    bright = picture.copy()
    bright[:, 150:] -= 60
    assert measures.where(bright, picture)["tone"] == "bright areas"

    rng = np.random.default_rng(0)
    mixed = np.full((240, 300, 3), 128, np.uint8)
    mixed[:, :150] = rng.integers(100, 156, (240, 150, 1))
    for name, half in (("textured areas", slice(0, 150)), ("smooth areas", slice(150, 300))):
        spoiled = mixed.copy()
        spoiled[:, half] += 30
        assert measures.where(spoiled, mixed)["texture"] == name
    blocks = photo(4, 240, 300)
    blocks = np.repeat(np.repeat(blocks[::40, ::40], 40, 0), 40, 1)[:240, :300]
    blurred = distortions.apply("blur_gaussian", blocks, 2, rng)
    assert measures.where(blurred, blocks)["texture"] == "edges"


def test_texture_masks_share_the_picture_without_overlap():
    masks = measures.texture_masks(photo(5))
    assert (np.sum(masks, axis=0) == 1).all()
    assert (np.sum(measures.tone_masks(photo(5)), axis=0) == 1).all()


# ---- one scene


@pytest.mark.slow
def test_a_scene_is_determined_by_its_generator():
    picture = photo(6)
    first, again, other = (make_scene(picture, np.random.default_rng([7, i])) for i in (1, 1, 2))
    assert np.array_equal(first.reference, again.reference)
    for v, w in zip(first.variants, again.variants, strict=True):
        assert np.array_equal(v.rgb, w.rgb)
        assert (v.distortions, v.resaved, v.metrics, v.where, v.quality) == (
            w.distortions,
            w.resaved,
            w.metrics,
            w.where,
            w.quality,
        )
    assert first.variants[0].distortions != other.variants[0].distortions or not np.array_equal(
        first.reference, other.reference
    )


@pytest.mark.slow
def test_variants_of_a_scene_are_as_promised(cheap_metrics):
    kinds, resaved, shorts, number = Counter(), Counter(), [], 0
    for index in range(80):
        picture = photo(index % 5, 320, 360)
        scene = make_scene(picture, np.random.default_rng([3, index]))
        height, width = scene.reference.shape[:2]
        shorts.append(min(height, width))
        assert 224 <= min(height, width) <= 448 and max(height, width) <= 2.2 * min(height, width) + 1
        assert height <= 320 and width <= 360
        seen = [tuple((d["name"], d["severity"]) for d in v.distortions) for v in scene.variants]
        assert len(set(seen)) == len(seen) == 6
        for v, steps in zip(scene.variants, seen, strict=True):
            number += 1
            kinds[len(steps)] += 1
            resaved[v.resaved.split()[0] if v.resaved else None] += 1
            assert all(d["category"] == distortions.CATEGORY[d["name"]] for d in v.distortions)
            if len(steps) == 2:
                assert tuple(d["category"] for d in v.distortions) in distortions.ALLOWED_PAIRS
                assert max(s for _, s in steps) <= 3
            if v.resaved and v.resaved.startswith("resize"):
                assert v.rgb.shape[0] == round(height * float(v.resaved.split()[1]))
            else:
                assert v.rgb.shape == scene.reference.shape
            if not steps and not v.resaved:
                assert np.array_equal(v.rgb, scene.reference) and v.quality == 1
            elif steps and not v.resaved:
                assert not np.array_equal(v.rgb, scene.reference)
    assert kinds[0] / number == pytest.approx(0.08, abs=0.04)
    assert kinds[2] / number == pytest.approx(0.20, abs=0.06)
    assert resaved["jpeg"] / number == pytest.approx(0.25 * 2 / 3, abs=0.06)
    assert resaved["resize"] / number == pytest.approx(0.25 / 3, abs=0.05)
    assert np.mean(np.array(shorts) == 224) == pytest.approx(0.65, abs=0.17)


def test_shares_can_be_set(cheap_metrics):
    options = SceneOptions(
        variants=4, pristine=0, single=0, double=1, ladder=0, resaved=1, resaved_jpeg=0, fixed_short=1
    )
    scene = make_scene(photo(1), np.random.default_rng(0), options)
    assert [len(v.distortions) for v in scene.variants] == [2] * 4
    assert all(v.resaved.startswith("resize") for v in scene.variants)
    ladder = SceneOptions(pristine=0, single=0, double=0, ladder=1, variants=4)
    scene = make_scene(photo(1), np.random.default_rng(0), ladder)
    assert len({v.distortions[0]["name"] for v in scene.variants}) == 1
    assert len({v.distortions[0]["severity"] for v in scene.variants}) == 4


def test_pristine_copies_share_everything_but_the_distortion(cheap_metrics):
    options = SceneOptions(variants=1, pristine=1, single=0, double=0, ladder=0, resaved=0)
    scene = make_scene(photo(1), np.random.default_rng(0), options)
    assert np.array_equal(scene.variants[0].rgb, scene.reference)
    assert scene.variants[0].metrics == measures.BEST
    resaved = make_scene(photo(1), np.random.default_rng(0), replace(options, resaved=1, resaved_jpeg=1))
    assert not np.array_equal(resaved.variants[0].rgb, resaved.reference)
    for made in (scene, resaved):
        assert made.variants[0].quality == 1
        assert made.variants[0].where == {"region": "everywhere", "tone": None, "texture": None}


def test_a_recipe_mapping_makes_options_and_wrong_ones_are_refused():
    options = SceneOptions(**{"crop_area": [0.5, 0.9], "filters": {"box": 0.5, "lanczos": 0.5}})
    assert options == SceneOptions(crop_area=(0.5, 0.9), filters=(("box", 0.5), ("lanczos", 0.5)))
    for wrong in (
        {"single": 0.9}, {"variants": 0}, {"variants": 20}, {"resaved": 1.5},
        {"jpeg_quality": [97, 88]}, {"short": 100}, {"filters": {"nearest": 1}},
        {"max_aspect": 1.1}, {"crop_area": [0, 1]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SceneOptions(**wrong)


def test_unusable_pictures_are_named():
    with pytest.raises(SceneError, match="200 x 300 px is too small"):
        make_scene(np.zeros((300, 200, 3), np.uint8), np.random.default_rng(0))
    options = SceneOptions(pristine=0, single=1, double=0, ladder=0, min_change=200)
    with pytest.raises(SceneError, match="too little contrast"):
        make_scene(np.full((240, 240, 3), 127, np.uint8), np.random.default_rng(0), options)


def test_a_distortion_that_changes_nothing_is_drawn_again():
    grey = np.repeat(photo(1, 240, 240)[..., :1], 3, axis=2)
    rng = np.random.default_rng(0)
    assert synthesis.distort(grey, (("saturate_weaken_YCrCb", 5),), rng, 1.5) is None
    assert synthesis.distort(grey, (("blur_lens", 4), ("saturate_weaken_YCrCb", 3)), rng, 1.5) is None
    assert synthesis.distort(grey, (("blur_lens", 4),), rng, 1.5) is not None


# ---- the build

FAST = SceneOptions(variants=2, fixed_short=1.0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "train").mkdir()
    for index in range(4):
        Image.fromarray(photo(index, 240, 280)).save(folder / "train" / f"source_{index}.png")
    return folder


@pytest.fixture(scope="module")
def built(pictures, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built")
    calls = []
    report = build_scenes(pictures, out, 7, 11, progress=lambda *n: calls.append(n), options=FAST, shard_scenes=3)
    assert (report.scenes, report.made, report.skipped) == (7, 7, {})
    assert calls == [(0, 7), (3, 7), (6, 7), (7, 7)]
    return out


@pytest.mark.slow
def test_scenes_follow_the_contract(built):
    scenes = list(read_scenes(built))
    assert [s["scene"] for s in scenes] == list(range(7))
    for scene in scenes:
        assert scene["split"] == "train" and scene["source"].startswith("source_")
        with Image.open(built / scene["reference"]) as reference:
            assert reference.format == "PNG" and reference.size == (scene["width"], scene["height"])
        for v in scene["variants"]:
            assert set(v) == {"image", "distortions", "resaved", "metrics", "where", "quality"}
            assert set(v["metrics"]) == set(measures.METRICS) and set(v["where"]) == {"region", "tone", "texture"}
            assert v["quality"] == labels.quality(v["distortions"], v["metrics"])
            with Image.open(built / v["image"]) as picture:
                picture.load()
    assert scenes[3]["reference"] == "images/00/000003_ref.png"


@pytest.mark.slow
def test_the_build_depends_neither_on_workers_nor_on_shards_before_it(built, pictures, tmp_path):
    build_scenes(pictures / "train", tmp_path, 4, 11, options=FAST, shard_scenes=3)
    report = build_scenes(pictures, tmp_path, 7, 11, workers=2, options=FAST, shard_scenes=3)
    assert report.made == 4  # shard 1 had one of its three scenes
    assert contents(tmp_path) == contents(built)


def test_a_finished_build_is_left_alone(built, pictures):
    before = {f: f.stat().st_mtime_ns for f in built.rglob("*.*")}
    assert build_scenes(pictures, built, 7, 11, options=FAST, shard_scenes=3).made == 0
    assert {f: f.stat().st_mtime_ns for f in built.rglob("*.*")} == before


@pytest.mark.slow
def test_a_killed_build_goes_on_without_loss(built, pictures, tmp_path):
    code = (
        "from training.dataset.building.scenes import *\nimport sys\n"
        "options = SceneOptions(variants=2, fixed_short=1.0)\n"
        "build_scenes(sys.argv[1], sys.argv[2], 7, 11, options=options, shard_scenes=3)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(pictures), str(tmp_path)], cwd=ROOT)
    deadline = time.monotonic() + 120
    while (
        not (tmp_path / "images/00/000004_ref.png").exists() and process.poll() is None and time.monotonic() < deadline
    ):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    shards = {f.name: f.stat().st_mtime_ns for f in tmp_path.glob("scenes-*.jsonl")}
    assert list(shards) == ["scenes-00000.jsonl"]
    assert build_scenes(pictures, tmp_path, 7, 11, options=FAST, shard_scenes=3).made == 4
    assert (tmp_path / "scenes-00000.jsonl").stat().st_mtime_ns == shards["scenes-00000.jsonl"]
    assert contents(tmp_path) == contents(built)


@pytest.mark.slow
def test_an_exception_in_progress_stops_the_build_between_shards(pictures, tmp_path):
    def cancel(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_scenes(pictures, tmp_path, 4, 1, progress=cancel, options=FAST, shard_scenes=2)
    assert len(list(read_scenes(tmp_path))) == 2


@pytest.mark.slow
def test_corrupt_and_small_sources_are_skipped_and_named(pictures, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    whole = (pictures / "train" / "source_0.png").read_bytes()
    (folder / "whole.png").write_bytes(whole)
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(photo(1, 120, 500)).save(folder / "small.jpg")
    report = build_scenes(folder, tmp_path / "out", 6, 1, options=FAST, shard_scenes=3)
    assert set(report.skipped) == {"cut.png", "small.jpg"}
    assert "cut.png" in report.skipped["cut.png"] and "too small" in report.skipped["small.jpg"]
    assert {s["source"] for s in read_scenes(tmp_path / "out")} == {"whole.png"}
    assert build_scenes(folder, tmp_path / "out", 6, 1, options=FAST, shard_scenes=3).skipped == report.skipped

    (folder / "whole.png").unlink()
    with pytest.raises(SceneError, match="none of the images"):
        build_scenes(folder, tmp_path / "other", 1, 1, options=FAST)


def test_wrong_folders_are_refused(built, pictures, tmp_path):
    with pytest.raises(SceneError, match="no images"):
        build_scenes(tmp_path, tmp_path / "out", 1, 1)
    with pytest.raises(SceneError, match="no scenes"):
        list(read_scenes(tmp_path))
    with pytest.raises(BuildError, match="began with other seed"):
        build_scenes(pictures, built, 7, 12, options=FAST, shard_scenes=3)
    with pytest.raises(BuildError, match="began with other options"):
        build_scenes(pictures, built, 7, 11, options=replace(FAST, variants=3), shard_scenes=3)


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "scenes-00000.jsonl").write_text(json.dumps({"scene": 0}) + "\n{broken\n")
    scenes = read_scenes(tmp_path)
    assert next(scenes) == {"scene": 0}
    with pytest.raises(SceneError, match=r"scenes-00000\.jsonl, line 2"):
        next(scenes)
