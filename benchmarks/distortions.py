"""Times every distortion: `python benchmarks/distortions.py` prints name -> seconds at 1024 x 1024 and 224 x 224."""

import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training.distortions import NAMES, SEVERITIES, apply

SIDES = (1024, 224)
REPEATS = 3


def picture(side: int) -> np.ndarray:
    """A smooth colour image with fine grain, uint8 [side, side, 3]."""
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(9 * x + 4 * y), np.cos(7 * y - 3 * x), np.sin(11 * x * y)], axis=-1)
    grain = np.random.default_rng(0).normal(0, 6, waves.shape)
    return np.clip(127.5 + 90 * waves + grain, 0, 255).astype(np.uint8)


def seconds(name: str, image: np.ndarray) -> tuple[float, int]:
    """(time of the slowest severity, that severity); for each severity the best of `REPEATS` runs counts."""
    slowest = (0.0, 0)
    for severity in SEVERITIES:
        runs = []
        for _ in range(REPEATS):
            rng = np.random.default_rng(0)
            start = time.perf_counter()
            apply(name, image, severity, rng)
            runs.append(time.perf_counter() - start)
        slowest = max(slowest, (min(runs), severity))
    return slowest


def main() -> None:
    cv2.setNumThreads(1)
    images = {side: picture(side) for side in SIDES}
    print("seconds on one core, slowest severity in brackets")
    print(f"{'name':32}" + "".join(f"{f'{side} x {side}':>16}" for side in SIDES))
    for name in NAMES:
        cells = (seconds(name, images[side]) for side in SIDES)
        print(f"{name:32}" + "".join(f"{f'{time_:.4f} ({severity})':>16}" for time_, severity in cells), flush=True)


if __name__ == "__main__":
    main()
