"""Which pairs a study has: balanced and connected, and what people are shown of them."""

from collections import Counter
from itertools import combinations

import pytest

from depictqa_core.errors import TaskError
from depictqa_core.study.design import DAMAGED, IDENTICAL, PAIR, design_pairs, trials_of


def degrees(pairs):
    return Counter(image for pair in pairs for image in pair)


def connected(n, pairs):
    reached, new = {pairs[0][0]}, True
    while new:
        new = {image for pair in pairs if reached & set(pair) for image in pair} - reached
        reached |= new
    return len(reached) == n


@pytest.mark.parametrize("n", [2, 3, 7, 8, 17])
def test_few_images_are_compared_in_all_pairs(n):
    pairs = design_pairs([range(n)])
    assert sorted(tuple(sorted(pair)) for pair in pairs) == list(combinations(range(n), 2))
    left = Counter(pair[0] for pair in pairs)
    assert all(abs(2 * left[image] - (n - 1)) <= 1 for image in range(n))


@pytest.mark.parametrize(("n", "most"), [(40, 100), (41, 41), (200, None), (30, 434)])
def test_a_budget_compares_every_image_equally_often(n, most):
    pairs = design_pairs([range(n)], most, seed=3)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) <= (most or 4 * n)
    assert len(set(degrees(pairs).values())) == 1 and len(degrees(pairs)) == n and connected(n, pairs)
    assert pairs == design_pairs([range(n)], most, seed=3) != design_pairs([range(n)], most, seed=4)


def test_images_of_different_groups_are_never_compared():
    groups = [[0, 1, 2], [3, 4], [5], [6, 7, 8, 9]]
    pairs = design_pairs(groups)
    assert {frozenset(pair) for pair in pairs} == {frozenset(p) for group in groups for p in combinations(group, 2)}
    for budget, problem in ((7, "8 pairs are needed"),):
        with pytest.raises(TaskError, match=problem):
            design_pairs(groups, budget)
    with pytest.raises(TaskError, match="nothing to compare"):
        design_pairs([[0], [1]])


def shown_to(people, pairs, **options):
    asked = {"per_person": 10, "checks": 0, **options}
    return [trials_of(person, pairs, 12, **asked) for person in range(people)]


@pytest.mark.parametrize("per_person", [10, 66, 100])
def test_people_together_see_all_pairs_equally_often_and_in_both_orders(per_person):
    pairs = design_pairs([range(12)])
    people = 2 * len(pairs) // min(per_person, len(pairs)) + 1
    sessions = shown_to(people, pairs, per_person=per_person)
    assert all(len(set(session)) == len(session) == min(per_person, len(pairs)) for session in sessions)
    counts = Counter((one.left, one.right) for session in sessions for one in session)
    both = Counter({frozenset(pair): counts[pair] + counts[pair[::-1]] for pair in pairs})
    assert max(both.values()) - min(both.values()) <= 1
    assert all(abs(counts[pair] - counts[pair[::-1]]) <= 1 for pair in pairs)
    first = degrees((one.left, one.right) for one in sessions[0])
    assert max(first.values()) - min(first.get(image, 0) for image in range(12)) <= 2


def test_one_person_can_see_both_orders():
    pairs = design_pairs([range(4)])
    (session,) = shown_to(1, pairs, per_person=100, both_orders=True)
    counts = Counter((one.left, one.right) for one in session)
    assert set(counts.values()) == {1} and len(counts) == 12
    assert {frozenset((one.left, one.right)) for one in session[:6]} == {frozenset(pair) for pair in pairs}


@pytest.mark.parametrize("ties", [True, False])
def test_checks_are_spread_and_differ_between_people(ties):
    pairs = design_pairs([range(12)])
    sessions = shown_to(40, pairs, per_person=60, checks=6, ties=ties)
    for session in sessions:
        places = [place for place, one in enumerate(session) if one.kind != PAIR]
        assert len(session) == 66 and len(places) == 6
        assert all(11 * number <= place <= 11 * number + 11 for number, place in enumerate(places))
        kinds = Counter(one.kind for one in session)
        assert kinds[IDENTICAL] == (2 if ties else 0) and kinds[DAMAGED] == 6 - kinds[IDENTICAL]
        assert all((one.damaged is not None) == (one.kind == DAMAGED) for one in session)
    sides = Counter(one.damaged for session in sessions for one in session)
    assert min(sides["left"], sides["right"]) > 50
    assert sessions[0] == shown_to(1, pairs, per_person=60, checks=6, ties=ties)[0] != sessions[1]


def test_more_checks_than_pairs():
    (session,) = shown_to(1, [(0, 1)], checks=5)
    assert [one.kind for one in session].count(PAIR) == 1 and len(session) == 6
