"""The commands that judge images: identify, describe, score, rank, compare and map."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..confidence import coverage_notices, reliable, typicality_notices
from ..errors import DepictQAError, ImageError, OutOfMemory
from ..images.image import RGBImage, notices_of
from ..images.image_files import FileImage
from ..images.references import common_size
from ..images.search import left_out_lines
from ..reports import text as reports
from ..reports.checks import check_table
from ..results import Failure
from .arguments import COUNTS
from .inputs import (
    find_images,
    load_with_reference,
    open_judge,
    open_reference,
    progress_bar,
    report_failures,
    skipped,
    without_lost,
)
from .outputs import check_outputs, save_drawing, write_answers


def identify(options: argparse.Namespace) -> int:
    """Run ``depictqa identify``; returns the exit status, as every command does."""
    asked = {"count": COUNTS[options.count]}
    return _judge_each(options, lambda judge, *args, **more: judge.identify(*args, **asked, **more))


def describe(options: argparse.Namespace) -> int:
    """Run ``depictqa describe``."""
    asked = {"question": options.question, "count": COUNTS[options.count]}
    return _judge_each(options, lambda judge, *args, **more: judge.describe(*args, **asked, **more))


def score(options: argparse.Namespace) -> int:
    """Run ``depictqa score``."""
    about = _criterion(options)
    return _judge_each(options, lambda judge, *args, **more: judge.score(*args, **about, **more))


def check(options: argparse.Namespace) -> int:
    """Run ``depictqa check``."""
    asked = {"question": options.question, "answers": options.answers, "accept": options.accept}
    asked["threshold"] = options.threshold
    return _judge_each(
        options,
        lambda judge, pictures, references=None, **more: judge.check(pictures, reference=references, **asked, **more),
    )


def _criterion(options: argparse.Namespace) -> dict[str, str | None]:
    return {"criterion": options.criterion, "prompt": options.prompt}


SHOW_EACH: dict[str, Callable[..., str]] = {
    "check": check_table,
    "identify": reports.identification_table,
    "describe": reports.description_text,
    "score": reports.score_table,
}


def _judge_each(options: argparse.Namespace, ask: Callable[..., Sequence[Any]]) -> int:
    """Run a verb for single images; only a few images are in memory at a time."""
    found = find_images(options)
    names, reference = found.names, open_reference(options)
    results: list[Any] = []  # of one class, with name, confidence and coverage
    failures: list[Failure] = []
    odd: list[str] = []
    stopped: BaseException | None = None
    with progress_bar(options, "images") as bar:
        judge = open_judge(options, bar)
        try:
            bar.total = len(names)
            for pictures, references, unreadable in load_with_reference(names, reference):
                failures += unreadable
                odd += notices_of(pictures)
                bar.offset = len(results) + len(failures)
                try:
                    results += ask(judge, pictures, references, progress=bar)
                except (OutOfMemory, ImageError):  # one is too large or was removed
                    for number, picture in enumerate(pictures):
                        try:
                            results += ask(judge, [picture], references and references[number])
                        except (OutOfMemory, ImageError) as error:
                            failures.append(Failure.of(picture.name, error))
        except (KeyboardInterrupt, DepictQAError) as error:
            if not results:
                raise
            stopped = error  # the finished answers are written first
    report_failures(failures, len(names))
    notices = [*left_out_lines(found.left_out), *judge.notices, *odd, *reference.notices]
    notices += coverage_notices((result.coverage for result in results), judge.backend.low_coverage_remedy)
    typicalities = [getattr(result, "typicality", None) for result in results]  # that of own questions is not known
    notices += typicality_notices(typicalities)
    uncertain = []
    if options.only_reliable:
        certain = [
            reliable(result.confidence, options.min_confidence, result.coverage, typicality)
            for result, typicality in zip(results, typicalities, strict=True)
        ]
        uncertain = [result for result, keep in zip(results, certain) if not keep]
        if uncertain:
            notices.append(f"{len(uncertain)} of {len(results)} left out: confidence below {options.min_confidence:g}")
        results = [result for result, keep in zip(results, certain) if keep]
    shown = partial(SHOW_EACH[options.verb], results)
    rows, left_out = ([result.to_dict() for result in some] for some in (results, uncertain))
    write_answers(options, judge.info, rows, failures, shown, notices, left_out, **skipped(found))
    if stopped:
        raise stopped
    return 3 if failures else 0


def rank(options: argparse.Namespace) -> int:
    """Run ``depictqa rank``."""
    found = find_images(options)
    names, reference = found.names, open_reference(options)
    pictures: list[RGBImage] = []
    references: list[RGBImage] = []
    failures: list[Failure] = []
    with progress_bar(options, "answers") as bar:
        judge = open_judge(options, bar)
        for readable, beside, unreadable in load_with_reference(names, reference):
            bar.note(f"reading the images ... {len(pictures) + len(failures)}/{len(names)}")
            judge.encode(readable, beside)  # while their pixels are in memory
            pictures += readable
            references += beside or []
            failures += unreadable
        report_failures(failures, len(names))
        limits = {"top_k": options.top_k, "budget": options.budget}
        while True:
            try:
                asked = {"method": options.method, **limits, **_criterion(options)}
                ranking = judge.rank(pictures, references or None, **asked, progress=bar)
                break
            except ImageError as error:
                kept = without_lost(error, pictures, failures)
                references = [references[index] for index in kept] if references else []
                pictures = [pictures[index] for index in kept]
    notices = [*left_out_lines(found.left_out), *judge.notices, *notices_of(pictures), *reference.notices]
    notices += coverage_notices([ranking.coverage], judge.backend.low_coverage_remedy)
    unused = [f"--{name.replace('_', '-')}" for name, limit in limits.items() if limit]
    if options.method == "score" and unused:
        notices.append(f"{' and '.join(unused)} works only with --method pairs")
    facts = ranking.to_dict()
    results = facts.pop("pictures")
    shown = partial(reports.ranking_table, ranking)
    write_answers(options, judge.info, results, failures, shown, notices, **skipped(found), **facts)
    if options.sheet:
        from ..reports.sheets import ranking_sheet

        save_drawing(options, ranking_sheet(ranking, pictures), options.sheet)
    return 3 if failures else 0


def compare(options: argparse.Namespace) -> int:
    """Run ``depictqa compare``."""
    check_outputs(options, [options.a, options.b])
    a, b, reference = FileImage(options.a), FileImage(options.b), open_reference(options)
    beside = reference.beside(a, b)
    with progress_bar(options, "answers") as bar:
        judge = open_judge(options, bar)
        result = judge.compare(a, b, beside, explain=options.explain, **_criterion(options), progress=bar)
    shown = partial(reports.comparison_text, result)
    notices = [*judge.notices, *notices_of([a, b]), *reference.notices]
    notices += coverage_notices([result.coverage], judge.backend.low_coverage_remedy)
    notices += typicality_notices([result.typicality])
    write_answers(options, judge.info, [result.to_dict()], [], shown, notices)
    return 0


def map_tiles(options: argparse.Namespace) -> int:
    """Run ``depictqa map``."""
    from ..ranking.quality_map import TILE, cut, grid, quality_map
    from ..reports.heat_map import heat_image

    check_outputs(options, [options.picture])
    picture: RGBImage = FileImage(options.picture)
    reference = open_reference(options)
    notices, whole = notices_of([picture]), reference.beside(picture)
    if whole:
        (picture,), _ = common_size((picture,), whole)
    tiles = grid(picture.height, picture.width, options.tile or TILE)
    beside = None if whole is None else cut(whole, tiles)
    with progress_bar(options, "tiles") as bar:
        judge = open_judge(options, bar)
        scores = judge.score(cut(picture, tiles), beside, progress=bar)
    found = quality_map(picture, tiles, [score.score for score in scores])
    notices += [*judge.notices, *reference.notices]
    notices += coverage_notices((score.coverage for score in scores), judge.backend.low_coverage_remedy)
    if options.tile and tiles.side != options.tile:
        end = "largest" if tiles.side < options.tile else "smallest"
        size = f"{picture.width} x {picture.height}"
        notices.append(f"--tile {options.tile}: tiles of {tiles.side} pixels are used, the {end} for {size}")
    write_answers(options, judge.info, [found.to_dict()], [], lambda *_: reports.map_text(found), notices)
    if options.out:
        save_drawing(options, heat_image(picture, found), options.out)
    return 0
