"""What the server accepts, and the error of a request that it does not answer."""

from dataclasses import dataclass

from ..errors import DepictQAError, ImageError, OutOfMemory, TaskError


@dataclass(frozen=True)
class Limits:
    """What one request, and all requests together, may take.

    Attributes:
        body: bytes of the body of a request.
        bodies: bytes of all bodies that are being received.
        body_seconds: time for receiving a body.
        images: number of images of a request, references apart.
        image_pixels: pixels (height times width) of one image.
        waiting_images: images of all requests that wait or are being judged.
        waiting_pixels: their pixels, references included; 3 bytes of memory each.
        batch: images that are judged together.
        wait: seconds for which the first request of a batch waits for others.
    """

    body: int = 64 * 2**20
    bodies: int = 512 * 2**20
    body_seconds: float = 60.0
    images: int = 64
    image_pixels: int = 40_000_000
    waiting_images: int = 256
    waiting_pixels: int = 200_000_000
    batch: int = 32
    wait: float = 0.005


class RequestError(DepictQAError):
    """A request that is not answered.

    Args:
        message: one line for the client.
        status: of the response.
        retry_after: seconds after which the same request may be answered; None if it never will be.
    """

    def __init__(self, message: str, status: int = 400, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


def status_of(error: DepictQAError) -> int:
    """Return the status of a response for an error of the judge: 400 where the request caused it, else 500."""
    if isinstance(error, RequestError):
        return error.status
    return 400 if isinstance(error, (TaskError, ImageError, OutOfMemory)) else 500
