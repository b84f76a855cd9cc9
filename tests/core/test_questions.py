"""Which questions a checkpoint takes: wordings of trained questions, short questions of other kinds, and refusals."""

import numpy as np
import pytest
from core.judging import pictures
from tiny import make_tiny_model

from depictqa_core import tasks
from depictqa_core.backends.native import NativeBackend
from depictqa_core.errors import TaskError
from depictqa_core.judge import Judge
from depictqa_core.loading.checkpoint import Checkpoint
from depictqa_core.loading.checkpoint_folder import supported
from depictqa_core.questions import _words, require_trained
from depictqa_core.wordings import RATINGS, trained_questions
from training.dataset.records import question_templates as templates
from training.evaluation.sets import OTHER as OTHER_KIND
from training.evaluation.sets import kind_of

TAIL = tasks.SHORT_TAIL


def judge(**changes):
    model, tokenizer = make_tiny_model("cnn", **changes)
    return Judge(NativeBackend(Checkpoint(model, tokenizer, {"name": "tiny"})))


CLOSED = (
    tasks.ASSESSMENT,
    tasks.RATING,
    tasks.COMPARISON,
    tasks.SCORE,
    tasks.IDENTIFICATION,
    tasks.SEVERITY,
    tasks.FAULT,
)


@pytest.mark.parametrize("task", CLOSED, ids=lambda task: task.name)
def test_trained_questions_are_taken(task):
    assert len(trained_questions(task)) >= 12 and task.question in trained_questions(task)
    for question in trained_questions(task):
        for same in (question, task.ask(question), question.upper().replace("IMAGE", "picture")):
            require_trained(same, task, "tiny")


@pytest.mark.parametrize(
    "question, task",
    [
        ("please evaluate this photo’s quality, and provide your reasons", tasks.ASSESSMENT),
        ("How good is this picture? Explain your judgement!", tasks.ASSESSMENT),
        ("Analyze the quality of the image in detail.", tasks.ASSESSMENT),
        ("Which is better, A or B?", tasks.RATING),
        ("Which of Image A and Image B is better?", tasks.RATING),
    ],
)
def test_the_same_question_in_slightly_other_words_is_taken(question, task):
    require_trained(question, task, "tiny")


@pytest.mark.slow
@pytest.mark.parametrize(
    "question, task",
    [
        ("Is the image good at art?", tasks.ASSESSMENT),
        ("What is the report about?", tasks.ASSESSMENT),
        ("How good is your judgement? Explain the image.", tasks.ASSESSMENT),
        ("Is there damage to the quality of your opinion?", tasks.ASSESSMENT),
        ("What is wrong with you, and how much does it matter?", tasks.ASSESSMENT),
        ("How many flaws does the image have?", tasks.ASSESSMENT),
        ("Would you judge a viewer by the quality of the image?", tasks.ASSESSMENT),
        ("Is the image damaged?", tasks.ASSESSMENT),
        ("Is the quality of the image not good? Give reasons for your opinion.", tasks.ASSESSMENT),
        ("Does Image A show better visual quality?", tasks.RATING),
        ("Which viewer has better visual quality, Image A or Image B?", tasks.RATING),
        ("Which image has the better condition to be kept by you, Image A or Image B?", tasks.RATING),
        ("What is the main problem of the people in the image?", tasks.IDENTIFICATION),
        ("How strong is the wind in the evaluated image?", tasks.SEVERITY),
        ("How would you rate the car in the evaluated image?", tasks.SCORE),
        ("Does the evaluated image show the fault of the driver?", tasks.FAULT),
        ("Compare the prices of Image A and Image B.", tasks.COMPARISON),
    ],
)
def test_other_questions_in_trained_words_are_refused_by_every_path(question, task):
    """Also by ``ask``, which takes questions of every task."""
    closed = judge(free_questions=False, tasks=tuple(one.name for one in CLOSED))
    shown = dict(zip("AB", pictures(2))) if task.pair else {"A": pictures(1)[0]}
    paths = [lambda: closed.ask([shown], task, question)]
    if task is tasks.ASSESSMENT:
        paths.append(lambda: closed.describe(pictures(1), question=question))
    if task is tasks.RATING:
        paths.append(lambda: closed.compare(*pictures(2), question=question))
        paths.append(lambda: closed.compare_many([pictures(2)], question=question))
    for refused in paths:
        with pytest.raises(TaskError, match="not supported by tiny.*the most similar one is: .*Leave the question out"):
            refused()


def test_no_training_question_is_empty():
    assert all(_words(question) for task in CLOSED for question in trained_questions(task))


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    ["Is there a cat?", "How many people are there?", "Tell me about the image.", "Is the image blurry?", "?"]
    + ["Wie gut ist das Bild?", "画质怎么样？", "Who took this?", tasks.ONE_ISSUE + TAIL, "Translate this to French."],
)
def test_other_questions_are_refused(question):
    closed, free = judge(free_questions=False), judge()
    for refused in (
        lambda: closed.describe(pictures(1), question=question),
        lambda: closed.compare(*pictures(2), question=question),
    ):
        with pytest.raises(TaskError, match="not supported by tiny.*Leave the question out"):
            refused()
    assert free.describe(pictures(1), question=question, max_new_tokens=2)


@pytest.mark.slow
def test_a_question_of_blanks_is_none():
    closed = judge(free_questions=False)
    assert closed.describe(pictures(1), question=" \n") == closed.describe(pictures(1))


IDENTIFY, OTHER = tasks.IDENTIFICATION, tasks.QUESTION


def test_every_template_belongs_to_its_task():
    for template in (*templates.IDENTIFICATION_FR, *templates.IDENTIFICATION_NR):
        for form in templates.FORMS:
            assert tasks.task_of(template.question(form) + TAIL, False) is IDENTIFY
    groups = [(templates.SCORE, tasks.SCORE), ([s.format("blur") for s in templates.SEVERITY], tasks.SEVERITY)]
    groups.append(([rating.question for rating in templates.RATING], tasks.RATING))
    for questions, task in groups:
        assert all(tasks.task_of(question + TAIL, task.pair) is task for question in questions)


@pytest.mark.slow
@pytest.mark.parametrize(
    "question, listed",
    [
        ("Is the image blurry?" + TAIL, ["Yes", "No"]),
        ("Looking at the image, is there any noise?" + TAIL, ["Yes", "No"]),
        ("What color is the sky?" + TAIL, []),
        ("Is the sky dark or bright?" + TAIL, []),
        (
            "How is the clarity of this image?\nA. Low\nB. High\nC. Medium\nAnswer with the option's letter.",
            ["Low", "High", "Medium"],
        ),
        ("Which is the main issue: (A) motion blur (B) noise?" + TAIL, ["motion blur", "noise"]),
        ("Is the image blurry? Answer yes or no.", ["Yes", "No"]),
        ("Is there a cat? Yes/No", ["Yes", "No"]),
        ("Is the image blurry? Answer in ONE WORD.", ["Yes", "No"]),
        ("How would you rate the sharpness of the image?" + TAIL, []),
        ("What is the frame rate?" + TAIL, []),
        ("How strong is the contrast in the image?" + TAIL, []),
        ("How severe is the storm?" + TAIL, []),
    ],
)
def test_short_questions_of_other_kinds(question, listed):
    assert tasks.task_of(question, False) is OTHER and list(tasks.listed_answers(question)) == listed
    able, unable = judge(), judge(tasks=("identification", "assessment"))
    for ask in (
        lambda j: j.describe(pictures(2), question=question),
        lambda j: j.ask([{"A": p} for p in pictures(2)], OTHER, question),
    ):
        for said in ask(able):
            if listed:
                assert said.text in listed and 0 <= said.coverage <= 1 and said.confidence_method == "allowed answers"
            else:
                assert said.coverage is None and 0 < said.confidence < 1
        with pytest.raises(TaskError, match="does not support the task question; it supports identification"):
            ask(unable)


@pytest.mark.parametrize(
    "question, task",
    [
        ("What differs between the images?", tasks.PAIR_QUESTION),
        ("How does Image A differ from Image B?", tasks.PAIR_QUESTION),
        ("What image has the higher quality?", tasks.RATING),
        ("What do you think, Image A or Image B?", tasks.RATING),
    ],
)
def test_short_questions_about_pairs(question, task):
    assert tasks.task_of(question + TAIL, True) is task


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    ["Which image has more flaws, Image A or Image B?", "Which suffers more damage?", "Which is more distorted?"]
    + ["Which image is less pleasing?", "Which image has less quality?", "Which image is worse?", "Which is noisier?"]
    + ["Which is not better?", "Which one wouldn't you keep?", "Which has the lowest quality?", "Which is the worst?"],
)
def test_which_is_worse_is_no_question_of_compare(question):
    for closed in (False, True):
        with pytest.raises(TaskError, match="which of the two is better|not supported by tiny"):
            judge(free_questions=not closed).compare(*pictures(2), question=question)


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    [*RATINGS, "Which image has lower noise?", "Which has less blur?", "Which has more details?"],
)
def test_which_is_better_is_one(question):
    assert judge().compare(*pictures(2), question=question)


def test_options_share_the_probability_of_all_their_spellings():
    able, (one,) = judge(), pictures(1)
    question = "How is the light? A. dark B. bright" + TAIL
    spelled = [text for texts in tasks.listed_answers(question).values() for text in texts]
    assert "A" in spelled and "B. bright" in spelled
    from depictqa_core.runtime.progress import ProgressCounter

    rows = able.backend.choose(OTHER, question, [(one, None)], ProgressCounter(None, 1), options=spelled).probabilities[
        0
    ]
    (said,) = able.describe(one, question=question)
    dark = sum(p for text, p in zip(spelled, rows) if text in ("dark", "Dark", "A", "A.", "A. dark"))
    assert said.confidence == pytest.approx(max(dark, 1 - dark)) and said.text == ("dark" if dark > 0.5 else "bright")


def test_a_short_question_of_a_task_is_answered_by_it():
    able, (one,) = judge(), pictures(1)
    (said,) = able.describe(one, question=tasks.ONE_ISSUE + TAIL)
    (found,) = able.identify(one)
    assert (said.text, said.coverage) == (found.text, found.coverage) and said.confidence == pytest.approx(
        found.confidence
    )


def test_other_questions_are_scored_as_such():
    """A truth such as "None" does not make a distortion question of it."""
    record = {"query": "Is anything wrong?" + TAIL, "answer": "None"}
    assert kind_of(record, "quality_single_A_noref") == OTHER_KIND
    record = {"query": "How is it?\nA. Low\nB. High", "answer": "Low"}
    assert kind_of(record, "quality_single_A_noref") == OTHER_KIND
    assert kind_of({"query": tasks.ONE_ISSUE + TAIL, "answer": "None"}, "quality_single_A_noref") == "identification"
    assert kind_of({"query": tasks.ASSESSMENT.question, "answer": "Fine."}, "quality_single_A_noref") is None


def test_a_rating_must_be_answerable_by_a_or_b():
    with pytest.raises(TaskError, match="Image A or Image B"):
        judge().compare(*pictures(2), question="Is Image A sharper than Image B?")


def test_the_bundled_checkpoint_states_what_it_supports():
    assert supported(None).endswith("own questions only as worded in training")
    assert "question" not in supported(None).split(";")[0].split(", ")


@pytest.mark.slow
def test_personal_scores_follow_comparisons():
    personal, plain = judge(personal=True), judge()
    (mine,), (its,) = personal.score(pictures(1)), plain.score(pictures(1))
    assert (mine.method, its.method) == ("anchors", "levels")
    shown = pictures(3)
    assert [place.score for place in personal.rank(shown).pictures] == [None] * 3
    by_score = personal.rank(shown, method="score")
    assert np.argsort([-s.score for s in personal.score(shown)], kind="stable").tolist() == list(by_score.order)
