"""Benchmark sets in their native layouts: what is read, what becomes a workload, and what odd folders are told."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from depictqa_core import tasks
from training.__main__ import main as command
from training.benchmark.items import PAIRS, QUESTIONS, RECORDS, SCORES, Described
from training.benchmark.sets import EVERYTHING, Options, known, open_set
from training.dataset.readers import ReaderError


def image(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(file)


def kadid(folder, references=3, each=4):
    rows = ["dist_img,ref_img,dmos,var"]
    for ref in range(1, references + 1):
        image(folder / "images" / f"I{ref:02d}.png")
        for level in range(1, each + 1):
            name = f"I{ref:02d}_01_{level:02d}.png"
            image(folder / "images" / name)
            rows.append(f"{name},I{ref:02d}.png,{5 - level + ref / 10:.2f},0.5")
    (folder / "dmos.csv").write_text("\n".join(rows) + "\n")


def test_a_rating_set_becomes_scores_and_pairs(tmp_path):
    kadid(tmp_path)
    scores, pairs = open_set("kadid10k", tmp_path, Options(pairs=7))
    assert (scores.kind, scores.part, scores.headline) == (SCORES, "all, with reference", "srcc")
    assert len(scores.items) == 12 and scores.images_of(scores.items[0])[1] == "images/I01.png"
    assert (pairs.kind, len(pairs.items)) == (PAIRS, 7)
    mos = {item.image: item.mos for item in scores.items}
    for pair in pairs.items:
        assert pair.reference and (mos[pair.a] > mos[pair.b]) == (pair.share == 1.0)
    again = open_set("kadid10k", tmp_path, Options(pairs=7))[1]
    assert again.items == pairs.items  # the same pairs for every judge


def test_hidden_references_are_not_shown_but_group_images(tmp_path):
    kadid(tmp_path)
    (scores,) = open_set("kadid10k", tmp_path, Options(reference=False))
    assert scores.part == "all, no reference" and scores.images_of(scores.items[0]) == ("images/I01_01_01.png",)
    assert scores.items[0].reference == "images/I01.png"


def test_a_limit_is_drawn_evenly_and_named(tmp_path):
    kadid(tmp_path)
    (scores,) = open_set("kadid10k", tmp_path, Options(limit=5))
    assert len(scores.items) == 5 and scores.part == "all, with reference, 5 of 12"
    assert scores.folder == "kadid10k_all__with_reference__5_of_12"
    assert open_set("kadid10k", tmp_path, Options(limit=5))[0].items == scores.items


def test_items_that_are_drawn_by_another_seed_have_a_folder_of_their_own(tmp_path):
    kadid(tmp_path)

    def parts(**options):
        return [work.part for work in open_set("kadid10k", tmp_path, Options(**options))]

    assert parts(pairs=7, seed=3) == ["all, with reference", "all, 7 pairs, with reference, seed 3"]
    assert parts(pairs=7, seed=3, limit=5) == [
        "all, with reference, 5 of 12, seed 3",
        "all, 7 pairs, with reference, 5 of 7, seed 3",
    ]
    assert parts(seed=3, limit=12) == parts() == ["all, with reference"]


def test_an_images_id_changes_with_the_image(tmp_path):
    kadid(tmp_path)
    (scores,) = open_set("kadid10k", tmp_path, Options())
    before = scores.identity(scores.items[0])
    Image.new("RGB", (80, 60)).save(tmp_path / "images" / "I01_01_01.png")
    assert scores.identity(scores.items[0]) != before
    assert scores.identity(scores.items[1]) in {scores.identity(item) for item in scores.items}


def test_the_test_split_is_the_default_where_there_is_one(tmp_path):
    names = np.array([["t1.bmp"], ["1.bmp"]], dtype=object)
    (tmp_path / "Data").mkdir()
    savemat(tmp_path / "Data" / "AllImages_release.mat", {"AllImages_release": names})
    savemat(tmp_path / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.array([[63.9, 24.5]])})
    image(tmp_path / "Images" / "trainingImages" / "t1.bmp")
    image(tmp_path / "Images" / "1.bmp")
    (scores,) = open_set("liveitw", tmp_path, Options())
    assert [item.image for item in scores.items] == ["Images/1.bmp"] and scores.part == "test, no reference"
    assert len(open_set("liveitw", tmp_path, Options(split=EVERYTHING))[0].items) == 2
    with pytest.raises(ReaderError, match="unknown split 'val': choose one of test, train"):
        open_set("liveitw", tmp_path, Options(split="val"))


def test_an_original_is_not_compared_with_itself(tmp_path):
    (tmp_path / "MOS").mkdir()
    (tmp_path / "MOS" / "x1.txt").write_text("x1_SwinIRx4.png,12.5\nx1_Original.png,80\n")
    image(tmp_path / "images" / "SwinIR" / "x1_SwinIRx4.png")
    image(tmp_path / "images" / "Original" / "x1_Original.png")
    (shown,) = open_set("sriqa", tmp_path, Options())
    assert shown.headline == "pair_accuracy" and len(shown.items) == 1
    assert shown.notes == ["1 left out: an original that would be compared with itself"]
    (hidden,) = open_set("sriqa", tmp_path, Options(reference=False))
    assert len(hidden.items) == 2 and not hidden.notes


ONE = {"question": "Is it sharp?", "candidates": ["Yes", "No"], "correct_ans": "No"}


def test_qbench_perception(tmp_path):
    rows = [
        {"img_path": "1.jpg", **ONE, "type": 0},
        {"img_path": "2.jpg", "question": "Which?", "candidates": ["Blur", "Noise", "None"], "correct_ans": "Noise"},
        {"img_path": "gone.jpg", **ONE},
        {"img_path": "1.jpg", **ONE, "correct_ans": "Perhaps"},
    ]
    (tmp_path / "llvisionqa_dev.json").write_text(json.dumps(rows))
    (tmp_path / "llvisionqa_test.json").write_text(
        json.dumps([{k: v for k, v in rows[0].items() if k != "correct_ans"}])
    )
    for name in ("1.jpg", "2.jpg"):
        image(tmp_path / "images" / name)
    (dev,) = open_set("qbench-a1", tmp_path, Options())
    assert dev.kind == QUESTIONS and dev.part == "dev"
    assert [(one.images, one.answer, one.category) for one in dev.items] == [
        (("images/1.jpg",), "No", "type 0"),
        (("images/2.jpg",), "Noise", None),
    ]
    assert dev.missing == ["gone.jpg"]
    reasons = {"1 left out: an image that is not there", "1 left out: an answer that is none of the options"}
    assert set(dev.notes) == reasons
    (test,) = open_set("qbench-a1", tmp_path, Options(split="test"))
    assert test.items[0].answer is None


@pytest.mark.parametrize(
    "options, answer, true",
    [
        (["A. Blur", "B. Noise"], "B", "Noise"),
        (["Blur", "Noise"], "B. Noise", "Noise"),
        (["Blur", "Noise"], "(A)", "Blur"),
        (["Blur", "Noise"], 1, "Noise"),
        ({"A": "Blur", "B": "Noise"}, "A", "Blur"),
        (["Blur", "Noise"], "noise", "Noise"),
    ],
)
def test_answers_are_texts_letters_or_numbers(tmp_path, options, answer, true):
    row = {"image": "images/1.png", "question": "Which\ndistortion?", "options": options, "answer": answer}
    (tmp_path / "questions.jsonl").write_text(json.dumps({**row, "category": "blur", "id": 7}) + "\n")
    image(tmp_path / "images" / "1.png")
    (work,) = open_set("distortbench", tmp_path, Options())
    item = work.items[0]
    assert (item.options, item.answer, item.category, item.key) == (("Blur", "Noise"), true, "blur", "7")
    assert item.question == "Which distortion?"


def test_questions_about_pairs_with_a_reference(tmp_path):
    row = {"image_A": "a.png", "image_B": "b.png", "image_ref": "r.png", "query": "Where is the sky noisier?"}
    (tmp_path / "questions.json").write_text(json.dumps([{**row, "choices": ["Image A", "Image B"], "answer": "A"}]))
    for name in "abr":
        image(tmp_path / f"{name}.png")
    (work,) = open_set("pandabench", tmp_path, Options())
    assert work.images_of(work.items[0]) == ("a.png", "b.png", "r.png") and work.items[0].answer == "Image A"


@pytest.mark.parametrize(
    "row, reason",
    [
        ({"image": "../1.png", **ONE}, "an image path that leads out of the folder"),
        ({"image": "1.png", "question": "Which?"}, "no question, or no list of options"),
        ({"image": "1.png", "question": "Which?", "options": ["a", "A"]}, "options that are empty, equal, or fewer"),
        ({"question": "Which?", "options": ["a", "b"]}, "no image"),
        ({"images": ["1.png"] * 3, **ONE}, "more than two images"),
    ],
)
def test_odd_questions_are_left_out_with_the_reason(tmp_path, row, reason):
    image(tmp_path / "1.png")
    (tmp_path.parent / "1.png").write_bytes((tmp_path / "1.png").read_bytes())
    folder = tmp_path / "set"
    image(folder / "1.png")
    (folder / "questions.json").write_text(json.dumps([row, {"image": "1.png", **ONE}]))
    (work,) = open_set("questions", folder, Options())
    assert len(work.items) == 1 and reason in work.notes[0]


def test_qbench_description(tmp_path):
    for name in ("1.jpg", "2.jpg"):
        image(tmp_path / "images" / name)
    assert [item.text for item in open_set("qbench-a2", tmp_path, Options())[0].items] == [None, None]
    (tmp_path / "descriptions.json").write_text(json.dumps([{"img_path": "2.jpg", "description": "It is blurred."}]))
    (work,) = open_set("qbench-a2", tmp_path, Options())
    assert work.items == [Described("images/2.jpg", "It is blurred.")]


def test_published_records_are_read_in_all_eight_tasks(tmp_path):
    """Four tasks, each with and without a reference; the training file in between is left out."""
    ask = {
        "identify": (tasks.ONE_ISSUE + tasks.SHORT_TAIL, "Blur", "single_A"),
        "assess": (tasks.ASSESSMENT.question, "It is blurred.", "single_A"),
        "rate": (tasks.RATING.ask(), "Image A", "compare"),
        "compare": (tasks.COMPARISON.question, "Image A is better.", "compare"),
    }
    for name in ("a", "b", "r"):
        image(tmp_path / "KADIS" / f"{name}.png")
    for name, (query, answer, kind) in ask.items():
        for reference in (True, False):
            record = {
                "id": "1",
                "image_ref": "KADIS/r.png" if reference else None,
                "image_A": "KADIS/a.png",
                "image_B": "KADIS/b.png" if kind == "compare" else None,
                "query": query,
                "answer": answer,
            }
            file = tmp_path / f"{name}_{'fr' if reference else 'nr'}" / "metas" / "test.json"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps([record]))
    works = open_set("dq495k", tmp_path, Options())
    assert len(works) == 8 and {work.kind for work in works} == {RECORDS}
    names = {work.part.split(":")[0] for work in works}
    wanted = ("distortion identification", "assessment reasoning", "instant rating", "comparison reasoning")
    assert names == {f"{name}, {how}" for name in wanted for how in ("with reference", "no reference")}
    assert len({work.folder for work in works}) == 8


@pytest.mark.parametrize("name", known())
def test_a_missing_or_odd_folder_is_one_line_with_the_origin(tmp_path, name, capsys):
    for folder in (tmp_path, tmp_path / "gone"):
        assert command(["benchmark", name, "--root", str(folder)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and known()[name] in line
        assert name == "questions" or ("download: http" in line and "terms: " in line)


def test_unknown_names_and_missing_roots(tmp_path, capsys):
    assert command(["benchmark", "koniq"]) == 1
    assert "unknown set 'koniq': choose one of" in capsys.readouterr().err
    assert command(["benchmark", "spaq"]) == 1
    assert "--root FOLDER: SPAQ is read from" in capsys.readouterr().err
    for option in (["--pairs", "9"], ["--no-reference"], ["--split", "test"]):
        assert command(["benchmark", "dq495k", "--root", str(tmp_path), *option]) == 1
        assert f"error: {option[0]} is for rating sets; leave it out for dq495k" in capsys.readouterr().err
    assert command(["benchmark", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(known())
