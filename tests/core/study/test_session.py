"""What people are shown, how votes are stored, and what a study reads back after it was killed."""

import json

import pytest
from core.study.studies import answer, folder_of, noisy, plan_of, started, take_part

from depictqa_core.errors import ImageError, StorageError, TaskError
from depictqa_core.study.images import collect_images, damaged, open_image
from depictqa_core.study.session import Session, require_resumable
from depictqa_core.study.votes import EQUAL, LEFT, RIGHT, read_record, require_same, write_plan

NAMES = ["a.png", "b.png", "c.png", "d.png"]


@pytest.fixture
def plan(tmp_path):
    return plan_of([folder_of(tmp_path / "pics", NAMES)], tmp_path / "votes.jsonl")


@pytest.fixture
def votes(tmp_path):
    return tmp_path / "votes.jsonl"


def test_a_study_is_read_back_as_it_was(plan, votes):
    session = started(votes, plan)
    anna, ben = take_part(session, "Anna"), take_part(session, "Ben", count=3)
    record = read_record(votes)
    assert record.plan == plan and record.people == ["Anna", "Ben"] and record.torn == 0
    assert [len([v for v in record.votes if v.person == person]) for person in (anna, ben)] == [12, 3]
    for vote in record.votes:
        trial = session.trials(vote.person)[vote.trial]
        assert (vote.left, vote.right, vote.kind, vote.damaged) == (trial.left, trial.right, trial.kind, trial.damaged)
        assert vote.choice == answer(trial) and vote.seconds == 2.0
    require_resumable(record, votes)
    resumed = Session(votes, record)
    assert resumed.enter(" Ben ") == ben and resumed.state(ben)["trial"] == 3
    assert resumed.state(anna)["trial"] is None and resumed.state(anna)["done"] == 12


def test_a_repeated_request_is_stored_once_and_an_answer_can_be_changed(plan, votes):
    session = started(votes, plan)
    person = session.enter("Anna")
    for _ in range(3):
        session.vote(person, 0, LEFT, 0)
    session.vote(person, 1, RIGHT, 0)
    assert len(votes.read_text().splitlines()) == 4
    assert session.state(person, 0) | {"trial": 0, "choice": LEFT, "revision": 1} == session.state(person, 0)
    session.vote(person, 0, EQUAL, 1)
    session.vote(person, 0, LEFT, 0)  # late repeats of both requests
    session.vote(person, 0, EQUAL, 1)
    found = {vote.trial: (vote.choice, vote.revision) for vote in read_record(votes).votes}
    assert found == {0: (EQUAL, 1), 1: (RIGHT, 0)} and len(votes.read_text().splitlines()) == 5


def test_answers_that_are_not_possible(plan, votes):
    session = started(votes, plan)
    person = session.enter("Anna")
    session.vote(person, 0, LEFT, 0)
    for arguments in ((2, LEFT, 0), (-1, LEFT, 0), (1, "up", 0), (0, LEFT, 2), (10**6, LEFT, 0)):
        with pytest.raises(TaskError):
            session.vote(person, *arguments)
    for revision in range(1, 6):
        session.vote(person, 0, LEFT, revision)
    with pytest.raises(TaskError, match="no longer"):
        session.vote(person, 0, LEFT, 6)
    for name in ("", "  ", "x" * 61, "\ud800"):
        with pytest.raises(TaskError, match="1 to 60"):
            session.enter(name)
    forced = started(votes.with_name("forced.jsonl"), plan_of([votes.with_name("pics")], votes, ties=False))
    with pytest.raises(TaskError, match="'equal' is not an answer"):
        forced.vote(forced.enter("Anna"), 0, EQUAL, 0)
    assert len(read_record(votes).votes) == 1


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_was_never_finished_loses_nothing_else(plan, votes, cut):
    session = started(votes, plan)
    take_part(session, "Anna", count=4)
    content = votes.read_bytes()
    votes.write_bytes(content[: -1 - cut])  # as after kill -9 in the middle of the last write
    record = read_record(votes)
    assert (record.torn, len(record.votes)) == (1, 3)
    resumed = Session(votes, record)
    person = resumed.enter("Anna")
    assert resumed.state(person)["trial"] == 3
    resumed.vote(person, 3, LEFT, 0)
    resumed.vote(person, 4, RIGHT, 0)
    record = read_record(votes)
    assert (record.torn, [vote.trial for vote in record.votes]) == (1, [0, 1, 2, 3, 4])


def test_a_full_disk_changes_nothing(plan, votes, monkeypatch):
    session = started(votes, plan)
    person = session.enter("Anna")

    def full(*_):
        raise StorageError("votes.jsonl: cannot be written (No space left on device); check the disk")

    with monkeypatch.context() as patch:
        patch.setattr("depictqa_core.study.votes.append_jsonl", full)
        with pytest.raises(StorageError):
            session.vote(person, 0, LEFT, 0)
        with pytest.raises(StorageError):
            session.enter("Ben")
    assert session.state(person)["trial"] == 0 and read_record(votes).people == ["Anna"]
    session.vote(person, 0, RIGHT, 0)
    assert session.enter("Ben") == 1 and [vote.choice for vote in read_record(votes).votes] == [RIGHT]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda line: line.replace('"depictqa_study": 1', '"depictqa_study": 2'), "is not the file of a study"),
        (lambda line: "[" * 10_000, "is not the file of a study"),
        (lambda line: line.replace('"per_person": 100', '"per_person": "x"'), "per_person is 'x'"),
        (lambda line: line.replace('"pairs": [[', '"pairs": [[99, 1], ['), "names an image that the study does not"),
        (lambda line: line + '\n{"person": 3, "trial": 0}', "line 2: has no revision"),
        (lambda line: line + '\n{"number": 3, "name": "x", "time": "now"}', "person 3 is not the next one"),
    ],
)
def test_files_that_are_damaged_otherwise(plan, votes, change, words):
    write_plan(votes, plan)
    votes.write_text(change(votes.read_text().rstrip("\n")))
    with pytest.raises(StorageError, match=words):
        read_record(votes)


def test_a_study_is_resumed_with_the_same_images_and_rules_only(plan, votes, tmp_path):
    write_plan(votes, plan)
    require_same(read_record(votes).plan, plan_of([tmp_path / "pics"], votes), votes)
    with pytest.raises(StorageError, match="other seed and checks|other checks and seed"):
        require_same(plan, plan_of([tmp_path / "pics"], votes, seed=1, checks=2), votes)
    noisy(tmp_path / "pics" / "b.png", 99)
    with pytest.raises(StorageError, match="other images"):
        require_same(plan, plan_of([tmp_path / "pics"], votes), votes)
    with pytest.raises(ImageError, match="was changed since the study began"):
        open_image(plan.images[1], votes)


def test_votes_of_another_layout_are_refused(plan, votes):
    take_part(started(votes, plan), "Anna", count=2)
    lines = votes.read_text().splitlines()
    moved = json.loads(lines[-1]) | {"trial": 5}
    votes.write_text("\n".join([*lines[:-1], json.dumps(moved)]))
    with pytest.raises(StorageError, match="laid out its trials in another way"):
        require_resumable(read_record(votes), votes)


# ---------------------------------------------------------------------- images


def test_folders_are_compared_by_file_name_with_their_references(tmp_path, votes):
    one = folder_of(tmp_path / "one", ["a.png", "b.png", "c.png"])
    two = folder_of(tmp_path / "two", ["B.png", "a.png", "only.png"])
    originals = folder_of(tmp_path / "originals", ["a.jpg", "b.jpg"])
    found = collect_images([str(one), str(two)], votes, str(originals))
    compared = [[found.images[index] for index in group] for group in found.groups]
    assert [[image.path for image in group] for group in compared] == [
        ["one/a.png", "two/a.png"],
        ["one/b.png", "two/B.png"],
    ]
    assert [found.references[group[0].reference].path for group in compared] == ["originals/a.jpg", "originals/b.jpg"]
    assert [image.label for image in compared[0]] == [str(one), str(two)]
    assert any("c.png: left out" in line for line in found.notices)


def test_unreadable_and_equal_images_are_left_out(tmp_path, votes):
    pics = folder_of(tmp_path / "pics", NAMES)
    (pics / "same.png").write_bytes((pics / "a.png").read_bytes())
    (pics / "bad.png").write_bytes((pics / "b.png").read_bytes()[:200])
    found = collect_images([str(pics)], votes)
    assert [image.name for image in found.images] == NAMES
    assert [failure.picture for failure in found.failures] == [str(pics / "bad.png")]
    assert found.notices == ("same.png: left out, because it has the pixels of a.png",)
    with pytest.raises(TaskError, match="several"):
        collect_images([str(pics)], votes, str(pics))


def test_a_name_that_is_not_utf8_is_refused(tmp_path, votes):
    pics = folder_of(tmp_path / "pics", NAMES[:2])
    (pics / "a.png").rename(pics / "\udcff.png")
    with pytest.raises(StorageError, match="not UTF-8; rename it"):
        write_plan(votes, plan_of([pics], votes))
    assert not votes.exists()


def test_the_damaged_copy_is_obviously_worse_and_always_the_same(plan, votes):
    rgb = open_image(plan.images[0], votes).rgb
    bad = damaged(rgb)
    assert bad.shape == rgb.shape and (bad == damaged(rgb)).all()
    assert ((bad.astype(float) - rgb) ** 2).mean() > 900  # below 19 dB
    assert damaged(rgb[:1, :1]).shape == (1, 1, 3)
