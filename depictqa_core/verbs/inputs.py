"""What users give: images, references and questions, checked and brought together."""

from collections.abc import Sequence

from .. import questions, tasks
from ..backends.base import Backend, Criterion, ImageSet, PairSet, SingleSet
from ..errors import TaskError
from ..images.image import ImageLike, ImagesLike, RGBImage, as_image, as_images
from ..images.references import common_size
from ..prompts import REFERENCE, A, B
from ..tasks import RATING, Task


def images_with_references(
    images: ImagesLike, reference: ImagesLike | None
) -> tuple[list[RGBImage], list[RGBImage | None]]:
    """Check images and their references, one for all or one each, and bring them to common sizes."""
    judged = as_images(images)
    if reference is None:
        return judged, [None] * len(judged)
    references = as_images(reference, "reference")
    if len(references) == 1:
        references = references * len(judged)
    if len(references) != len(judged):
        raise TaskError(
            f"{len(references)} references for {len(judged)} images: give one for all, or one for each image"
        )
    image_sets = fitted([((image,), reference) for image, reference in zip(judged, references)])
    return [image for (image,), _ in image_sets], [reference for _, reference in image_sets]


def single_sets(images: ImagesLike, reference: ImagesLike | None) -> list[SingleSet]:
    """Return ``images_with_references`` as sets (image, reference)."""
    return list(zip(*images_with_references(images, reference)))


def pairs_with_references(
    pairs: Sequence[tuple[ImageLike, ImageLike]], references: Sequence[ImageLike | None] | None
) -> list[PairSet]:
    """Check pairs (A, B) and their references, None or one for each pair, and bring them to common sizes."""
    try:
        given, originals = [(a, b) for a, b in pairs], [] if references is None else list(references)
    except (TypeError, ValueError):
        raise TaskError("pairs and references: give a list of pairs (A, B), and a list of references") from None
    judged = [(as_image(a, "image A"), as_image(b, "image B")) for a, b in given]
    originals = originals or [None] * len(judged)
    if len(originals) != len(judged):
        raise TaskError(f"{len(originals)} references for {len(judged)} pairs: give one for each pair, or none")
    checked = [None if r is None else as_image(r, "reference") for r in originals]
    return [(a, b, reference) for (a, b), reference in fitted(list(zip(judged, checked)))]


def sets_by_role(picture_roles: Sequence[dict[str, RGBImage]], task: Task) -> list[ImageSet]:
    """Check sets of images by role, and bring them into the order (A, reference) or (A, B, reference).

    Raises:
        TaskError: they are no sets by role, or an image that the task needs is missing.
    """
    if not isinstance(picture_roles, (list, tuple)) or not all(isinstance(one, dict) for one in picture_roles):
        raise TaskError("picture_roles: give a list of sets of images, each a dict by role")
    wanted = (A, B) if task.pair else (A,)
    if not all(role in roles for roles in picture_roles for role in wanted):
        raise TaskError(
            f"picture_roles: a set lacks an image; the task {task.name} needs {' and '.join(wanted)} in each"
        )
    if task.pair:
        return [(roles[A], roles[B], roles.get(REFERENCE)) for roles in picture_roles]
    return [(roles[A], roles.get(REFERENCE)) for roles in picture_roles]


def fitted(
    asked: Sequence[tuple[tuple[RGBImage, ...], RGBImage | None]],
) -> list[tuple[tuple[RGBImage, ...], RGBImage | None]]:
    """Bring images and their references to common sizes."""
    return [(judged, None) if reference is None else common_size(judged, reference) for judged, reference in asked]


def criterion(criterion: str | None, prompt: str | None, backend: Backend) -> Criterion | None:
    """Return what images are judged by in place of their quality, None for quality.

    Raises:
        TaskError: both are given, or the backend does not support them.
    """
    given = [Criterion(kind, text.strip()) for kind, text in (("criterion", criterion), ("prompt", prompt)) if text]
    given = [one for one in given if one.text]
    if len(given) > 1:
        raise TaskError("criterion and prompt: give one of them, since each is a judgement of its own")
    about = given[0] if given else None
    backend.require_criterion(about)
    return about


def require_known(question: str, task: Task, backend: Backend) -> None:
    """Raise TaskError if the backend does not support a question of a task (``questions.require_trained``)."""
    if not backend.capabilities.free_questions:
        questions.require_trained(question, task, backend.name)


def worded(question: str | None, task: Task, backend: Backend) -> str | None:
    """Return the user's wording of a question, None for none.

    Raises:
        TaskError: the backend does not support it.
    """
    question = (question or "").strip() or None
    if question:
        require_known(question, task, backend)
    if question and task is RATING:
        if tasks.task_of(task.ask(question), True) is not RATING:
            raise TaskError(
                f"question '{question}': it cannot be answered by Image A or Image B; ask which of the two is better"
            )
        questions.require_better(question)
    return question
