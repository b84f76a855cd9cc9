"""Requests to an OpenAI-compatible endpoint side by side, each answered by a dict or, if it is refused, by an error."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from depictqa_core.errors import ImageError

from ..endpoint import Client, RequestRejected
from .answers import Source

WORKERS = 8


def side_by_side(client: Client, ids: list, answer: Callable[[int], dict], workers: int = WORKERS) -> Source:
    """A source of answers that has several requests under way at once.

    A request that the endpoint rejects, and a picture that cannot be read, become the ``error`` of their answer. An
    endpoint that cannot be used at all ends the work with its EndpointError; what was answered is kept.

    Args:
        client: closed when the work ends early, so that no thread waits on.
        ids: the id of every answer.
        answer: index -> the answer, without its id.
    """

    def one(index: int) -> dict:
        try:
            return {"id": ids[index], **answer(index)}
        except (RequestRejected, ImageError, OSError) as error:
            return {"id": ids[index], "text": None, "confidence": None, "error": str(error)}

    def source(indexes: list[int]) -> Iterator[list[dict]]:
        with ThreadPoolExecutor(workers) as pool:
            under_way = [pool.submit(one, index) for index in indexes]
            try:
                for done in as_completed(under_way):
                    yield [done.result()]
            except BaseException:
                for waiting in under_way:
                    waiting.cancel()
                client.close()
                raise

    return source
