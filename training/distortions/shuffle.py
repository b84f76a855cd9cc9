"""The local shuffle under `blur_glass` and `blur_jitter`: an exact, vectorised form of a sequential pixel copy."""

import numpy as np


def local_shuffle(image: np.ndarray, shift: int, passes: int, rng: np.random.Generator) -> np.ndarray:
    """Replace pixels by near neighbours, as this sequential loop does (method.md 5.2):

        for h in range(H - shift, shift, -1):
            for w in range(W - shift, shift, -1):
                dy, dx = two integers from -shift .. shift - 1
                image[h, w] = image[h + dy, w + dx]      # the *current* value: a copy, not a swap

    Args:
        image: [H, W, C], any dtype; not written to.
        shift: the largest distance d in pixels; H and W must exceed 2 d.
        passes: how often the loop is run, each on the result of the one before.

    Returns:
        A new array of the same shape and dtype.
    """
    height, width, channels = image.shape
    pixels = image.reshape(-1, channels)
    for _ in range(passes):
        size = (height - 2 * shift, width - 2 * shift)
        dy, dx = rng.integers(-shift, shift, size=(2, *size), dtype=np.int32)
        pixels = pixels[resolve(height, width, shift, dy, dx)]
    return pixels.reshape(image.shape)


def resolve(height: int, width: int, shift: int, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """For every pixel, the flat index of the original pixel that it holds after one pass of the loop.

    A pixel takes what its source holds *now*: the source's final value if the loop has been there (it runs from the
    last pixel to the first, so: if the source lies later in raster order), else the source's original value. The first
    kind of step makes chains. They are followed for all pixels at once by pointer doubling; a step continues its chain
    with a probability below 1/2, so a few rounds are enough.

    Args:
        dy, dx: int32 [H - 2 shift, W - 2 shift], offset of the source of pixel (shift + 1 + row, shift + 1 + column).

    Returns:
        intp [H * W].
    """
    count = height * width
    # Node p < count is pixel p's final value; node count + p is its original value, where every chain ends.
    parent = np.arange(count, 2 * count, dtype=np.int32).reshape(height, width)
    inside = (slice(shift + 1, height - shift + 1), slice(shift + 1, width - shift + 1))
    here = parent[inside] - count
    offset = dy * np.int32(width) + dx
    source = here + offset
    visited = np.zeros((height, width), bool)
    visited[inside] = True
    chained = (offset > 0) & visited.reshape(-1)[source]
    parent[inside] = np.where(chained, source, source + count)

    chain = parent.reshape(-1)
    open_ends = np.flatnonzero(chain < count)
    while open_ends.size:
        chain[open_ends] = chain[chain[open_ends]]
        open_ends = open_ends[chain[open_ends] < count]
    return (chain - count).astype(np.intp)
