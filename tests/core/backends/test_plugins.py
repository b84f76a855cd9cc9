"""A judge that another package provides by an entry point: it answers the verbs like any other."""

import json

import numpy as np
import pytest

from depictqa_core import load_judge
from depictqa_core.cli import commands
from depictqa_core.errors import PackageError

BRIGHTNESS = """
import numpy as np
from depictqa_core.backends.base import AnswerProbabilities, Backend, Capabilities
from depictqa_core.runtime.byte_cache import ByteCache

class Brightness(Backend):
    capabilities = Capabilities(("score",))

    def __init__(self, device, dtype):
        self.info, self.notices, self.answers = {"name": "brightness", "version": "1"}, [], ByteCache(0)

    def choose(self, task, question, image_sets, counter, prefixes=None, options=None, about=None):
        self.require(task)
        rows = np.zeros((len(image_sets), 5))
        for row, (image, _) in zip(rows, image_sets):
            row[0] = image.rgb.mean() / 255
            row[4] = 1 - row[0]
        counter.add(len(image_sets))
        return AnswerProbabilities(rows, np.ones(len(image_sets)))

    def write(self, *arguments, **options):
        raise NotImplementedError

    tokens = decode = write
"""


def test_a_package_provides_a_judge(install, folder, capsys):
    install("tiny_brightness", BRIGHTNESS, judges="brightness = tiny_brightness:Brightness")
    grey = np.full((40, 40, 3), 51, np.uint8)
    (found,) = load_judge("brightness").score(grey)
    assert found.score == pytest.approx(20)
    assert commands.main(["score", folder, "--checkpoint", "brightness", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["checkpoint"] == "brightness" and len(facts["results"]) == 3
    assert commands.main(["identify", folder, "--checkpoint", "brightness"]) == 1
    assert "not supported by brightness; it supports score" in capsys.readouterr().err


def test_what_is_not_a_judge_is_refused(install):
    install("tiny_wrong", "def make(device, dtype):\n    return 3\n", judges="wrong = tiny_wrong:make")
    with pytest.raises(PackageError, match="wrong .tiny_wrong:make.: gives a int, not a Backend"):
        load_judge("wrong")
