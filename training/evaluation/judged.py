"""Detailed answers scored by a language model that compares them with the true answers (method.md 8.4, 8.5)."""

import re

from depictqa_core import tasks
from depictqa_core.chat.client import Client

from .answer_files import Source, endpoint_answers
from .metrics import mean
from .sets import DETAILED, TestSet

FIRST = 200
"""The published score is the mean of the first samples, this many."""
TOKENS = 200

V2 = (
    "You check descriptions of image quality. You are given a question about one or more images, the correct answer, "
    "and the answer of a model. Judge how far the model's answer says the same as the correct one. What counts most is "
    "the analysis of the distortions: which ones there are, how strong they are, what they do to the content, and, "
    "where images are compared, which one is better. Wording and length do not count. "
    "Write one integer from 0 (contradicts the correct answer) to 10 (says the same) alone on the first line, and your "
    "reasons on the lines after it."
)
V1 = (
    "You compare two descriptions of image quality by two assistants. You are given what is known of the images, and "
    "the two descriptions. Rate each for how correct, complete and precise it is, from 0 (worst) to 10 (best). The "
    "order of the two must not sway you. Write the two numbers, first that of Assistant 1, then that of Assistant 2, "
    "with a space between them, alone on the first line, and your reasons on the lines after it."
)
KNOWN = (
    *("texture", "distortion", "overall"),
    *("distortion_name", "severity", "distortion_names", "severities", "distortions_A", "distortions_B"),
)
"""Fields of a record with the known truth about its images."""


def detailed(test_set: TestSet) -> list[int]:
    """Return the indexes of the records with a detailed true answer."""
    return [
        index
        for index, (record, task_type) in enumerate(zip(test_set.records, test_set.task_types))
        if record.get("answer") and tasks.task_of(record["query"], tasks.setting(task_type).pair) in DETAILED
    ]


def judged_answers(client: Client, test_set: TestSet, answers: list[dict], version: str) -> tuple[list, Source]:
    """Return the ids of the answers that can be scored, and a source of ``{"id", "score", "reply"}``.

    Version v2 scores 0..10; v1 scores the answer and the true one, and gives the ratio of the two, at most 1. A
    reply that is not of the form asked for has the score None.

    Args:
        answers: those of the model under test, in any order. Records without one, or whose answer is an error, are left
            out.
    """
    texts = {answer["id"]: answer.get("text") for answer in answers}
    records = [test_set.records[index] for index in detailed(test_set)]
    records = [record for record in records if texts.get(record["id"])]

    def answer(index: int) -> dict:
        record = records[index]
        reply = client.complete(conversation(record, str(texts[record["id"]]), version), TOKENS).text
        return {"score": parse(reply, version), "reply": reply}

    ids = [record["id"] for record in records]
    return ids, endpoint_answers(client, ids, answer)


def conversation(record: dict, text: str, version: str) -> list[dict]:
    """Return the request that scores one answer."""
    if version == "v2":
        asked = f"Question: {record['query']}\n\nCorrect answer: {record['answer']}\n\nAnswer of the model: {text}"
        return [{"role": "system", "content": V2}, {"role": "user", "content": asked}]
    known = "\n".join(f"{key}: {record[key]}" for key in KNOWN if record.get(key) is not None)
    asked = (
        f"Known of the images:\n{known}\n\nQuestion: {record['query']}\n\n"
        f"Assistant 1: {record['answer']}\n\nAssistant 2: {text}"
    )
    return [{"role": "system", "content": V1}, {"role": "user", "content": asked}]


def parse(reply: str, version: str) -> float | None:
    """Parse the score in a reply's first line; None unless that line is one number (v1: two) from 0 to 10 and nothing
    else.

    Version v1 also returns None if the true answer got 0, because then there is no ratio.
    """
    first = (reply.strip().splitlines() or [""])[0]
    words = [word for word in re.split(r"[\s,]+", first.strip()) if word]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    if len(numbers) != (1 if version == "v2" else 2) or not all(0 <= number <= 10 for number in numbers):
        return None
    if version == "v2":
        return numbers[0]
    return min(numbers[1] / numbers[0], 1.0) if numbers[0] > 0 else None


def summary(rows: list[dict]) -> dict:
    """``{"score", "count", "failed", "score_of_all"}``: the mean of the first 200 samples, without the failures."""
    scores = [row.get("score") for row in rows]
    return {
        "score": mean(score for score in scores[:FIRST] if score is not None),
        "count": sum(score is not None for score in scores[:FIRST]),
        "failed": sum(score is None for score in scores),
        "score_of_all": mean(score for score in scores if score is not None),
    }
