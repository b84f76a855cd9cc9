"""DQ-495K by its plan: draws, sizes, records, filter, and a build that survives kills, full disks and bad images."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PIL import Image
from trees import ROOT

from depictqa_core import tasks
from depictqa_core.errors import StorageError
from tests.trees import contents
from training import distortions
from training.__main__ import main
from training.dataset.building import measures
from training.dataset.building.build_cost import TRIAL, measure
from training.dataset.building.factory import build_samples, find_split, write_splits
from training.dataset.building.plan import Plan, PlanError, Wanted, read_plan
from training.dataset.building.samples import KINDS, Drawing, SampleMaker, draw_steps, sample_store, scaled
from training.dataset.building.shard import BuildError, Store
from training.dataset.building.synthesis import SceneError
from training.dataset.records import labels
from training.dataset.records import question_templates as questions
from training.dataset.records.descriptions import named
from training.dataset.records.format import PUBLISHED_EXCLUDE
from training.dataset.records.plan_records import write_plan_records

RECIPES = ROOT / "training" / "recipes" / "dq495k"


def photo(seed: int, height: int, width: int) -> Image.Image:
    """Coloured patches with texture: every distortion changes it."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return Image.fromarray(
        np.clip(np.asarray(coarse) * 0.7 + rng.normal(30, 25, (height, width, 3)), 0, 255).astype(np.uint8)
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number, size in enumerate([(300, 400), (224, 224), (180, 200), (448, 300), (170, 260)]):
        photo(number, *size).save(folder / f"p{number}.png")
    (folder / "cut.png").write_bytes((folder / "p0.png").read_bytes()[:5000])
    photo(9, 100, 300).save(folder / "small.png")
    photo(9, 170, 900).save(folder / "long.png")
    return folder


def fast_metrics(distorted, reference):
    """Metrics that see what was done from the mean error: enough for labels, without the cost."""
    error = float(np.abs(distorted.astype(int) - reference).mean()) / 12
    return {name: round(float(np.interp(error, range(6), values)), 6) for name, values in labels.ANCHORS.items()}


@pytest.fixture
def cheap_metrics(monkeypatch):
    monkeypatch.setattr(measures, "metrics", fast_metrics)


# ---- plans


def test_shipped_plans_have_the_published_counts():
    plan = read_plan(RECIPES / "plan.yaml")
    counts = Counter()
    for name, wanted in plan.sets.items():
        counts[KINDS[name].task] += wanted.samples
    assert counts == {"identification": 224_000, "assessment": 28_000, "comparison": 28_000}
    assert sum(one.pairs for one in plan.ratings) == 215_000
    assert sum(wanted.samples for wanted in plan.with_decided_ratings().sets.values()) == 495_000
    assert set(plan.mix.exclude) == set(PUBLISHED_EXCLUDE) and plan.mix.exclude_probability == 1
    assert (plan.mix.number_word, plan.mix.short_tail, plan.mix.rating_tail) == (0.5, 0.5, 0.5)
    assert plan.drawing == Drawing(pristine=0.05, short=224)
    test = read_plan(RECIPES / "test.yaml")
    assert test.form == "test" and test.sets["identification_double"] == Wanted(5000, None, 3000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text, said",
    [
        ("- a list", "must hold keys and values"),
        ("{name: x, seed: 1, sets: {identification_single: 3}, colour: red}", "unknown key colour"),
        ("{name: x, sets: {identification_single: 3}}", "seed is missing: a whole number"),
        ("{name: x, seed: -1, sets: {identification_single: 3}}", "seed is -1; allowed: a whole number from 0"),
        ("{name: x, seed: 1, sets: {identification_single: 0, rating_single: 0}}", "nothing would be made"),
        ("{name: x, seed: 1, sets: {identification_single: {fr: 3}}}", "samples is missing: a whole number"),
        ("{name: x, seed: 1, sets: {identification_triple: 3}}", "unknown set 'identification_triple'"),
        (
            "{name: x, seed: 1, sets: {identification_single: -3}}",
            "sets.identification_single.samples is -3; allowed: a whole number from 0",
        ),
        (
            "{name: x, seed: 1, sets: {identification_single: {samples: many}}}",
            "samples is 'many'; allowed: a whole number",
        ),
        ("{name: x, seed: one, sets: {identification_single: 3}}", "seed is 'one'; allowed: a whole number"),
        (
            "{name: x, seed: 1, drawing: {pristine: 1.5}, sets: {identification_single: 3}}",
            "drawing.pristine is 1.5; allowed: a number from 0",
        ),
        (
            "{name: x, seed: 1, drawing: {short: 100}, sets: {identification_single: 3}}",
            "drawing.short is 100; allowed: a whole number from 161",
        ),
        (
            "{name: x, seed: 1, mix: {short_tail: 2}, sets: {identification_single: 3}}",
            "mix.short_tail is 2; allowed: a number from 0 to 1",
        ),
        (
            "{name: x, seed: 1, mix: {exclude: [fog]}, sets: {identification_single: 3}}",
            "mix.exclude is ('fog',); allowed: a list of any of",
        ),
        (
            "{name: x, seed: 1, ratings: [{reader: imdb, folder: x, pairs: 3}]}",
            "reader is 'imdb'; allowed: one of bapps",
        ),
        ("{name: x, seed: 1, ratings: [{reader: bapps, pairs: 3}]}", "folder is missing: a name"),
        ("{name: x, seed: 1, sets: 3}", "sets is 3; allowed"),
        ("{name: x, seed: 1, sets: {identification_single: 1e9}}", "(text; write 1.0e+09)"),
        ("{name: x, seed: 1, sets: {identification_single: [3]}}", "samples is [3]; allowed"),
        ("{name: x, seed: 1, ratings: 3, sets: {rating_single: 3}}", "ratings is 3; allowed: a list of rating sets"),
        ("{name: x, seed: 1, ratings: [3]}", "must hold keys and values, not 3"),
        ("{name: x, seed: 1, mix: [3]}", "mix is [3]; allowed"),
        ("{name: x, seed: 1, drawing: {short: 800}, sets: {rating_single: 3}}", "short must not be above long"),
        ("[" * 9999, "nested more than 64"),
        ("{name: x, seed: 1}", "nothing would be made"),
        ("{name: x, seed: [", "is not a valid YAML file"),
    ],
)
def test_impossible_plans_are_refused_before_anything_runs(tmp_path, pictures, text, said, capsys):
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(PlanError) as caught:
        read_plan(file)
    assert said in str(caught.value) and "plan.yaml" in str(caught.value)
    assert main(["build", str(pictures), str(tmp_path / "out"), "--plan", str(file)]) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--workers", "-3"], ["--seed", "-1"], ["--workers", "many"]])
@pytest.mark.parametrize("what", [["--scenes", "3"], ["--plan", str(RECIPES / "plan.yaml")]])
def test_impossible_numbers_are_refused_before_anything_runs(tmp_path, pictures, what, option, capsys):
    with pytest.raises(SystemExit):
        main(["build", str(pictures), str(tmp_path / "out"), *what, *option])
    assert f"argument {option[0]}: '{option[1]}' is not a whole number from 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_there_are_named_by_their_argument(tmp_path, pictures, capsys):
    command = ["build", str(pictures), str(tmp_path / "out"), "--plan"]
    assert main([*command, "nope.yaml"]) == 1
    assert "the plan nope.yaml cannot be read (No such file" in capsys.readouterr().err
    assert main([*command, str(RECIPES / "plan.yaml"), "--splits", "nope.json"]) == 1
    assert "the file of --splits, nope.json, cannot be read" in capsys.readouterr().err


def test_parts_and_scale():
    plan = read_plan(RECIPES / "plan.yaml")
    assert plan.scaled(0.001).sets["identification_single"] == Wanted(112, 84, 80)
    assert plan.scaled(1e-6).sets["assessment_double"].samples == 1
    assert set(plan.only(["identification", "comparison_double"]).sets) == {
        "identification_single", "identification_double", "comparison_double",
    }  # fmt: skip
    assert [one.reader for one in plan.only(["pipal", "assessment"]).ratings] == ["pipal"]
    with pytest.raises(PlanError, match="no part 'score': choose"):
        plan.only(["score"])
    with pytest.raises(PlanError, match="no part 'rating_single'; with --decided-ratings it has"):
        plan.only(["rating_single"])
    assert set(plan.with_decided_ratings().only(["rating_single"]).sets) == {"rating_single"}


# ---- draws


def test_draws_follow_the_published_rules():
    rng = np.random.default_rng(0)
    pristine, order = Counter(), Counter()
    for _ in range(1500):
        (steps,) = draw_steps(KINDS["identification_single"], 0.05, rng)
        assert len(steps) < 2 and all(1 <= severity <= 5 for _, severity in steps)
        pristine["single", not steps] += 1
        (steps,) = draw_steps(KINDS["assessment_double"], 0.05, rng)
        assert len(steps) in (0, 2) and all(1 <= severity <= 3 for _, severity in steps)
        assert not steps or tuple(distortions.CATEGORY[name] for name, _ in steps) in distortions.ALLOWED_PAIRS
        pristine["double", not steps] += 1
        for name in ("comparison_single", "comparison_double"):
            pair = draw_steps(KINDS[name], 0.05, rng)
            a, b = ([(distortions.CATEGORY[name], severity) for name, severity in steps] for steps in pair)
            assert a != b
            order[name, tuple(map(len, pair))] += 1
    assert 0.03 < pristine["single", True] / 1500 < 0.07 and 0.03 < pristine["double", True] / 1500 < 0.07
    assert {sizes for name, sizes in order if name == "comparison_single"} == {(1, 1), (0, 1), (1, 0)}
    assert {sizes for name, sizes in order if name == "comparison_double"} == {(2, 2), (1, 2), (2, 1), (0, 2), (2, 0)}
    # two of two in 1 of 3 pairs with a two: (1/4) / (3/4)
    assert 0.25 < order["comparison_double", (2, 2)] / 1500 < 0.4


@pytest.mark.parametrize(
    "height, width, size", [(300, 400, (224, 299)), (180, 200, (180, 200)), (448, 300, (335, 224))]
)
def test_sizes(height, width, size):
    rgb = np.asarray(photo(1, height, width))
    got = scaled(rgb, Drawing())
    assert got.shape[:2] == size
    expected = (
        rgb
        if size == (height, width)
        else np.asarray(Image.fromarray(rgb).resize(size[::-1], Image.Resampling.BICUBIC))
    )
    assert np.array_equal(got, expected)


def test_sources_that_do_not_fit():
    for size, said in (((100, 300), "too small"), ((170, 900), "too elongated")):
        with pytest.raises(SceneError, match=said):
            scaled(np.asarray(photo(1, *size)), Drawing())


# ---- samples


def make(pictures, out, name, seed=5, **drawing):
    sources = find_split(pictures, "train")
    return SampleMaker(name, sources.folder, sources.names, str(out), seed, Drawing(**drawing))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["identification_single", "identification_double", "rating_double", "assessment_single"]
)
def test_a_sample_holds_what_its_line_says(pictures, tmp_path, name, cheap_metrics):
    maker, skipped = make(pictures, tmp_path, name, pristine=0.3), {}
    lines = [maker(index, skipped) for index in range(12)]
    assert set(skipped) <= {"cut.png", "small.png", "long.png"} and skipped
    assert any(not one["distortions"] for line in lines for one in line["variants"])
    for line in lines:
        reference = np.asarray(Image.open(tmp_path / line["reference"]))
        assert reference.shape[:2] == (line["height"], line["width"])
        assert len(line["variants"]) == 1 + KINDS[name].pair
        for one in line["variants"]:
            picture = np.asarray(Image.open(tmp_path / one["image"]))
            assert picture.shape == reference.shape  # pristine images have been resized like the others
            error = np.sqrt(np.mean((picture.astype(float) - reference) ** 2))
            assert (error == 0) if not one["distortions"] else (error >= 1)
            assert ("metrics" in one) == ("quality" in one) == (not name.startswith("identification"))
        if len(line["variants"]) == 2:
            assert line["variants"][0]["image"] != line["variants"][1]["image"]
            assert labels.better(*line["variants"]) is not None


def test_a_sample_depends_on_seed_set_and_index_alone(pictures, tmp_path):
    first = make(pictures, tmp_path / "a", "identification_single")
    lines = {index: first(index, {}) for index in (0, 1, 2)}
    again = make(pictures, tmp_path / "b", "identification_single")
    assert {index: again(index, {}) for index in (2, 0, 1)} == lines
    for line in lines.values():
        for path in (line["reference"], line["variants"][0]["image"]):
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert make(pictures, tmp_path / "c", "identification_single", seed=6)(0, {}) != lines[0]


# ---- splits


def test_splits(pictures, tmp_path):
    counts = write_splits(pictures, tmp_path / "s.json", 0.25, seed=1)
    assert counts == {"train": 6, "test": 2}
    listed = json.loads((tmp_path / "s.json").read_text())
    assert not set(listed["train"]) & set(listed["test"])
    assert find_split(pictures, "test", tmp_path / "s.json").names == tuple(sorted(listed["test"]))
    write_splits(pictures, tmp_path / "t.json", 3, seed=1)
    assert len(json.loads((tmp_path / "t.json").read_text())["test"]) == 3
    with pytest.raises(PlanError, match="without images"):
        write_splits(pictures, tmp_path / "u.json", 8, seed=1)
    with pytest.raises(PlanError, match="'validation'"):
        find_split(pictures, "validation", tmp_path / "s.json")
    (tmp_path / "v.json").write_text('{"train": ["gone.png"]}')
    with pytest.raises(PlanError, match="1 images that are not in .*gone.png"):
        find_split(pictures, "train", tmp_path / "v.json")


# ---- records

SMALL = Plan(
    "small", 7,
    sets={
        "identification_single": Wanted(50, fr=30, nr=25), "identification_double": Wanted(30),
        "assessment_single": Wanted(12), "comparison_single": Wanted(12), "comparison_double": Wanted(8),
        "rating_double": Wanted(8),
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def built(pictures, tmp_path_factory):
    root = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "metrics", fast_metrics)
        report = build_samples(SMALL, find_split(pictures, "train"), root, shard_samples=10)
    return root, report, write_plan_records(SMALL, root)


def records_of(root, name):
    return json.loads((root / "records" / f"{name}.json").read_text())


def is_subtle(record):
    sides = (
        [record]
        if "image_B" not in record or not record["image_B"]
        else [record["distortions_A"], record["distortions_B"]]
    )
    found = []
    for side in sides:
        classes = side.get("distortion_classes") or [side.get("distortion_class")]
        severities = side.get("severities") or [side.get("severity")]
        found += [c in PUBLISHED_EXCLUDE and s < 2 for c, s in zip(classes, severities) if c]
    return any(found)


@pytest.mark.slow
def test_every_set_has_records_with_and_without_reference(built):
    root, report, written = built
    assert (report.samples, report.made) == (120, 120) and set(report.skipped) == {"cut.png", "small.png", "long.png"}
    ids = set()
    for set_name in SMALL.sets:
        task, kind = set_name.split("_")
        for setting in ("fr", "nr"):
            name = f"{task}_{setting}_{kind}"
            records = records_of(root, name)
            assert len(records) == written[f"{name}.json"]["records"] > 0
            assert (
                sum(written[f"{name}.json"].values()) == SMALL.sets[set_name].samples
            )  # every sample is accounted for
            for record in records:
                known = tasks.setting(record["task_type"])
                assert [field for field in ("image_ref", "image_A", "image_B") if record[field]] == list(known.fields)
                assert all((root / record[field]).is_file() for field in known.fields)
                assert known.reference == (setting == "fr") and known.pair == (task in ("rating", "comparison"))
                text = json.dumps(record["conversations"]).lower()
                assert setting == "fr" or "reference" not in text
                assert setting == "fr" or task == "rating" or not is_subtle(record)
            ids |= {record["id"] for record in records}
    assert len(ids) == sum(counts["records"] for counts in written.values())
    assert (
        written["identification_fr_single.json"]["records"],
        written["identification_nr_single.json"]["records"],
    ) == (30, 25)


def test_forms_of_identification_questions(built):
    root, _, _ = built
    for kind, number in (("single", "ONE"), ("double", "TWO")):
        for setting, templates in (("fr", questions.IDENTIFICATION_FR), ("nr", questions.IDENTIFICATION_NR)):
            known = {template.question(form) for template in templates for form in questions.FORMS}
            seen = Counter()
            for record in records_of(root, f"identification_{setting}_{kind}"):
                question, answer = (turn["value"] for turn in record["conversations"])
                assert question.removesuffix(tasks.SHORT_TAIL) in known
                classes = record.get("distortion_classes", [record.get("distortion_class")]) or []
                names = {distortions.ANSWER[c] for c in classes if c}
                short = question.endswith(tasks.SHORT_TAIL)
                assert (set(tasks.parse_labels(answer)) if short else named(answer)) == names
                assert {"ONE", "TWO"} & set(question.split()) <= {number}
                seen.update([("short", short), ("counted", number in question.split())])
            assert seen["short", True] and seen["short", False] and seen["counted", True] and seen["counted", False]


def test_without_reference_nothing_but_the_reference_changes(built):
    root, _, _ = built
    for name in ("rating_{}_double", "comparison_{}_single", "assessment_{}_single"):
        fr = {record["image_A"]: record for record in records_of(root, name.format("fr"))}
        for record in records_of(root, name.format("nr")):
            pair = (
                fr[record["image_A"]]
                if name.startswith("assess")
                else next(one for one in fr.values() if one["id"].split("_")[3] == record["id"].split("_")[3])
            )
            assert record["conversations"][0] == pair["conversations"][0]
            assert named(record["conversations"][1]["value"]) == named(pair["conversations"][1]["value"])
            assert {**record, "id": 0, "task_type": 0, "image_ref": 0, "conversations": 0} == {
                **pair, "id": 0, "task_type": 0, "image_ref": 0, "conversations": 0,
            }  # fmt: skip


def test_test_form_and_answers_from_elsewhere(built, tmp_path):
    root, _, _ = built
    plan = replace(SMALL, form="test")
    (tmp_path / "samples").symlink_to(root / "samples")
    write_plan_records(
        plan, tmp_path, lambda name: {3: "Compared to the reference, fine."} if "comparison" in name else None
    )
    for kind, number in (("single", 1), ("double", 2)):
        for record in records_of(tmp_path, f"identification_nr_{kind}"):
            assert record["query"].endswith(tasks.SHORT_TAIL) and tasks.issue_count(record["query"]) == number
            assert record["answer"] in tasks.identification_answers(number)
    (record,) = records_of(tmp_path, "comparison_fr_single")
    assert record["id"] == "comparison_fr_single_000003_0" and record["answer"] == "Compared to the reference, fine."
    assert [one["answer"] for one in records_of(tmp_path, "comparison_nr_single")] in ([], ["Fine."])


# ---- builds that are stopped


IDENTIFY = Plan("identify", 3, sets={"identification_single": Wanted(30), "identification_double": Wanted(15)})
CODE = """
import sys
from training.dataset.building.factory import build_samples, find_split
from training.dataset.building.plan import Plan, Wanted
plan = Plan("identify", 3, sets={"identification_single": Wanted(30), "identification_double": Wanted(15)})
print("ready", flush=True)
build_samples(plan, find_split(sys.argv[1], "train"), sys.argv[2], shard_samples=2)
"""


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory):
    """What a build that nothing stops has written."""
    folder = tmp_path_factory.mktemp("whole")
    build_samples(IDENTIFY, find_split(pictures, "train"), folder, shard_samples=2)
    return contents(folder)


@pytest.mark.slow
def test_kills_at_random_moments_lose_and_double_nothing(pictures, whole, tmp_path):
    broken, rng, kept = tmp_path / "broken", random.Random(0), 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(pictures), str(broken)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        before = len(list(broken.glob("samples/*.jsonl")))
        while process.poll() is None and len(list(broken.glob("samples/*.jsonl"))) < before + 3:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        shards = {file: file.read_bytes() for file in broken.glob("samples/*.jsonl")}
        assert len(shards) >= before and all(text.endswith(b"\n") for text in shards.values())
        kept = len(shards)
    report = build_samples(IDENTIFY, find_split(pictures, "train"), broken, shard_samples=2)
    assert report.made < 45 and 3 <= kept < 23
    assert contents(broken) == whole
    lines = list(sample_store(broken, "identification_single").read())
    assert [line["scene"] for line in lines] == list(range(30))


def test_what_a_dead_worker_had_begun_is_gone_at_the_end(pictures, tmp_path):
    plan = Plan("identify", 3, sets={"identification_single": Wanted(4)})
    begun = tmp_path / "identification_single/000/.000003_A.png.85fb1dfa26b943a6.part"

    def die(done, total):
        begun.parent.mkdir(parents=True, exist_ok=True)
        begun.touch()

    build_samples(plan, find_split(pictures, "train"), tmp_path, progress=die)
    assert begun.parent.is_dir() and not begun.exists()


@pytest.mark.slow
def test_workers_end_with_a_build_that_is_killed(pictures, tmp_path):
    """Idle ones wait for work that nobody will send: only the end of their parent tells them."""
    code = "if __name__ == '__main__':\n" + "".join(
        f"    {line}\n" for line in CODE.replace("shard_samples", "workers=2, shard_samples").splitlines()
    )
    (tmp_path / "build.py").write_text(code)
    build = psutil.Popen(
        [sys.executable, str(tmp_path / "build.py"), str(pictures), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while build.poll() is None and len(list(tmp_path.glob("out/samples/*.jsonl"))) < 3:
        time.sleep(0.01)
    workers = [one for one in build.children() if "spawn_main" in str(one.cmdline())]
    build.kill()
    build.wait()
    gone, left = psutil.wait_procs(workers, timeout=60)
    for one in left:
        one.kill()
    assert len(workers) == 2 and not left, left


@pytest.mark.slow
def test_a_full_disk_stops_the_build_with_nothing_half_written(pictures, whole, tmp_path):
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000))\n{CODE}"
    run = subprocess.run(
        [sys.executable, "-c", code, str(pictures), str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 1 and "StorageError: cannot write to" in run.stderr and "free some space" in run.stderr
    for file in (tmp_path / "out").rglob("*"):
        assert file.is_dir() or file.suffix in (".png", ".json", ".jsonl"), file
        if file.suffix == ".png":
            Image.open(file).load()
    report = build_samples(IDENTIFY, find_split(pictures, "train"), tmp_path / "out", shard_samples=2)
    assert report.samples == 45
    assert contents(tmp_path / "out") == whole


def test_records_are_never_half_written_either(built, tmp_path):
    root, _, _ = built
    (tmp_path / "samples").symlink_to(root / "samples")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        with pytest.raises(StorageError, match=r"cannot write to .*records/\w+\.json .*free some space"):
            write_plan_records(SMALL, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "records").iterdir())


def test_other_settings_are_refused_and_more_samples_are_added(pictures, tmp_path):
    sources = find_split(pictures, "train")
    plan = replace(IDENTIFY, sets={"identification_single": Wanted(6)})
    assert build_samples(plan, sources, tmp_path, shard_samples=4).made == 6
    assert build_samples(plan, sources, tmp_path, shard_samples=4).made == 0
    more = replace(plan, sets={"identification_single": Wanted(10)})
    assert build_samples(more, sources, tmp_path, shard_samples=4).made == 6  # the short shard is made again
    for changed in (replace(plan, seed=4), replace(plan, drawing=Drawing(pristine=0.5))):
        with pytest.raises(BuildError, match="began with other (seed|drawing)"):
            build_samples(changed, sources, tmp_path, shard_samples=4)


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "x-00000.jsonl").write_text('{"a": 1}\n{broken\n')
    lines = Store(str(tmp_path), "x", 10).read()
    assert next(lines) == {"a": 1}
    with pytest.raises(ValueError, match=r"x-00000\.jsonl, line 2"):
        next(lines)


@pytest.mark.slow
def test_the_planned_rate_is_that_of_many_samples(pictures, cheap_metrics, monkeypatch):
    """One slow sample in a few must not make the plan of days twice as long."""
    plan, made, call = replace(SMALL, ratings=()), Counter(), SampleMaker.__call__

    def counted(self, index, skipped):
        made[self.set_name] += 1
        return call(self, index, skipped)

    monkeypatch.setattr(SampleMaker, "__call__", counted)
    rows = measure(plan, find_split(pictures, "train"), seconds=0)
    assert min(made.values()) == 1 + 2 * TRIAL and {row.name for row in rows} == {*plan.sets, "references"}
    assert all(row.seconds > 0 and row.size > 0 for row in rows)


@pytest.mark.slow
def test_command(pictures, tmp_path, capsys):
    plan = tmp_path / "plan.yaml"
    plan.write_text("{name: tiny, seed: 1, sets: {identification_single: 4, assessment_single: 1}}")
    out = tmp_path / "out"
    arguments = ["build", str(pictures), str(out), "--plan", str(plan)]
    assert main([*arguments, "--plan-only", "--workers", "4"]) == 0
    printed = capsys.readouterr().out
    assert (
        "time (4 cores)" in printed and "identification_single" in printed and "total" in printed and not out.exists()
    )
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "identification_fr_single.json: 4 records" in said.out
    assert "images were skipped" in said.err and "skipped " in said.err
    assert main(["split", str(pictures), str(tmp_path / "s.json"), "--test", "2"]) == 0
    assert "6 train, 2 test" in capsys.readouterr().out
