"""Requests to an OpenAI-compatible endpoint side by side, each answered by a dict or, if it is refused, by an error."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from depictqa_core.errors import ImageError

from ..endpoint import Client, NoAnswer, RequestRejected
from .answers import Source

WORKERS = 8
PATIENCE = 10
"""So many requests in a row without an answer end the work: the endpoint is down."""


def side_by_side(client: Client, ids: list, answer: Callable[[int], dict], workers: int = WORKERS) -> Source:
    """A source of answers that has several requests under way at once.

    A request that the endpoint rejects or does not answer, and a picture that cannot be read, become the ``error`` of
    their answer. An endpoint that is down or cannot be used at all ends the work with its EndpointError, after the
    answers that were under way: they have been paid for.

    Args:
        client: closed when the work ends early, so that no thread waits on.
        ids: the id of every answer.
        answer: index -> the answer, without its id.
    """

    def failed(index: int, error: Exception) -> dict:
        return {"id": ids[index], "text": None, "confidence": None, "error": str(error)}

    def one(index: int) -> dict:
        try:
            return {"id": ids[index], **answer(index)}
        except (RequestRejected, ImageError, OSError) as error:
            return failed(index, error)

    def source(indexes: list[int]) -> Iterator[list[dict]]:
        pool = ThreadPoolExecutor(workers)
        waiting: dict[Future, int] = {pool.submit(one, index): index for index in indexes}
        in_a_row = 0
        try:
            for future in as_completed(list(waiting)):
                index = waiting.pop(future)
                try:
                    row, in_a_row = future.result(), 0
                except NoAnswer as error:
                    in_a_row += 1
                    if in_a_row == PATIENCE:
                        raise
                    row = failed(index, error)
                yield [row]
        except GeneratorExit:
            client.close()
            raise
        except BaseException:
            client.close()
            pool.shutdown(cancel_futures=True)
            yield [f.result() for f in waiting if not f.cancelled() and f.exception() is None]
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    return source
