"""The task tables and the parsers, which take exactly the answers of the format and never guess."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depictqa_core import tasks
from depictqa_core.errors import TaskError

LABELS = {  # the spellings that the published checkpoints were trained on
    "Noise": "noise",
    "Blur": "blur",
    "Compression": "compression",
    "Oversharpening": "oversharpening",
    "Pixelation": "pixelation",
    "Color quantization": "color quantization",
    "Insufficient saturation": "insufficient saturation",
    "Overly high saturation": "overly high saturation",
    "Insufficient contrast": "insufficient contrast",
    "Overly high contrast": "overly high contrast",
    "Insufficient brightness": "insufficient brightness",
    "Overly high brightness": "overly high brightness",
}
ALL_ANSWERS = {"None": ()} | {text: (label,) for text, label in LABELS.items()}
ALL_ANSWERS |= {f"{LABELS[a].capitalize()} and {LABELS[b]}": (LABELS[a], LABELS[b]) for a, b in permutations(LABELS, 2)}
TAIL = " Answer the question using a single word or phrase."


def test_the_thirteen_labels():
    assert tasks.DISTORTIONS == tuple(LABELS.values())
    assert tasks.LABELS == (*LABELS.values(), "none")


def test_answer_sets_are_exactly_the_published_spellings():
    assert len(ALL_ANSWERS) == 145
    assert set(tasks.identification_answers(1)) == {"None", *LABELS}
    assert set(tasks.identification_answers(2)) == {text for text in ALL_ANSWERS if len(ALL_ANSWERS[text]) != 1}
    assert set(tasks.identification_answers(None)) == set(tasks.identification_answers()) == set(ALL_ANSWERS)
    for count, size in ((1, 13), (2, 133), (None, 145)):
        assert len(tasks.identification_answers(count)) == size  # nothing twice


@pytest.mark.parametrize("text", ALL_ANSWERS)
def test_answers_and_labels_turn_into_each_other(text):
    assert tasks.parse_labels(text) == ALL_ANSWERS[text]
    assert tasks.parse_labels(f" {text}\n ") == ALL_ANSWERS[text]
    assert tasks.answer_text(ALL_ANSWERS[text]) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "NONE",
        "noise",
        "NOISE",
        "Noise.",
        "Noise and Blur",
        "Noise and noise",
        "Noise and none",
        "None and noise",
    ]
    + [
        "Noise, blur",
        "Noise and blur and compression",
        "Noise  and blur",
        "The image has noise",
        "Noises",
        "Nois",
        "N\u00f4ise",
    ]
    + [
        "Color  quantization",
        "Insufficient",
        "and",
        " and ",
        "Noise and",
        "and blur",
        "Saturation",
        "Image A",
        "No\u0131se",
    ],
)
def test_labels_are_not_guessed(text):
    assert tasks.parse_labels(text) is None


PIECES = st.sampled_from([*tasks.LABELS, *ALL_ANSWERS, " and ", "and", " ", ", ", ".", "\n", "a ", "None"])


@given(st.one_of(st.text(), st.lists(PIECES, max_size=4).map("".join)))
def test_whatever_parses_is_an_answer_of_the_format(text):
    labels = tasks.parse_labels(text)
    assert labels == ALL_ANSWERS.get(text.strip())
    assert tasks.parse_winner(text) == {"Image A": "A", "Image B": "B"}.get(text.strip())


@pytest.mark.parametrize(
    "text", ["", "A", "B", "image a", "Image A.", "Image C", "Image A and Image B", "Image", "Image  A", "A is better"]
)
def test_winners_are_not_guessed(text):
    assert tasks.parse_winner(text) is None


def test_winners():
    assert [tasks.parse_winner(text) for text in tasks.WINNERS] == ["A", "B"]
    assert tasks.WINNERS == ("Image A", "Image B")


def test_answers_of_each_task():
    assert tasks.answers(tasks.RATING, "anything") == ("Image A", "Image B")
    assert tasks.answers(tasks.SCORE, "anything") == ("Excellent", "Good", "Fair", "Poor", "Bad")
    assert tasks.LEVEL_SCORES == (100, 75, 50, 25, 0)
    sizes = {tasks.ONE_ISSUE: 13, tasks.TWO_ISSUES: 133, tasks.IDENTIFICATION.question: 145}
    assert {question: len(tasks.answers(tasks.IDENTIFICATION, question)) for question in sizes} == sizes
    for task in (tasks.ASSESSMENT, tasks.COMPARISON):
        with pytest.raises(TaskError, match=task.name):
            tasks.answers(task, task.question)


@pytest.mark.parametrize(
    "question, count",
    [("Name ONE issue.", 1), ("Name the TWO issues", 2), ("Name one issue or two", None), ("the issue(s)", None)]
    + [("ONE or TWO issues?", None), ("ONEROUS", None), ("TWO, or rather TWO", 2), ("", None)],
)
def test_issue_count(question, count):
    assert tasks.issue_count(question) == count


def test_brief_questions_end_in_the_tail_exactly_once():
    assert tasks.SHORT_TAIL == TAIL
    for task in tasks.TASKS.values():
        asked = task.ask()
        assert asked == task.question + TAIL * task.brief
        assert task.ask(asked) == asked
        assert task.ask("Well?") == "Well?" + TAIL * task.brief
    own = "Which is better? Reply with one word."
    assert tasks.RATING.ask(own) == own
    assert tasks.RATING.ask("  Which?\n") == "Which?" + TAIL


@pytest.mark.parametrize("name", tasks.TASKS)
def test_task_of_finds_the_task_of_its_own_question(name):
    task = tasks.TASKS[name]
    assert tasks.task_of(task.ask(), task.pair) is task


@pytest.mark.parametrize(
    "question, pair, task",
    [
        ("What ONE distortion is most apparent in the evaluated image?" + TAIL, False, "identification"),
        (tasks.ONE_ISSUE + TAIL, False, "identification"),
        (tasks.TWO_ISSUES + TAIL, False, "identification"),
        ("Can you provide a detailed evaluation of the image's quality?", False, "assessment"),
        ("Which image do you believe has better overall quality: Image A or Image B?" + TAIL, True, "rating"),
        ("Compare Image A with Image B.", True, "comparison"),
        ("How would you rate this image?" + TAIL, False, "score"),
        ("Which degradations separate the evaluated image from its reference?" + TAIL, False, "identification"),
    ],
)
def test_task_of(question, pair, task):
    assert tasks.task_of(question, pair).name == task


def test_settings():
    fields = {name: tasks.setting(name).fields for name in tasks.SETTINGS}
    assert fields == {
        "quality_single_A": ("image_ref", "image_A"),
        "quality_single_B": ("image_ref", "image_B"),
        "quality_single_A_noref": ("image_A",),
        "quality_single_B_noref": ("image_B",),
        "quality_compare": ("image_ref", "image_A", "image_B"),
        "quality_compare_noref": ("image_A", "image_B"),
    }
    for name, known in tasks.SETTINGS.items():
        assert known.pair == ("compare" in name) and known.reference == ("noref" not in name)
    with pytest.raises(TaskError, match="unknown task 'description'.*quality_single_A"):
        tasks.setting("description")
