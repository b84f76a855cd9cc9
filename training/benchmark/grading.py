"""Descriptions scored by a language model: completeness, precision and relevance, 0 to 2 each (Q-Bench A2).

The three criteria and their scale are those of Q-Bench (https://github.com/Q-Future/Q-Bench); the words are our own, so
compare only scores of the same grading model.
"""

import re
from collections.abc import Sequence

from depictqa_core.chat.client import Client

from ..evaluation.answer_files import Source, endpoint_answers

CRITERIA = {
    "completeness": "How much of the information on image quality in the reference does the description contain? "
    "2: all or nearly all of it, 1: some of it, 0: none of it.",
    "precision": "Does the description contradict the reference? "
    "2: nowhere, 1: in minor points, 0: in important points.",
    "relevance": "How much of the description is about image quality and low-level appearance, such as sharpness, "
    "noise, colour, light and composition? 2: nearly all of it, 1: some of it, 0: none of it.",
}
SYSTEM = (
    "You check descriptions of image quality. You are given a reference description, written by an expert, and the "
    "description of a model. Answer the question with one integer, 0, 1 or 2, and nothing else."
)
TOKENS = 16


def graded(client: Client, ids: Sequence[str], texts: Sequence[str], truths: Sequence[str]) -> Source:
    """Return a source of the scores of descriptions: a row has completeness, precision and relevance, None where the
    reply is no score.

    Args:
        ids, texts, truths: [N], of each description.
    """

    def answer(index: int) -> dict:
        shown = f"Reference: {truths[index]}\n\nDescription of the model: {texts[index]}"
        row: dict = {}
        for name, question in CRITERIA.items():
            asked = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{shown}\n\n{question}"}]
            row[name] = parse(client.complete(asked, TOKENS).text)
        return row

    return endpoint_answers(client, ids, answer)


def parse(reply: str) -> int | None:
    """Parse the score of a reply: None unless it is 0, 1 or 2 and nothing else but marks around it."""
    found = re.fullmatch(r"\W*([012])\W*", reply.strip())
    return int(found[1]) if found else None
