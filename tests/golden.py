"""Golden answers of the bundled checkpoint on the sample images: ``python tests/golden.py`` writes them anew."""

import itertools
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "workflows" / "samples"
GOLDEN = Path(__file__).parent / "core" / "golden_bundled.json"


def answers(judge) -> dict:
    """What a judge says of the sample images, as plain JSON values."""
    files = sorted(SAMPLES.glob("*.jpg"))
    found, scored = judge.identify(files), judge.score(files)
    pictures = {
        path.name: {
            "labels": list(issue.labels),
            "probability": round(issue.confidence, 4),
            "score": round(rating.score, 2),
        }
        for path, issue, rating in zip(files, found, scored)
    }
    compared = judge.compare(
        SAMPLES / "garage_jpeg_8.jpg", SAMPLES / "garage_pixelated.jpg", SAMPLES / "garage_original.jpg"
    )
    variants = [SAMPLES / f"garage_{name}.jpg" for name in ("original", "jpeg_8", "pixelated")]
    return {
        "pictures": pictures,
        "better of two": [
            round(answer.probability_a, 4) for answer in judge.compare_many(list(itertools.combinations(variants, 2)))
        ],
        "order": [files[index].name for index in judge.rank(files).order],
        "verdict": compared.verdict,
        "descriptions": [d.text for d in judge.describe(files[:3], max_new_tokens=100)],
    }


def record(judge, path: Path = GOLDEN) -> None:
    """Write the golden file."""
    path.write_text(json.dumps(answers(judge), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from depictqa_core.judge import load_judge

    record(load_judge(device="cpu"))
