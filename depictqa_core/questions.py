"""The questions that models of this project are trained on, and the rule by which other words count as one of them.

A checkpoint whose configuration says ``free_questions: false`` has learned sentence patterns, not language: asked for a
cat, it names a distortion. It is asked only what consists of words of its training questions. The published checkpoints
are built on a language model that understands other words, and take any question.
"""

import re

from .errors import TaskError
from .tasks import ASSESSMENT, RATING, WORSE, Task, is_short

ASSESSMENTS = (
    ASSESSMENT.question,
    "How good is the image? Explain your judgement.",
    "Assess the image's quality and explain why.",
    "Describe the quality of the image together with its distortions.",
    "What is wrong with this image, and how much does it matter?",
    "Give an evaluation of the image, with your reasons.",
    "Please describe the flaws of the image and your overall verdict.",
    "Could you judge the quality of the image and support it with reasons?",
    "Look closely at the image and comment on its visual quality.",
    "Discuss the distortions in the image and their effect on its quality.",
    "Write a short report about the quality of the image.",
    "Explain how well the image is preserved and where it is damaged.",
    "Analyze the image's quality in detail.",
    "What do you think about the quality of the image, and why?",
    "Provide a detailed quality evaluation of the image.",
    "Please examine the image and explain what lowers its quality.",
    "Review the image: name its distortions, their strength and the overall quality.",
    "Is the quality of the image good? Give reasons for your opinion.",
    "Tell me about the quality of the image and the causes of any damage.",
    "Evaluate the visual quality of the image and justify your conclusion.",
)

RATINGS = (
    RATING.question,
    "Which image is better, Image A or Image B?",
    "Between Image A and Image B, which one has the higher quality?",
    "Choose the better image from Image A and Image B.",
    "Which of Image A and Image B looks better?",
    "Image A or Image B: which would a viewer prefer?",
    "Decide which image is less distorted, Image A or Image B.",
    "Tell me whether Image A or Image B has superior quality.",
    "Of the two images, Image A and Image B, which is of better quality?",
    "Pick the image with fewer flaws: Image A or Image B.",
    "Does Image A or Image B show better visual quality?",
    "Please compare Image A and Image B and name the better one.",
    "Which image suffers less damage, Image A or Image B?",
    "Select the image of higher quality from Image A and Image B.",
    "If you could keep only Image A or Image B, which has the quality to be kept?",
    "Which is visually more pleasing, Image A or Image B?",
    "Judge Image A against Image B: which wins in quality?",
    "State which of Image A and Image B is better preserved.",
    "Considering the overall quality, is Image A or Image B better?",
    "Out of Image A and Image B, which image is in better condition?",
)

_TRAINED = {ASSESSMENT.name: ASSESSMENTS, RATING.name: RATINGS}
_PLAIN = frozenset(
    "a an the this that these those it its they their is are was be been has have do does did can could would should "
    "will of in on at to for from with by as and or but if than then so any some all each both one two there here "
    "please i me my you your we us our what which how why where whether image images picture pictures".split()
)
"""Words that say nothing about what is asked for."""
_SUBJECT = {
    ASSESSMENT.name: frozenset(
        "quality distortion distortions damage damaged flaw flaws wrong good evaluate evaluation assess judge "
        "judgement verdict preserved".split()
    ),
    RATING.name: frozenset(
        "better quality superior higher less fewer distorted flaws damage prefer pleasing preserved wins condition "
        "compare".split()
    ),
}
"""Words that say it; a question has at least one of them."""

_DAMAGE = (
    r"(?:\w+ )?(?:distort|degrad|damag|flaw|defect|fault|artifact|issue|problem|nois|blur|compress|pixelat|grain"
    r"|severe)"
)
_WORSE = re.compile(
    rf"\b(?:{WORSE}|worst|poorest|noisier|blurrier|grainier)\b|\b(?:more|most|stronger|higher) {_DAMAGE}"
    rf"|\b(?:lower|lowest)\b(?! {_DAMAGE})|\b(?:less|least|fewer|fewest)\b(?! {_DAMAGE})|\b(?:not|never)\b|n't\b",
    re.IGNORECASE,
)
"""Asks for the image that is not the better one."""


def require_better(question: str) -> None:
    """Refuse a question about two images whose answer is the worse one: verdicts and probabilities name the better.

    Raises:
        TaskError: with what to do.
    """
    if found := _WORSE.search(question):
        raise TaskError(
            f"question '{question}': asks for the worse image ('{found[0]}'), and a comparison tells which is better; "
            "ask which of the two is better"
        )


def require_trained(question: str, task: Task, name: str) -> None:
    """Refuse a question that is none of the trained ones in other words.

    It counts as one if all of its words are plain ones or occur in the training questions of the task, and at least one
    of them says what is asked for.

    Args:
        question: as the user worded it.
        task: ``ASSESSMENT`` or ``RATING``.
        name: of the checkpoint.

    Raises:
        TaskError: with the word that is not known, and with what to do.
    """
    trained = _TRAINED[task.name]
    words = [word.lower().removesuffix("'s") for word in re.findall(r"[^\W_]+(?:'\w+)?", question)]
    known = _PLAIN | {word for text in trained for word in re.findall(r"[a-z]+", text.lower())}
    unknown = [word for word in words if word not in known]
    if is_short(question):
        why = "it asks for a short answer"
    elif unknown:
        why = f"its training questions do not have the word '{unknown[0]}'"
    elif not _SUBJECT[task.name].intersection(words):
        why = "it does not say what about the quality is asked for"
    else:
        return
    raise TaskError(
        f"question '{question}': not supported by {name} ({why}). It answers questions about image quality in the "
        f"words that it was trained on, such as '{trained[1]}' Leave the question out, reword it, use identify or "
        "score, or load a checkpoint that takes free questions"
    )
