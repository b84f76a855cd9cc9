"""Dynamic batching and back-pressure without HTTP."""

import threading

import pytest

from depictqa_core.errors import TaskError
from depictqa_core.serving.admission import Admission
from depictqa_core.serving.limits import Limits, RequestError
from depictqa_core.serving.worker import Job, Worker


class Judge:
    """Doubles numbers; negative ones fail. The first batch waits for ``go``."""

    def __init__(self):
        self.batches = []
        self.go, self.begun = threading.Event(), threading.Event()

    def __call__(self, items, progress):
        self.batches.append(list(items))
        self.begun.set()
        assert self.go.wait(20)
        progress(0, len(items))
        if any(item < 0 for item in items):
            raise TaskError("negative")
        return [2 * item for item in items]


@pytest.fixture
def judge():
    return Judge()


@pytest.fixture
def worker():
    made = Worker(batch=4, wait=0.0)
    yield made
    made.close(20)


def submit(worker, judge, items, key="a"):
    return worker.submit(Job(key, items, judge))


def occupied(worker, judge):
    """A worker that answers 0 until ``judge.go``: what is submitted meanwhile waits."""
    first = submit(worker, judge, [0])
    assert judge.begun.wait(20)
    return first


def test_equal_questions_of_several_clients_are_one_batch(worker, judge):
    first = occupied(worker, judge)
    others = [submit(worker, judge, [1]), submit(worker, judge, [9], key="b"), submit(worker, judge, [2, 3])]
    judge.go.set()
    assert first.result(20) == [0] and [other.result(20) for other in others] == [[2], [18], [4, 6]]
    assert judge.batches == [[0], [1, 2, 3], [9]]


def test_a_large_request_lets_others_pass_after_each_batch(worker, judge):
    occupied(worker, judge)
    large, small = submit(worker, judge, range(1, 11)), submit(worker, judge, [50], key="b")
    judge.go.set()
    assert large.result(20) == list(range(2, 21, 2)) and small.result(20) == [100]
    assert judge.batches == [[0], [1, 2, 3, 4], [50], [5, 6, 7, 8], [9, 10]]


def test_an_item_that_fails_fails_alone(worker, judge):
    occupied(worker, judge)
    good, mixed = submit(worker, judge, [1]), submit(worker, judge, [-1, 2])
    judge.go.set()
    assert good.result(20) == [2]
    failed, answered = mixed.result(20)
    assert isinstance(failed, TaskError) and answered == 4


def test_what_nobody_waits_for_is_not_judged(worker, judge):
    first = occupied(worker, judge)
    waiting, wanted = submit(worker, judge, [1]), submit(worker, judge, [2])
    assert waiting.cancel() and first.cancel()
    judge.go.set()
    assert wanted.result(20) == [4]
    assert judge.batches == [[0], [2]]


def test_a_closed_worker_answers_what_waits_and_takes_no_more(judge):
    worker = Worker(batch=4, wait=10.0)  # closing does not wait for more of a batch
    waiting = submit(worker, judge, [1])
    judge.go.set()
    worker.close(20)
    assert waiting.result(0) == [2] and not worker.ready
    with pytest.raises(RequestError) as refused:
        submit(worker, judge, [2])
    assert refused.value.status == 503 and refused.value.retry_after


def test_an_incomplete_batch_waits_for_others(judge):
    worker = Worker(batch=2, wait=20.0)
    judge.go.set()
    answers = [submit(worker, judge, [1]), submit(worker, judge, [2])]
    assert [one.result(10) for one in answers] == [[2], [4]] and judge.batches == [[1, 2]]
    worker.close(20)


def test_admission_is_bounded_in_images_and_pixels():
    admission = Admission(Limits(waiting_images=4, waiting_pixels=100), lambda: 3.0)
    with admission.admitted(3, 50):
        for images, pixels in ((2, 10), (1, 60)):
            with pytest.raises(RequestError) as full, admission.admitted(images, pixels):
                pass
            assert full.value.status == 429 and full.value.retry_after == 5  # half of 3 images of 3 s
        with admission.admitted(1, 50):
            assert (admission.images, admission.pixels) == (4, 100)
    assert (admission.images, admission.pixels) == (0, 0)
    with pytest.raises(RequestError) as never, admission.admitted(1, 101):
        pass
    assert never.value.status == 413 and never.value.retry_after is None
