"""Work on many images: one pool whatever comes, the caller's number of threads untouched, errors and Cancel heard."""

import os
import threading
import time

import pytest
import torch

from depictqa_core.runtime import threads as workers
from depictqa_core.runtime.threads import parallel


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    forget_pools()  # as in a new process
    yield
    torch.set_num_threads(before)
    forget_pools()


def forget_pools():
    for pool in workers._pools:
        pool.shutdown()  # waits for its threads, which would be counted otherwise
    workers._pools.clear()


def nothing(result):
    pass


def in_new_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_results_come_in_order_and_in_inference_mode(four_threads):
    def work(item):
        time.sleep(0.001 * (item % 3))
        return item, torch.is_inference_mode_enabled()

    assert parallel(work, range(20), nothing) == [(item, True) for item in range(20)]


def test_one_bounded_pool_for_batches_of_all_sizes(four_threads):
    before = threading.active_count()
    for size in [*range(2, 40), 3, 200]:
        assert parallel(lambda item: item, range(size), nothing) == [*range(size)]
    assert threading.active_count() - before == 4


def test_no_more_at_once_than_torch_may_use_now(four_threads):
    parallel(lambda item: item, range(4), nothing)
    torch.set_num_threads(2)  # another package lowers the number
    running, most, lock = 0, 0, threading.Lock()

    def work(item):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    parallel(work, range(12), nothing)
    assert most == 2


def test_the_numbers_of_other_threads_stay(four_threads):
    computing = parallel(lambda item: torch.get_num_threads(), range(8), nothing)
    assert computing == [1] * 8
    assert torch.get_num_threads() == 4 and in_new_thread(torch.get_num_threads) == 4


def test_callers_in_many_threads_share_the_pool(four_threads):
    before, found = threading.active_count(), []
    callers = [
        threading.Thread(target=lambda k=k: found.append(parallel(lambda item: item + k, range(9), nothing)))
        for k in range(6)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(found) == [[item + k for item in range(9)] for k in range(6)]
    assert threading.active_count() - before == 4


@pytest.mark.parametrize("where", ["work", "check"])
def test_an_error_stops_the_rest_and_leaves_nothing_running(four_threads, where):
    begun, done = [], []

    def work(item):
        begun.append(item)
        time.sleep(0.005)
        if where == "work" and item == 3:
            raise KeyError("three")
        done.append(item)

    def check(result):
        if where == "check" and len(done) >= 3:
            raise KeyError("cancel")

    with pytest.raises(KeyError):
        parallel(work, range(100), check)
    count = len(begun)
    assert count < 20
    time.sleep(0.02)
    assert len(begun) == count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_process_has_a_pool_of_its_own(four_threads):
    parallel(lambda item: item, range(4), nothing)
    child = os.fork()
    if child == 0:
        os._exit(0 if parallel(lambda item: item, range(8), nothing) == [*range(8)] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
