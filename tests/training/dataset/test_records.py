"""Question templates and record files: counts, forms, published fields, parsing back, filters, determinism."""

import json
import re
from collections import Counter
from itertools import chain

import numpy as np
import pytest

from depictqa_core import tasks
from training import distortions
from training.dataset.building.scenes import SceneError
from training.dataset.records import labels
from training.dataset.records import question_templates as questions
from training.dataset.records.descriptions import named, winner
from training.dataset.records.format import PUBLISHED_EXCLUDE, SUBTLE, Mix
from training.dataset.records.scene_records import PARTS, level_for, write_records

IMAGES = ["image_ref", "image_A", "image_B"]
SINGLE_TRUTH = {"distortion_class", "distortion_name", "severity"}
DOUBLE_TRUTH = {"distortion_classes", "distortion_names", "severities"}


# ---- templates


def all_identification():
    return dict.fromkeys(questions.IDENTIFICATION_FR + questions.IDENTIFICATION_NR)


def test_template_counts():
    fr, nr = questions.IDENTIFICATION_FR, questions.IDENTIFICATION_NR
    assert (len(fr), len(nr)) == (25, 24)
    assert sum("reference" in template.asked.pattern for template in fr) == 11
    assert len(set(fr) & set(nr)) == 14
    counts = [len(x) for x in (questions.ASSESSMENT, questions.RATING, questions.COMPARISON, questions.SCORE)]
    assert counts == [20, 20, 20, 12]
    assert not any("reference" in template.asked.pattern.lower() for template in nr)
    shared = chain(questions.ASSESSMENT, (r.question for r in questions.RATING), questions.COMPARISON, questions.SCORE)
    assert not any("reference" in question.lower() for question in shared)


def test_every_question_is_unique():
    asked = [template.question(form) for template in all_identification() for form in questions.FORMS]
    asked += [*questions.ASSESSMENT, *(r.question for r in questions.RATING), *questions.COMPARISON, *questions.SCORE]
    assert len(asked) == len(set(map(str.lower, asked))) == 35 * 3 + 72
    frames = [template.frame for template in questions.RATING]
    assert len(set(frames)) == 20


def test_default_questions_are_templates():
    for templates in (questions.IDENTIFICATION_FR, questions.IDENTIFICATION_NR):
        asked = {template.question(form) for template in templates for form in questions.FORMS}
        assert {tasks.IDENTIFICATION.question, tasks.ONE_ISSUE, tasks.TWO_ISSUES} <= asked
    assert tasks.ASSESSMENT.question in questions.ASSESSMENT
    assert tasks.COMPARISON.question in questions.COMPARISON
    assert tasks.SCORE.question in questions.SCORE
    assert tasks.RATING.question in {template.question for template in questions.RATING}


def test_number_forms():
    for template in all_identification():
        forms = {form: template.question(form) for form in questions.FORMS}
        assert {form: tasks.issue_count(question) for form, question in forms.items()} == {
            "open": None,
            "one": 1,
            "two": 2,
        }
        noun = template.asked.noun
        assert (f"{noun}(s)" in forms["open"]) != template.asked.plain and f"{noun}s" in forms["two"]
        assert f"{noun}s" not in forms["one"] and f"{noun}(s)" not in forms["one"]
        assert "{" not in "".join(forms.values()) and "  " not in "".join(forms.values())
    with pytest.raises(ValueError, match="number form"):
        template.question("three")


def test_tasks_are_told_apart_by_their_questions():
    for template in all_identification():
        for form in questions.FORMS:
            assert tasks.task_of(tasks.IDENTIFICATION.ask(template.question(form)), pair=False) is tasks.IDENTIFICATION
    for question in questions.SCORE:
        assert tasks.task_of(tasks.SCORE.ask(question), pair=False) is tasks.SCORE
    for question in questions.ASSESSMENT:
        assert tasks.task_of(question, pair=False) is tasks.ASSESSMENT
    for question in questions.COMPARISON:
        assert tasks.task_of(question, pair=True) is tasks.COMPARISON
    for template in questions.RATING:
        assert tasks.task_of(tasks.RATING.ask(template.question), pair=True) is tasks.RATING
        assert not tasks.is_short(template.question)


def test_answer_sentences_name_what_they_are_given():
    for template in all_identification():
        assert template.sentence(()) == questions.PRISTINE
        for given in [
            ("noise",),
            ("overly high contrast",),
            ("blur", "noise"),
            ("insufficient contrast", "color quantization"),
        ]:
            sentence = template.sentence(given)
            assert named(sentence) == set(given) and len(sentence.split()) <= 19
            assert sentence[0].isupper() and sentence.endswith(".") and "reference" not in sentence
            assert [sentence.lower().index(name) for name in given] == sorted(
                sentence.lower().index(name) for name in given
            )
    assert "quite good without any distortion" in questions.PRISTINE
    for template, best in ((t, w) for t in questions.RATING for w in tasks.WINNERS):
        assert (
            re.findall("Image [AB]", template.sentence(best)) == [best] and len(template.sentence(best).split()) <= 19
        )


# ---- records


def make_scenes(root, count=60, seed=0, sources=20):
    rng = np.random.default_rng(seed)
    lines = []
    for scene in range(count):
        variants = []
        for number in range(6):
            kind = rng.random()
            drawn = [] if kind < 0.1 else [distortions.sample_one(rng)] if kind < 0.6 else distortions.sample_two(rng)
            found = [
                {"category": distortions.CATEGORY[name], "name": name, "severity": severity} for name, severity in drawn
            ]
            step = labels.severity(found) + (rng.uniform(-0.5, 0.5) if found else 0)
            metrics = {name: float(np.interp(step, range(6), values)) for name, values in labels.ANCHORS.items()}
            variants.append(
                {
                    "image": f"images/00/{scene:06d}_{number}.png",
                    "distortions": found,
                    "resaved": None,
                    "metrics": metrics,
                    "where": {
                        "region": str(rng.choice(["everywhere", "upper left"])),
                        "tone": None,
                        "texture": "edges",
                    },
                    "quality": labels.quality(found, metrics),
                }
            )
        lines.append(
            {
                "scene": scene,
                "source": f"pack__{scene % sources}.jpg",
                "split": "train",
                "reference": f"images/00/{scene:06d}_ref.png",
                "height": 224,
                "width": 299,
                "variants": variants,
            }
        )
    root.mkdir(parents=True, exist_ok=True)
    for shard in range(0, count, 40):
        text = "".join(json.dumps(line) + "\n" for line in lines[shard : shard + 40])
        (root / f"scenes-{shard // 40:05d}.jsonl").write_text(text, encoding="utf-8")
    return {variant["image"]: (line, variant) for line in lines for variant in line["variants"]}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    truth = make_scenes(root)
    return root, truth, write_records(root, seed=3)


def load(folder, name):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def talk(record):
    human, gpt = record["conversations"]
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    return human["value"], gpt["value"]


def names_of(truth, image):
    return tuple(distortions.ANSWER[d["category"]] for d in truth[image][1]["distortions"])


def truth_fields(truth, image, double):
    found = truth[image][1]["distortions"]
    columns = [[d[key] for d in found] for key in ("category", "name", "severity")]
    names = (
        ("distortion_classes", "distortion_names", "severities")
        if double
        else ("distortion_class", "distortion_name", "severity")
    )
    if not found:
        return dict(zip(names, (None, None, 0), strict=True))
    return dict(zip(names, columns if double else [column[0] for column in columns], strict=True))


@pytest.mark.slow
def test_all_parts_are_written(built):
    root, _, counts = built
    assert {path.name for path in (root / "records").iterdir()} == set(counts) == {f"{name}.json" for name in PARTS}
    assert counts == {name: len(load(root / "records", name[:-5])) for name in counts}
    assert counts["score_fr.json"] == 3 * counts["identification_fr.json"] == 1080  # three draws of the level
    assert counts["rating_fr.json"] == counts["rating_nr.json"] == counts["rating_cross_nr.json"] > 200
    assert all(counts.values())
    ids = [record["id"] for name in PARTS for record in load(root / "records", name)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", PARTS)
def test_published_fields(built, name):
    root, truth, _ = built
    pair, reference = name.startswith(("rating", "comparison")), name.endswith("_fr")
    for record in load(root / "records", name):
        assert list(record)[:6] == ["id", "task_type", *IMAGES, "conversations"]
        task = "quality_compare" if pair else "quality_single_A"
        assert record["task_type"] == task + ("" if reference else "_noref")
        assert [field for field in IMAGES if record[field]] == list(tasks.setting(record["task_type"]).fields)
        line, _ = truth[record["image_A"]]
        assert record["image_ref"] == (line["reference"] if reference else None)
        rest = set(record) - {"id", "task_type", *IMAGES, "conversations"}
        if pair:
            assert rest == {"distortions_A", "distortions_B"} | ({"A_better_B"} if "rating" in name else set())
            for side in "AB":
                double = len(truth[record[f"image_{side}"]][1]["distortions"]) == 2
                assert record[f"distortions_{side}"] == truth_fields(truth, record[f"image_{side}"], double)
        else:
            rest -= {"quality"} if "score" in name else set()
            assert rest in (SINGLE_TRUTH, DOUBLE_TRUTH)
            assert truth_fields(truth, record["image_A"], rest == DOUBLE_TRUTH).items() <= record.items()
        question, answer = talk(record)
        assert reference or "reference" not in (question + answer).lower()


@pytest.mark.parametrize("name", ["identification_fr", "identification_nr"])
def test_identification(built, name):
    root, truth, _ = built
    templates = questions.IDENTIFICATION_FR if name.endswith("fr") else questions.IDENTIFICATION_NR
    known = {template.question(form): form for template in templates for form in questions.FORMS}
    seen = Counter()
    for record in load(root / "records", name):
        question, answer = talk(record)
        names, short = names_of(truth, record["image_A"]), question.endswith(tasks.SHORT_TAIL)
        form = known[question.removesuffix(tasks.SHORT_TAIL)]
        if short:
            assert tasks.parse_labels(answer) == names
            assert answer in tasks.identification_answers(tasks.issue_count(question))
        else:
            assert named(answer) == set(names) and (names or answer == questions.PRISTINE)
        assert form == "open" or form == ("two" if "severities" in record else "one")
        assert len(names) == 0 or ("severities" in record) == (len(names) == 2)
        seen.update([short, form, (form, names == ())])
    total = seen[True] + seen[False]
    assert 0.65 < seen[True] / total < 0.85
    assert 0.4 < seen["open"] / total < 0.6
    assert seen["one", True] and seen["two", True]


@pytest.mark.parametrize("name", ["score_fr", "score_nr"])
def test_scores(built, name):
    root, truth, _ = built
    gaps = []
    for record in load(root / "records", name):
        question, answer = talk(record)
        assert tasks.task_of(question, pair=False) is tasks.SCORE and answer in tasks.answers(tasks.SCORE, question)
        points = tasks.LEVEL_SCORES[tasks.LEVELS.index(answer.lower())] / 100
        assert record["quality"] == truth[record["image_A"]][1]["quality"] and abs(points - record["quality"]) < 0.25
        gaps.append(points - record["quality"])
    assert abs(np.mean(gaps)) < 0.03


def test_level_draw_is_unbiased():
    rng = np.random.default_rng(0)
    for quality in (0, 0.1, 0.25, 0.4, 0.77, 0.9, 1):
        points = [tasks.LEVEL_SCORES[tasks.LEVELS.index(level_for(quality, rng))] / 100 for _ in range(4000)]
        assert abs(np.mean(points) - quality) < 0.01 and len(set(points)) <= 2
    with pytest.raises(ValueError, match="quality"):
        level_for(-0.1, rng)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rating_fr", "rating_nr", "rating_cross_nr"])
def test_ratings(built, name):
    root, truth, _ = built
    known = {template.question for template in questions.RATING}
    seen, pairs = Counter(), Counter()
    for record in load(root / "records", name):
        (scene_a, a), (scene_b, b) = truth[record["image_A"]], truth[record["image_B"]]
        assert (scene_a["source"] != scene_b["source"]) if "cross" in name else (scene_a["scene"] == scene_b["scene"])
        assert labels.better(a, b) is record["A_better_B"]
        question, answer = talk(record)
        short, best = question.endswith(tasks.SHORT_TAIL), "A" if record["A_better_B"] else "B"
        assert question.removesuffix(tasks.SHORT_TAIL) in known
        assert (tasks.parse_winner(answer) == best) if short else (re.findall("Image ([AB])", answer) == [best])
        seen.update([("short", short), ("best", best)])
        pairs[frozenset((record["image_A"], record["image_B"]))] += 1
    total = sum(pairs.values())
    assert set(pairs.values()) == {1}
    assert 0.7 < seen["short", True] / total < 0.9 and 0.4 < seen["best", "A"] / total < 0.6


def test_ratings_without_a_reference_are_those_with_one(built):
    root, _, _ = built
    keep = [*IMAGES[1:], "conversations", "A_better_B"]
    assert [[r[k] for k in keep] for r in load(root / "records", "rating_fr")] == [
        [r[k] for k in keep] for r in load(root / "records", "rating_nr")
    ]


@pytest.mark.parametrize("name", ["assessment_fr", "assessment_nr", "comparison_fr", "comparison_nr"])
def test_detailed_answers(built, name):
    root, truth, _ = built
    mentions = 0
    for record in load(root / "records", name):
        question, answer = talk(record)
        assert question in (questions.ASSESSMENT if "assessment" in name else questions.COMPARISON)
        images = [record[f"image_{side}"] for side in "AB" if record[f"image_{side}"]]
        assert named(answer) == {label for image in images for label in names_of(truth, image)}
        if len(images) == 2:
            assert winner(answer) == ("A" if labels.better(*(truth[image][1] for image in images)) else "B")
        mentions += "reference" in answer
    assert bool(mentions) == name.endswith("_fr")


def subtle_share(folder, name, truth, categories=SUBTLE):
    images = [r[k] for r in load(folder, name) for k in ("image_A", "image_B") if r[k]]
    found = [
        any(d["category"] in categories and d["severity"] < 2 for d in truth[image][1]["distortions"])
        for image in images
    ]
    return sum(found)


@pytest.mark.slow
def test_filter_without_a_reference(built, tmp_path):
    root, truth, counts = built
    parts = ["identification", "assessment", "comparison"]
    for part in parts:
        assert (
            0
            < subtle_share(root / "records", f"{part}_nr", truth)
            < subtle_share(root / "records", f"{part}_fr", truth)
        )
    strict = write_records(root, tmp_path / "strict", seed=3, mix=Mix(exclude=PUBLISHED_EXCLUDE, exclude_probability=1))
    off = write_records(root, tmp_path / "off", seed=3, mix=Mix(exclude_probability=0))
    for part in parts:
        assert subtle_share(tmp_path / "strict", f"{part}_nr", truth, PUBLISHED_EXCLUDE) == 0
        assert strict[f"{part}_fr.json"] == counts[f"{part}_fr.json"]
    assert off["identification_nr.json"] == 360
    assert strict["rating_nr.json"] == strict["rating_fr.json"] == counts["rating_fr.json"]


@pytest.mark.slow
def test_test_form(built, tmp_path):
    root, truth, _ = built
    counts = write_records(root, tmp_path, seed=3, form="test")
    assert set(counts) == {f"{name}_{kind}.json" for name in PARTS for kind in ("single", "double")}
    for name in PARTS:
        for kind in ("single", "double"):
            pair = name.startswith(("rating", "comparison"))
            for record in load(tmp_path, f"{name}_{kind}"):
                assert list(record)[:6] == ["id", *IMAGES, "query", "answer"]
                assert (record["image_ref"] is None) == name.endswith("_nr")
                task = tasks.task_of(record["query"], pair)
                assert task.name == name.split("_")[0]
                assert record["query"].count(tasks.SHORT_TAIL) == task.brief
                if task.brief:
                    assert record["answer"] in tasks.answers(task, record["query"])
                if task is tasks.IDENTIFICATION:
                    assert tasks.issue_count(record["query"]) == {"single": 1, "double": 2}[kind]
                    assert tasks.parse_labels(record["answer"]) == names_of(truth, record["image_A"])
                if task is tasks.SCORE:
                    points = tasks.LEVEL_SCORES[tasks.LEVELS.index(record["answer"].lower())] / 100
                    assert abs(points - record["quality"]) <= 0.125 + 1e-9
                found = [len(truth[record[f"image_{s}"]][1]["distortions"]) for s in "AB" if record[f"image_{s}"]]
                assert (max(found) == 2) == (kind == "double") or (not pair and found == [0])


@pytest.mark.slow
def test_same_seed_same_bytes_and_parts_do_not_disturb_each_other(built, tmp_path):
    root, _, _ = built
    first = {path.name: path.read_bytes() for path in (root / "records").iterdir()}
    write_records(root, tmp_path / "again", seed=3)
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first
    write_records(root, tmp_path / "some", seed=3, parts=["assessment_nr", "rating_cross_nr"])
    assert {path.name: path.read_bytes() for path in (tmp_path / "some").iterdir()} == {
        name: first[name] for name in ("assessment_nr.json", "rating_cross_nr.json")
    }
    write_records(root, tmp_path / "other", seed=4)
    assert all((tmp_path / "other" / name).read_bytes() != text for name, text in first.items())


@pytest.mark.slow
def test_cross_pairs_stay_within_a_small_pool(tmp_path):
    truth = make_scenes(tmp_path, count=80, sources=80)
    counts = write_records(tmp_path, seed=0, mix=Mix(pool=40))
    assert counts["rating_cross_nr.json"] == counts["rating_nr.json"]
    assert all(
        truth[r["image_A"]][0]["source"] != truth[r["image_B"]][0]["source"]
        for r in load(tmp_path / "records", "rating_cross_nr")
    )


def test_one_picture_gives_no_cross_pairs(tmp_path):
    make_scenes(tmp_path, count=3, sources=1)
    assert write_records(tmp_path, seed=0)["rating_cross_nr.json"] == 0
    assert load(tmp_path / "records", "rating_cross_nr") == []


def test_errors_and_nothing_half_written(tmp_path):
    make_scenes(tmp_path, count=2)
    with pytest.raises(ValueError, match="unknown form"):
        write_records(tmp_path, form="exam")
    with pytest.raises(ValueError, match="unknown part 'rating_cross_fr'"):
        write_records(tmp_path, parts=["rating_cross_fr"])
    with pytest.raises(SceneError, match="no scenes"):
        write_records(tmp_path / "empty")
    with (tmp_path / "scenes-00000.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(SceneError, match="line 3"):
        write_records(tmp_path)
    assert list((tmp_path / "records").iterdir()) == []
