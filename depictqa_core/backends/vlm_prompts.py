"""Prompts for vision-language models of transformers: a profile's wording in the chat template of the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import tasks
from ..errors import CheckpointError
from ..images.image import RGBImage
from ..prompts import REFERENCE, A, B
from ..tasks import FAULT, IDENTIFICATION, QUESTION, RATING, SCORE, Task
from ..wordings import RATINGS, trained_questions
from .base import Criterion, ImageSet
from .profiles import Profile

MARK = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for an image while a prompt is rendered; users' text never contains it (``plain``)."""
TASKS = ("identification", "assessment", "rating", "comparison", "score", "severity", "faults", "question")
"""Names of the tasks that are worded here."""
THINK, THINK_END = "<think>", "</think>"


@dataclass(frozen=True)
class Prompt:
    """One question in the words of a model.

    Attributes:
        texts: the text before each image, and that behind the last one.
        images: one fewer than texts.
        pair: whether it compares two images: then few other prompts have the last image in the same place.
    """

    texts: tuple[str, ...]
    images: tuple[RGBImage, ...]
    pair: bool = False


@dataclass(frozen=True)
class Wording:
    """How a closed question is asked.

    Attributes:
        texts: the question, once for every rotation of its options.
        stem: what the answer begins with; empty for none.
        answers: the spelling of each option.
    """

    texts: tuple[str, ...]
    stem: str
    answers: tuple[str, ...]


def closed_wording(
    profile: Profile, task: Task, question: str | None, options: Sequence[str], listed: bool, about: Criterion | None
) -> Wording:
    """Word a closed question.

    Args:
        question: the user's wording, None for the profile's; a training question that asks the same counts as none.
        options: the allowed answers.
        listed: whether the options are those of the question, to be spelled as they are.
        about: the user's own criterion or prompt.
    """
    question = question and question.replace(tasks.SHORT_TAIL, "").strip()  # the profile has its own
    values = {about.kind: about.text} if about else {}
    suffix = f"_{about.kind}" if about else ""
    if task is SCORE:
        text, stem = profile.question(f"score{suffix}", **values)
        return Wording((text,), stem, tuple(profile.levels))
    if task is RATING:
        text, _ = profile.question(f"rating{suffix}", **values)
        own = question is not None and question not in RATINGS
        text = f"{question} Answer with Image A or Image B only." if own else text
        return Wording((text,), "", tuple(options))
    spelled = tuple(options) if listed or task is FAULT else tuple(option.lower() for option in options)
    kind, shown = _kind(task, question, spelled)
    rotations = min(profile.rotations, len(shown))
    steps = [place * len(shown) // rotations for place in range(rotations)]
    turned = [", ".join((*shown[step:], *shown[:step])) for step in steps]
    made = [profile.question(kind, question=question or task.question, options=one) for one in turned]
    return Wording(tuple(dict.fromkeys(text for text, _ in made)), made[0][1], spelled)


def _kind(task: Task, question: str | None, spelled: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The kind of question in a profile, and the options that its text lists."""
    if task is IDENTIFICATION:
        count = tasks.issue_count(question or task.question)
        return "identification" + {1: "_one", 2: "_two", None: ""}[count], tasks.DISTORTIONS
    if task.name != QUESTION.name:
        return task.name, spelled
    lettered = any(len(spellings) > 1 for spellings in tasks.listed_answers(question or "").values())
    return ("question" if lettered else "question_options"), spelled


def open_wording(profile: Profile, task: Task, question: str | None) -> str:
    """Word a question whose answer is free text; a training question of the task counts as none."""
    if question is not None and question not in trained_questions(task):
        return profile.question("question", question=question)[0]
    words = {"distortions": tasks.DISTORTIONS, "grades": tasks.GRADES, "levels": tasks.LEVELS}
    return profile.question(task.name, **{name: ", ".join(some) for name, some in words.items()})[0]


def plain(text: str, special: Sequence[str]) -> str:
    """Remove from a user's text what the tokenizer or this module would take for a control token."""
    tokens = [token for token in (MARK, THINK, THINK_END, *special) if token.strip()]
    while found := [token for token in tokens if token in text]:
        for token in found:
            text = text.replace(token, " ")
    return " ".join(text.split())


def laid_out(profile: Profile, question: str, images: ImageSet) -> tuple[list[tuple[str, RGBImage]], str]:
    """Bring images into the order of a prompt, each with its title, and add to the question what a reference is."""
    titles, reference = profile.titles, images[-1]
    shown: list[tuple[str, RGBImage]] = []
    if reference is not None:
        shown.append((titles[REFERENCE], reference))
        question = profile.reference_note + question
    single = titles["single" if reference is None else "evaluated"]
    shown += zip((titles[A], titles[B]) if len(images) == 3 else (single,), images[:-1])
    return shown, question


class ChatTemplate:
    """Renders questions with the chat template of a model.

    Args:
        processor: the processor of the model.
        profile: titles and system text.
        name: of the model, for messages.

    Attributes:
        special: control tokens, which are removed from users' texts.
        image_token: the text that stands for an image.
        layout: the texts around the images of a question about two images.
        spacing: what separates an answer from the prompt.

    Raises:
        CheckpointError: the template does not place images, or cannot be rendered.
    """

    def __init__(self, processor: Any, profile: Profile, name: str) -> None:
        self.processor, self.profile, self.name = processor, profile, name
        tokenizer = processor.tokenizer
        self.special = sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}, key=len, reverse=True)
        self.image_token = image_token(processor)
        self.layout = tuple(self._rendered([profile.titles[A], profile.titles[B], "Which is better?"]).split(MARK))
        self.spacing = self._spacing()
        if len(self.layout) != 3:
            raise CheckpointError(
                f"model '{name}': its chat template does not place images; give a folder whose template does"
            )

    def prompt(self, question: str, images: ImageSet, stem: str = "", later: Sequence[str] = ()) -> Prompt:
        """Lay out a question about a set of images, with the beginning of its answer.

        Args:
            later: what followed the question before the answer: answers and further questions in turn.
        """
        shown, question = laid_out(self.profile, question, images)
        text = self._rendered([title for title, _ in shown] + [question], later) + (stem and self.spacing + stem)
        return Prompt(tuple(text.split(MARK)), tuple(image for _, image in shown), pair=len(images) == 3)

    def _rendered(self, texts: list[str], later: Sequence[str] = ()) -> str:
        """The whole prompt with ``MARK`` for every image, up to where the answer begins."""
        shown: list[dict[str, str]] = []
        tokenizer = self.processor.tokenizer
        for title in texts[:-1]:
            shown += [{"type": "text", "text": title}] if title else []
            shown.append({"type": "image"})
        content = self.profile.ordered(shown, [{"type": "text", "text": texts[-1]}])
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        for place, text in enumerate(later):
            role = ("assistant", "user")[place % 2]
            messages.append({"role": role, "content": [{"type": "text", "text": text}]})
        if self.profile.system:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": self.profile.system}]})
        try:
            # that of the tokenizer, because those of processors want to know about videos
            text = tokenizer.apply_chat_template(
                messages,
                chat_template=self.processor.chat_template,
                add_generation_prompt=True,
                tokenize=False,
                enable_thinking=False,
            )
        except Exception as error:  # templates raise whatever jinja raises
            raise CheckpointError(
                f"model '{self.name}': its chat template cannot be rendered ({type(error).__name__}); give a folder"
                " whose template takes images and text"
            ) from error
        bos = tokenizer.bos_token
        if bos and not text.startswith(bos) and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
            text = bos + text
        text = text.replace(self.image_token, MARK)
        if text.rfind(THINK) > text.rfind(THINK_END):  # a template without the switch: the answer stands behind it
            text = text.rstrip() + f"\n\n{THINK_END}\n\n"
        return str(text)

    def _spacing(self) -> str:
        """A blank where an answer needs one: not behind white space, nor behind a control token."""
        text = self.layout[-1]
        return "" if text[-1:].isspace() or any(text.endswith(token) for token in self.special) else " "


def image_token(processor: Any) -> str:
    """The text that stands for an image in the rendered template."""
    for name in ("boi_token", "image_token", "fake_image_token"):
        token = getattr(processor, name, None)
        if token:
            return str(token)
    return "<image>"
