"""The command leaderboard: models compared by the images in their folders."""

import argparse
import os
from dataclasses import replace
from functools import partial

from ..confidence import coverage_notices
from ..errors import DepictQAError, ImageError, NothingToCompare, TaskError
from ..images.equal_names import equal_names
from ..images.image import RGBImage, notices_of
from ..images.image_files import load_images
from ..images.search import Found, LeftOut, left_out_lines, search
from ..reports import text as reports
from ..results import Failure
from .inputs import open_judge, progress_bar, report_failures, skipped, without_lost
from .outputs import check_outputs, save_drawing, write_answers


def compare_models(options: argparse.Namespace) -> int:
    """Run ``depictqa leaderboard``; returns the exit status."""
    from ..ranking.leaderboard import fair_pairs, leaderboard, unpaired

    found, left_out = _of_models(options.folders)
    check_outputs(options, list(found))
    pictures: list[RGBImage] = []
    failures: list[Failure] = []
    for readable, unreadable in load_images(found):
        pictures += readable
        failures += unreadable
    report_failures(failures, len(found))
    with progress_bar(options, "answers") as bar:
        judge = None
        while True:
            labels = [found[picture.name] for picture in pictures]
            if len(set(labels)) < 2:
                raise DepictQAError(f"only {labels[0]} has images: give at least two folders, one for each model")
            groups, twins = equal_names(labels, [os.path.basename(picture.name) for picture in pictures])
            named = {index: group for index, group in enumerate(groups) if group is not None}
            places = list(named)
            try:
                pairs = fair_pairs([labels[index] for index in places], list(named.values()))
            except (NothingToCompare, TaskError):
                raise DepictQAError(
                    "no file name occurs in two of the folders, so there is nothing to compare"
                ) from None
            pairs = [replace(pair, a=places[pair.a], b=places[pair.b]) for pair in pairs]
            judge = judge or open_judge(options, bar)
            try:
                answers = judge.compare_many([(pictures[pair.a], pictures[pair.b]) for pair in pairs], progress=bar)
                break
            except ImageError as error:
                pictures = [pictures[index] for index in without_lost(error, pictures, failures)]
    left_out += twins
    calibration = judge.backend.calibration.order(False)
    board = leaderboard(labels, pairs, answers, calibration=calibration)
    alone = [pictures[index] for index in unpaired(len(pictures), pairs) if groups[index] is not None]
    notices = [*left_out_lines(left_out), *judge.notices, *notices_of(pictures)]
    notices += coverage_notices((answer.coverage for answer in answers), judge.backend.low_coverage_remedy)
    for label in dict.fromkeys(labels):
        names = [os.path.basename(picture.name) for picture in alone if found[picture.name] == label]
        if names:
            listed = f"{', '.join(names)} (no other folder has a readable image of this name)"
            notices.append(f"{label}: {'no rank, ' * (label in board.uncompared)}not compared: {listed}")
    unread = dict.fromkeys(label for label in found.values() if label not in labels)
    notices += [f"{label}: not compared, because none of its images could be read" for label in unread]
    facts = board.to_dict()
    standings = facts.pop("standings")
    shown = partial(reports.leaderboard_table, board)
    facts |= skipped(Found((), tuple(left_out)))
    write_answers(options, judge.info, standings, failures, lambda width, _: shown(width), notices, **facts)
    if options.chart:
        from ..reports.charts import leaderboard_chart

        save_drawing(options, leaderboard_chart(board), options.chart)
    return 3 if failures else 0


def _of_models(folders: list[str]) -> tuple[dict[str, str], list[LeftOut]]:
    """Find the image files of a leaderboard: file -> label (its folder as given), and the files left out."""
    found: dict[str, str] = {}
    left_out: list[LeftOut] = []
    known: dict[str, str] = {}
    for folder in folders:
        label = folder.rstrip("/\\") or folder
        if not os.path.isdir(folder):
            raise ImageError(f"{folder}: is not a folder; give the folder with the images of one model")
        first = known.setdefault(os.path.realpath(folder), label)
        if first is not label:
            left_out.append(LeftOut(label, f"is the same folder as {first}"))
            continue
        inside = search([folder])
        found |= dict.fromkeys(inside.names, label)
        left_out += inside.left_out
    return found, left_out
