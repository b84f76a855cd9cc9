"""Perceptual hashes, near duplicates, blank and cut frames."""

import random

import numpy as np
import pytest
from PIL import Image

from depictqa_core.images.fingerprint import HashIndex, difference_hash, fingerprint


def scene(seed, height=320, width=400):
    """Large shapes with texture."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return Image.fromarray(np.clip(np.asarray(coarse) + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8))


def hash_distance(a: str, b: str) -> int:
    """Number of differing bits (0..128) of two hashes, without the index."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def marks(array):
    found = fingerprint(np.ascontiguousarray(array, np.uint8))
    return found.blank, found.cut


def test_blank_frames():
    rng = np.random.default_rng(0)
    black = np.zeros((300, 400, 3))
    assert marks(black) == marks(black + 255) == (True, False)
    assert marks(np.clip(black + rng.normal(20, 6, black.shape), 0, 255)) == (True, False)  # sensor noise
    gradient = black + np.linspace(0, 60, 400)[None, :, None]
    assert marks(gradient) == (False, False)
    assert marks(np.asarray(scene(0))) == (False, False)
    black[100:200, 100:200] = 255  # a small thing on an even ground is an image
    assert marks(black) == (False, False)
    assert marks(np.zeros((1, 1, 3))) == (True, False) and marks(np.zeros((2, 900, 3)))[0]


def test_cut_frames():
    whole = np.array(scene(1))
    cut = whole.copy()
    cut[250:] = 128
    assert marks(cut) == (False, True)
    letterbox = cut.copy()
    letterbox[:40] = 0
    assert marks(letterbox) == (False, False)  # bars at both ends belong to the frame
    whole[310:] = 128  # less than a sixteenth
    assert marks(whole) == (False, False)


def test_hash_survives_tone_and_size_and_tells_scenes_apart():
    base = difference_hash(scene(3))
    assert len(base) == 32
    assert hash_distance(base, difference_hash(scene(3).resize((1000, 800)).point(lambda value: int(value * 0.8)))) <= 6
    assert min(hash_distance(base, difference_hash(scene(seed))) for seed in range(20) if seed != 3) > 14


@pytest.mark.slow
@pytest.mark.parametrize("bits", [0, 7, 8, 14, 23, 40, 128])
def test_near_duplicates_are_found_as_by_comparing_with_every_hash(bits):
    rng = random.Random(bits)
    codes = [rng.getrandbits(128) for _ in range(300)]
    for code in codes[:200]:  # neighbours at all distances around the limit
        near = rng.sample(range(128), min(128, max(0, bits + rng.randint(-2, 2))))
        codes.append(code ^ sum(1 << bit for bit in near))
    rng.shuffle(codes)
    index, known = HashIndex(bits), []
    for number, code in enumerate(f"{code:032x}" for code in codes * 2):
        expected = next((name for other, name in known if hash_distance(other, code) <= bits), None)
        assert index.first(code) == expected
        index.add(code, str(number))
        known.append((code, str(number)))
