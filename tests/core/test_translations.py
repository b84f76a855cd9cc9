"""The texts of the nodes in all languages: the same keys, nothing lost that a user types or looks for."""

import json
import re
from pathlib import Path

import pytest

LOCALES = Path(__file__).resolve().parents[2] / "locales"
LANGUAGES = sorted(path.name for path in LOCALES.iterdir() if path.name != "en")
FILES = ("main.json", "nodeDefs.json")
# What is typed, read or compared as it is: options before a colon, placeholders, paths, commands, numbers.
OPTION = re.compile(r"(?:^|(?<=\. ))([a-z][a-z ]{2,24}|\d+):(?= )")
EXACT = re.compile(
    r"%[\w:-]+%|\b[a-z_]+/[\w/]+|\b\w+\.(?:csv|jsonl)\b|\b[A-Z]+_[A-Z_]+\b|\bdepictqa (?:report|cull)|\bint\d\b"
)
NUMBER = re.compile(r"(?<![\w.-])\d[\d.]*(?!\w)")


def texts(node) -> dict[str, str]:
    """All texts of a document, by the path of their keys."""
    if isinstance(node, str):
        return {"": node}
    return {f"{key}.{path}".rstrip("."): text for key, value in node.items() for path, text in texts(value).items()}


def load(language: str, name: str) -> dict[str, str]:
    return texts(json.loads((LOCALES / language / name).read_text(encoding="utf-8")))


def test_the_languages_are_those_that_are_offered():
    assert LANGUAGES == ["de", "ja", "ko", "zh"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_keys_of_the_english_texts_in_their_order(language, name):
    found = load(language, name)
    assert list(found) == list(load("en", name))
    assert [key for key, text in found.items() if text != text.strip() or not text] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_repeats_what_is_typed_or_read_as_it_is(language):
    found = load(language, "nodeDefs.json")
    lost = []
    for key, english in load("en", "nodeDefs.json").items():
        if not key.endswith(("tooltip", "description")):
            continue
        decimal = found[key].replace(",", ".")  # German writes 0,5
        wanted = [(match, found[key]) for pattern in (OPTION, EXACT) for match in pattern.findall(english)]
        wanted += [(match.rstrip("."), decimal) for match in NUMBER.findall(english)]
        lost += [(key, word) for word, text in wanted if word not in text]
    assert lost == []


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_no_text_has_a_character_that_the_front_end_takes_for_a_placeholder(language):
    """vue-i18n reads ``{name}``, ``@:key`` and ``|`` in a message as its own syntax."""
    for name in FILES:
        assert [key for key, text in load(language, name).items() if re.search(r"[{}|@]", text)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_sockets_of_a_node_have_two_names(language):
    nodes = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    for node_id, node in nodes.items():
        for side in ("inputs", "outputs"):
            names = [entry["name"] for entry in node[side].values()]
            assert len(set(names)) == len(names), (node_id, side)
    titles = [node["display_name"] for node in nodes.values()]
    assert len(set(titles)) == len(titles)
