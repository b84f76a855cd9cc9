"""What libraries say is quoted in one line, without their advice to switch a protection off."""

import doctest

import pytest
import torch

from depictqa_core import errors
from depictqa_core.errors import quoted


class _Evil:
    def __reduce__(self):
        return (eval, ("1",))


def test_examples():
    assert doctest.testmod(errors).failed == 0


def test_the_true_words_of_torch(tmp_path):
    torch.save({"x": _Evil()}, tmp_path / "a.pt")
    with pytest.raises(Exception) as caught:
        torch.load(tmp_path / "a.pt", weights_only=True)
    assert "weights_only" in str(caught.value)  # else this tests nothing
    said = quoted(caught.value)
    assert "GLOBAL eval was not an allowed global" in said
    assert not any(word in said.lower() for word in ("weights_only", "weights only", "trust", "safe_globals", "\n"))


@pytest.mark.parametrize(
    "advice",
    [
        "Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
        "Loading it requires you to execute code. Make sure you trust it, then set `trust_remote_code=True`.",
        "Object arrays cannot be loaded when allow_pickle=False",
    ],
)
def test_advice_against_protections_is_left_out(advice):
    said = quoted(ValueError(f"The folder is odd. {advice}\nIt has no config."))
    assert said.startswith("The folder is odd.") and said.endswith("It has no config.")
    assert not any(word in said for word in ("trust", "allow_pickle"))
    assert quoted(ValueError("Please trust_remote_code")) == "ValueError"


def test_one_line_of_limited_length():
    assert quoted(ValueError("a\n\n  b \x0b c")) == "a b c"
    assert quoted(ValueError("word " * 100)) == ("word " * 100)[:197] + "..."
    assert quoted(KeyError("x")) == "KeyError 'x'" and quoted(ValueError()) == "ValueError"
