"""Small videos of grey frames, written by PyAV."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_video(target: Path | io.BytesIO, shades: Sequence[float], rate: int = 10, size=(64, 48)) -> None:
    """Write frames of one brightness each (0 to 100), lossless: an .mkv in which levels stay as they are."""
    import av

    with av.open(target if isinstance(target, io.BytesIO) else str(target), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "bgr0"
        for shade in shades:
            levels = np.full((size[1], size[0], 3), round(2.55 * shade), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="rgb24")))
        container.mux(stream.encode(None))
