"""Small studies for tests: images on the disk, a plan, and people who vote as they are told."""

import random

import numpy as np
from PIL import Image

from depictqa_core.study.design import DAMAGED, PAIR, design_pairs
from depictqa_core.study.images import collect_images
from depictqa_core.study.session import Session
from depictqa_core.study.votes import EQUAL, LEFT, RIGHT, Plan, read_record, write_plan

RULES = {"per_person": 100, "checks": 6, "both_orders": False, "ties": True, "seed": 0}


def noisy(path, level, size=(60, 40), seed=0):
    """Write an image with noise of this deviation."""
    width, height = size
    noise = np.random.default_rng(seed).normal(0, level, (height, width, 3))
    ramp = np.broadcast_to(np.linspace(60, 190, width)[None, :, None], (height, width, 3))
    Image.fromarray(np.clip(ramp + noise, 0, 255).astype(np.uint8)).save(path)


def folder_of(path, names):
    """Write a folder of images, each noisier than the one before it."""
    path.mkdir()
    for number, name in enumerate(names):
        noisy(path / name, 4 + 12 * number, seed=number)
    return path


def plan_of(folders, votes, reference=None, **rules):
    found = collect_images(list(map(str, folders)), votes, reference and str(reference))
    return Plan("Which is better?", found.images, found.references, tuple(design_pairs(found.groups)), **RULES | rules)


def started(path, plan):
    """Begin a study, or resume it."""
    if not path.exists():
        write_plan(path, plan)
    return Session(path, read_record(path))


def answer(trial, better=None):
    """What a careful person answers: the image with the smaller index is better."""
    if trial.kind == PAIR:
        first, second = (trial.left, trial.right) if better is None else (better(trial.left), better(trial.right))
        return EQUAL if first == second else LEFT if first < second else RIGHT
    return (RIGHT if trial.damaged == LEFT else LEFT) if trial.kind == DAMAGED else EQUAL


def take_part(session, name, choose=answer, count=None):
    """Let one person answer, up to ``count`` comparisons."""
    person = session.enter(name)
    for number, trial in list(enumerate(session.trials(person)))[:count]:
        session.vote(person, number, choose(trial), 0, 2.0)
    return person


def careless(seed):
    """A person who does not look."""
    chance = random.Random(seed)
    return lambda trial: chance.choice([LEFT, RIGHT])
