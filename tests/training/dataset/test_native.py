"""Scenes at native resolution: looks, regions, deliveries, true labels, the build, and the records made of it."""

import argparse
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from depictqa_core import tasks
from depictqa_core.images.image import as_image
from tests.trees import contents
from training import distortions, drawn, faults
from training.dataset.building import command, looks, measures, native, visibility
from training.dataset.building.delivery import QUALITIES, Delivery, draw_delivery
from training.dataset.building.native_options import NativeOptions
from training.dataset.building.regions import AREA, BORDER, PLACES, draw_region, place_of
from training.dataset.building.scenes import SceneError, SceneOptions, build_scenes, read_scenes
from training.dataset.records import descriptions, labels
from training.dataset.records import question_templates as questions
from training.dataset.records.format import Mix
from training.dataset.records.scene_records import ALIKE, FAULT_PARTS, parts_of, write_records
from training.dataset.records.variant_pairs import SceneVariant

SMALL = ((256, 300, 1.0),)


def landscape(height: int = 320, width: int = 400, seed: int = 3) -> np.ndarray:
    return drawn.draw("painting", height, width, np.random.default_rng(seed))


# ---- looks


@pytest.mark.slow
@pytest.mark.parametrize("name", looks.LOOKS)
def test_look(name):
    image = landscape()
    first, again = (looks.apply(name, image, np.random.default_rng(2)) for _ in "12")
    assert first.shape == image.shape and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, image)
    if name in looks.GREY:
        assert np.ptp(first, axis=2).max() == 0


def test_looks_leave_no_gaps_in_the_histogram():
    ramp = np.repeat(np.linspace(0, 255, 512).astype(np.uint8)[None, :, None], 3, axis=2).repeat(300, axis=0)
    for name in ("film", "pastel", "high key", "toned"):
        values = looks.apply(name, ramp, np.random.default_rng(1))[..., 0]
        counts = np.bincount(values.ravel(), minlength=256)
        low, high = np.percentile(values, (5, 95)).astype(int)
        assert (counts[low:high] > 0).all(), name


def test_nothing_can_take_the_colour_of_a_grey_image():
    """A grey image has no saturation to weaken, so that distortion is never its label."""
    grey = looks.apply("greyscale", landscape(), np.random.default_rng(0))
    options = NativeOptions()
    for name in distortions.CATEGORIES["saturate_weaken"]:
        changed = distortions.apply(name, grey, 5, np.random.default_rng(0))
        assert visibility.change(changed, grey) < options.min_change


def test_slight_damage_that_could_be_the_look_is_left_out():
    assert native._confusable("cast_temperature", 2, "golden hour") and not native._confusable("cast_wash", 3, "sepia")
    assert native._confusable("contrast_weaken_scale", 1, "fog") and not native._confusable("blur_lens", 1, "fog")
    assert not native._confusable("cast_temperature", 1, None)
    assert {look for names in looks.EXCLUDED_FAULTS.values() for look in names} | set(looks.EXCLUDED) <= set(
        looks.LOOKS
    )
    assert set(looks.EXCLUDED_FAULTS) <= set(tasks.FAULTS)


# ---- regions


@pytest.mark.slow
def test_regions_are_what_they_say():
    image, kinds = landscape(), set()
    for seed in range(60):
        region = draw_region(image, np.random.default_rng(seed))
        again = draw_region(image, np.random.default_rng(seed))
        assert np.array_equal(region.mask, again.mask)
        assert region.mask.shape == image.shape[:2] and 0 <= region.mask.min() and region.mask.max() <= 1
        assert AREA[0] <= region.area <= AREA[1] and math.isclose(region.mask.mean(), region.area, abs_tol=1e-4)
        assert region.place in PLACES and (region.place == BORDER) == (region.kind == "border")
        done = region.blend(255 - image, image)
        assert np.array_equal(done[region.mask == 0], image[region.mask == 0])
        assert np.array_equal(done[region.mask == 1], 255 - image[region.mask == 1])
        kinds.add(region.kind)
    assert kinds == {"rectangle", "blob", "object", "gradient", "border"}


@pytest.mark.parametrize(
    "rows, columns, place",
    [
        ((0, 30), (0, 30), "upper left"), ((0, 30), (35, 55), "top"), ((0, 30), (0, 90), "top"),
        ((35, 55), (35, 55), "center"), ((60, 90), (60, 90), "lower right"), ((0, 90), (0, 45), "left"),
        ((0, 90), (0, 90), "part"), ((35, 55), (0, 90), "part"), ((62, 88), (5, 85), "bottom"),
    ],
)  # fmt: skip
def test_places(rows, columns, place):
    mask = np.zeros((90, 90), np.float32)
    mask[slice(*rows), slice(*columns)] = 1
    assert place_of(mask) == place


# ---- delivery


def test_deliveries():
    image, rng = landscape(), np.random.default_rng(6)
    formats = {"jpeg": 1, "webp": 1, "avif": 1, "png": 1}
    seen = set()
    for _ in range(24):
        delivery = draw_delivery(rng, formats, 0.5, (0.6, 0.9))
        rgb, file = delivery.encode(delivery.scale(image))
        assert rgb.shape == delivery.scale(image).shape and (file is None) == (delivery.format is None)
        if file:
            low, high = QUALITIES[delivery.format]
            assert low <= delivery.quality <= high and delivery.words.endswith(f"{delivery.format} {delivery.quality}")
        seen.add(delivery.format)
    assert seen == {"jpeg", "webp", "avif", None}
    assert Delivery().words is None and Delivery().scale(image) is image


# ---- severities


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blur_gaussian", "noise_gaussian_RGB", "compression_jpeg", "pixelate"])
def test_severity_is_measured_again_after_scaling(name):
    """Scaled down by a half, a damage of single pixels is weaker; not scaled, it is what it was."""
    image = landscape(600, 800)
    rng = np.random.default_rng(0)
    for severity in (2, 4) if name != "pixelate" else (1, 5):  # its cells do not grow evenly
        done = distortions.apply(name, image, severity, np.random.default_rng(1))
        assert visibility.visible_severity(name, severity, done, image, None, rng) == severity
    half = Delivery(factor=0.5)
    done = distortions.apply(name, image, 5, np.random.default_rng(1))
    assert visibility.visible_severity(name, 5, half.scale(done), half.scale(image), None, rng) < 5


def test_a_second_damage_does_not_raise_the_severity_of_the_first():
    """What differs from the reference after scaling may come from a fault that the image has as well."""
    image, half = landscape(600, 800), Delivery(factor=0.5)
    done = distortions.apply("noise_gaussian_RGB", image, 3, np.random.default_rng(1))
    both = half.scale(255 - done)
    found = visibility.visible_severity(
        "noise_gaussian_RGB", 3, both, half.scale(image), None, np.random.default_rng(0)
    )
    assert found == 3


def test_tones_keep_their_severity_when_scaled():
    image, half = landscape(600, 800), Delivery(factor=0.5)
    done = distortions.apply("brightness_darken_shfit_RGB", image, 3, np.random.default_rng(1))
    args = (half.scale(done), half.scale(image), None, np.random.default_rng(0))
    assert visibility.visible_severity("brightness_darken_shfit_RGB", 3, *args) == 3


def test_severity_of_a_part_and_of_the_whole():
    whole = {"name": "blur_lens", "severity": 4}
    part = {**whole, "area": 0.125}
    assert labels.severity([whole]) == 4 and math.isclose(labels.severity([part]), 2)
    best = dict(measures.BEST)
    small, large = ({"distortions": [{**whole, "area": a}], "metrics": best} for a in (0.1, 0.5))
    clean = {"distortions": [], "metrics": best, "faults": []}
    assert labels.better(small, large) is True and labels.better(large, small) is False
    assert labels.better(clean, small) is True


def test_faults_in_the_order_of_quality():
    best = dict(measures.BEST)

    def with_faults(*found) -> dict:
        items = [{"name": n, "fault": faults.REGISTRY[n].fault, "severity": s} for n, s in found]
        return {"distortions": [], "metrics": best, "faults": items}

    clean, border = with_faults(), with_faults(("overlay_border", 5))
    seams, failed = with_faults(("seams_tile_tones", 3)), with_faults(("failed_color", 5))
    both = with_faults(("seams_tile_tones", 3), ("ghosting_copy", 2))
    assert labels.severity([], both["faults"]) == 4
    for a, b in ((clean, border), (border, seams), (seams, failed), (clean, failed)):
        assert labels.better(a, b) is True and labels.better(b, a) is False


@pytest.mark.slow
def test_metrics_of_a_region_are_those_of_the_whole():
    image = landscape(380, 480)
    region = draw_region(image, np.random.default_rng(11))
    done = region.blend(distortions.apply("noise_gaussian_RGB", image, 4, np.random.default_rng(1)), image)
    exact, sampled = measures.metrics(done, image), visibility.sampled_metrics(done, image, region)
    for name in ("ssim", "haarpsi", "vsi"):
        assert abs(exact[name] - sampled[name]) < 0.08, name
    assert abs(exact["psnr"] - sampled["psnr"]) < 1.5
    large = landscape(700, 900)
    noisy = distortions.apply("noise_gaussian_RGB", large, 2, np.random.default_rng(1))
    exact, sampled = measures.metrics(noisy, large), visibility.sampled_metrics(noisy, large)
    assert abs(exact["psnr"] - sampled["psnr"]) < 1
    for name in ("gmsd", "haarpsi"):  # the others first average a large image down, so they depend on its size
        assert abs(exact[name] - sampled[name]) < 0.05, name


@pytest.mark.parametrize(
    "name", ["brightness_brighten_gamma_RGB", "contrast_strengthen_scale", "contrast_strengthen_stretch"]
)
def test_dither_fills_the_gaps_that_a_change_of_tones_leaves(name):
    """Levels that do not occur between others that do, in a grey ramp with noise; the image stays what it was."""
    image = np.clip(
        np.linspace(20, 235, 400)[None, :, None] + np.random.default_rng(0).normal(0, 2, (300, 400, 3)), 0, 255
    )
    image = image.astype(np.uint8)

    def gaps(rgb: np.ndarray) -> int:
        counts = np.bincount(rgb[..., 0].ravel(), minlength=256)
        low, high = np.flatnonzero(counts)[[0, -1]]
        return int((counts[low:high] == 0).sum())

    plain, dithered = (
        native._distorted(name, image, 3, np.random.default_rng(1), NativeOptions(dithered=share)) for share in (0, 1)
    )
    assert np.array_equal(plain, distortions.apply(name, image, 3, np.random.default_rng(1)))
    assert gaps(plain) > 10 and gaps(dithered) < gaps(plain) / 3
    assert abs(plain.astype(float).mean() - dithered.mean()) < 0.1


# ---- options


def test_options_are_checked():
    for wrong in (
        {"single": 0.9}, {"pristine": 1.5}, {"variants": 0}, {"sizes": ((100, 200, 1.0),)},
        {"sizes": ((256, 300, 0.5),)}, {"factors": (0.9, 0.5)},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            NativeOptions(**wrong)
    assert NativeOptions(sizes=[[256, 300, 1.0]]).sizes == SMALL


def test_a_small_source_is_refused():
    with pytest.raises(SceneError, match="too small"):
        native.photograph_scene(landscape(200, 300), np.random.default_rng(0), NativeOptions())


# ---- build and records


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("native")
    for seed in range(3):
        (root / "pictures").mkdir(exist_ok=True)
        Image.fromarray(landscape(420, 520, seed)).save(root / "pictures" / f"{seed}.png")
    options = NativeOptions(sizes=SMALL, pristine=0.25, local=0.36, fault=0.4, single=0.12, double=0.06, ladder=0.06)
    build_scenes(root / "pictures", root / "data", 8, seed=4, options=options, shard_scenes=4)
    counts = write_records(root / "data", seed=4, mix=Mix(exclude=()))
    return root, options, counts


@pytest.mark.slow
def test_build_is_the_same_again_and_after_a_stop(built, tmp_path):
    root, options, _ = built
    again = tmp_path / "again"
    build_scenes(root / "pictures", again, 4, seed=4, options=options, shard_scenes=4)
    build_scenes(root / "pictures", again, 8, seed=4, options=options, shard_scenes=4)
    write_records(again, seed=4, mix=Mix(exclude=()))
    assert contents(again) == contents(root / "data")


@pytest.mark.slow
def test_what_is_saved_is_what_the_labels_say(built):
    """In the file as it is read again: clean images are clean, local damage lies in its mask, every damage is seen."""
    root, options, _ = built
    data, kinds = root / "data", set()
    for scene in read_scenes(data):
        reference = as_image(data / scene["reference"], "reference").rgb
        assert reference.shape[:2] == (scene["height"], scene["width"])
        for variant in scene["variants"]:
            rgb = as_image(data / variant["image"], "variant").rgb
            clean = np.asarray(Image.fromarray(reference).resize(rgb.shape[1::-1], Image.Resampling.LANCZOS))
            if not variant["distortions"] and not variant["faults"]:
                assert variant["quality"] == 1
                if variant["resaved"] is None:
                    assert np.array_equal(rgb, reference)
                kinds.add("clean")
                continue
            assert variant["quality"] < 1
            assert visibility.change(rgb, clean, share=0.002) >= 2
            region = variant.get("region")
            if region:
                mask = np.asarray(Image.open(data / region["mask"])) / 255
                assert mask.shape == rgb.shape[:2] and abs(mask.mean() - region["area"]) < 0.01
                assert variant["distortions"][0]["area"] == region["area"]
                if region["kind"] != "border":
                    assert place_of(mask) == region["place"]
                if variant["resaved"] is None:
                    assert np.array_equal(rgb[mask == 0], reference[mask == 0])
                    assert not np.array_equal(rgb, reference)
                kinds.add("local")
            kinds |= {"fault"} if variant["faults"] else set()
    assert kinds == {"clean", "local", "fault"}


@pytest.mark.slow
def test_records_of_faults(built):
    root, _, counts = built
    data = root / "data"
    assert set(FAULT_PARTS) <= set(parts_of(data)) and {f"{part}.json" for part in FAULT_PARTS} <= set(counts)
    scenes = {v["image"]: v for scene in read_scenes(data) for v in scene["variants"]}
    answers = {"Yes": 0, "No": 0}
    for record in json.loads((data / "records" / "faults_nr.json").read_text()):
        question, answer = (turn["value"] for turn in record["conversations"])
        assert tasks.task_of(question, pair=False) is tasks.FAULT
        present = {found["fault"] for found in scenes[record["image_A"]]["faults"]}
        assert set(record["faults"]) == present
        expected = bool(present) if record["fault"] is None else record["fault"] in present
        assert answer == tasks.FAULT_ANSWERS[0 if expected else 1]
        answers[answer] += 1
    assert min(answers.values()) > 5


@pytest.mark.slow
def test_test_form_asks_every_fault_whose_answer_is_known(built, tmp_path):
    root, _, _ = built
    write_records(root / "data", tmp_path, seed=4, form="test", parts=("faults_nr", "identification_nr"))
    records = json.loads((tmp_path / "faults_nr_single.json").read_text())
    asked: dict[str, set] = {}
    for record in records:
        asked.setdefault(record["image_A"], set()).add(record["fault"])
    clean = {v["image"] for s in read_scenes(root / "data") for v in s["variants"] if v["quality"] == 1}
    assert clean and all(asked[image] == {None, *tasks.FAULTS} for image in clean)
    named = json.loads((tmp_path / "identification_nr_single.json").read_text())
    known = {v["image"]: v for s in read_scenes(root / "data") for v in s["variants"]}
    for record in named:
        shown = SceneVariant(0, "", "", known[record["image_A"]])
        assert tasks.parse_labels(record["answer"]) == shown.labels


def test_what_looks_alike_is_known_by_name():
    known = {*tasks.FAULTS, *tasks.DISTORTIONS}
    assert set(ALIKE) == known and all(set(names) <= set(tasks.FAULTS) for names in ALIKE.values())


def test_overlays_are_no_distortion_and_failed_frames_have_no_label():
    def shown(name: str) -> SceneVariant:
        found = {"name": name, "fault": faults.REGISTRY[name].fault, "severity": 3}
        return SceneVariant(0, "", "", {"distortions": [], "faults": [found]})

    assert shown("overlay_border").labels == () and shown("failed_color").labels is None
    assert shown("latent_blotches").labels == ("noise",) and shown("grid_lines").faults == ("grid pattern",)


def test_templates_of_fault_questions():
    assert questions.FAULT[0].format("seams") == tasks.fault_question("seams")
    for template in (*(t.format(f) for t in questions.FAULT for f in tasks.FAULTS), *questions.ANY_FAULT):
        assert tasks.task_of(tasks.FAULT.ask(template), pair=False) is tasks.FAULT


# ---- descriptions


def local_variant(place: str, area: float) -> dict:
    blur = {"category": "blur", "name": "blur_lens", "severity": 4, "area": area}
    where = {"region": "everywhere", "tone": None, "texture": None}
    region = {"kind": "blob", "area": area, "place": place}
    return {"distortions": [blur], "where": where, "quality": 0.6, "faults": [], "region": region}


@pytest.mark.parametrize("place", PLACES)
def test_description_says_where_and_how_much(place):
    for seed in range(12):
        text = descriptions.assessment(local_variant(place, 0.1), np.random.default_rng(seed), False)
        assert text.startswith("Blur") and "a tenth of the image" in text
        assert descriptions._PLACES[place] in text.lower()
        others = {name for name in descriptions._PLACES.values() if name not in descriptions._PLACES[place]}
        assert not any(f" {name}," in text or f" {name} " in text for name in others - {"the left", "the top"})


@pytest.mark.parametrize("fault", [f for f in tasks.FAULTS if f != "failed frame"])
def test_description_names_every_fault(fault):
    for name in faults.BY_FAULT[fault]:
        found = [{"name": name, "fault": fault, "severity": 3}]
        variant = {"distortions": [], "faults": found, "quality": labels.quality([], {}, found), "where": None}
        text = descriptions.assessment(variant, np.random.default_rng(1), True)
        label = faults.REGISTRY[name].label
        assert fault in text.lower() and text.startswith(tasks.answer_text(() if label == tasks.NONE else (label,)))
        assert descriptions.named(text) <= {label}
        clean = {"distortions": [], "faults": [], "quality": 1.0, "where": None}
        compared = descriptions.comparison(clean, variant, True, np.random.default_rng(2), False)
        assert fault in compared and descriptions.winner(compared) == "A"


@pytest.mark.slow
def test_held_out_scenes_use_held_out_kinds():
    options = replace(NativeOptions(sizes=SMALL, held_out=True, fault=0.66, local=0, single=0.2, double=0, ladder=0.14))
    for seed in range(3):
        scene = native.drawn_scene(np.random.default_rng(seed), options)
        assert scene.kind in drawn.VALIDATION_KINDS
        assert all(found["name"] in faults.HELD_OUT for v in scene.variants for found in v.faults)


# ---- command line


def parsed(*arguments: str):
    parser = argparse.ArgumentParser()
    command.add_build(parser)
    return command._scene_options(parser.parse_args(["pictures", "out", "--scenes", "1", *arguments]))


def test_options_of_the_command():
    assert parsed() == SceneOptions() and parsed("--resaved", "0.5") == SceneOptions(resaved=0.5)
    assert parsed("--native") == NativeOptions() and parsed("--held-out") == NativeOptions(held_out=True)
    found = parsed("--local", "0.5", "--faults", "0.1", "--short", "256-300:0.4,512-640:0.6", "--drawn", "0")
    assert (found.local, found.fault, found.drawn) == (0.5, 0.1, 0) and found.sizes == (
        (256, 300, 0.4),
        (512, 640, 0.6),
    )
    assert math.isclose(found.single / found.double, NativeOptions().single / NativeOptions().double)


@pytest.mark.parametrize(
    "wrong", [("--short", "256:1"), ("--native", "--resaved", "0.5"), ("--local", "0.9", "--faults", "0.5")]
)
def test_wrong_options_of_the_command(wrong):
    with pytest.raises(ValueError, match="--"):
        parsed(*wrong)


@pytest.mark.slow
def test_scenes_of_the_published_task_are_mixed_in(tmp_path):
    """They are made as without --native, with the facts that records of native scenes need."""
    Image.fromarray(landscape()).save(tmp_path / "a.png")
    options = NativeOptions(published=1.0, drawn=0.0, sizes=SMALL)
    build_scenes(tmp_path, tmp_path / "out", 2, 5, options=options)
    scenes = list(read_scenes(tmp_path / "out"))
    variants = [variant for scene in scenes for variant in scene["variants"]]
    assert all(variant["faults"] == [] for variant in variants) and parts_of(tmp_path / "out")[-1] in FAULT_PARTS
    assert [sum(not v["distortions"] for v in scene["variants"]) for scene in scenes] == [1, 1]
    assert all(min(scene["height"], scene["width"]) >= 224 for scene in scenes)


def test_common_looks_come_more_often():
    drawn_looks = [looks.draw(("greyscale", "fog"), np.random.default_rng(i)) for i in range(400)]
    assert 0.7 < drawn_looks.count("greyscale") / 400 < 0.9


def test_looks_may_be_drawn_from_some_names_only():
    options = NativeOptions(looks=1.0, look_names=("sepia",), variants=1, pristine=1.0)
    scenes = [native.photograph_scene(landscape(), np.random.default_rng(seed), options) for seed in range(3)]
    assert [scene.look for scene in scenes] == ["sepia"] * 3
    with pytest.raises(ValueError, match="unknown look 'seppia'"):
        NativeOptions(look_names=("seppia",))


def test_a_look_can_be_pushed_too_far():
    """In a low key, most single distortions darken or add contrast then, visibly: a limit of the look."""

    def singles(pushed):
        options = NativeOptions(
            looks=1.0, look_names=("low key",), pushed=pushed, sizes=SMALL,
            variants=4, pristine=0, single=1.0, double=0, ladder=0, local=0, fault=0,
        )  # fmt: skip
        scenes = [native.photograph_scene(landscape(), np.random.default_rng(seed), options) for seed in range(6)]
        return [variant.distortions[0] for scene in scenes for variant in scene.variants]

    found = singles(1.0)
    assert {one["category"] for one in found} == set(looks.EXCLUDED["low key"])
    assert {one["severity"] for one in found} == {3, 4, 5}
    assert len({one["category"] for one in singles(0.0)}) > 6
