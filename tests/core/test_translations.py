"""The texts of the nodes in all languages: the same keys, nothing lost that a user types or looks for."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
LANGUAGES = sorted(path.name for path in LOCALES.iterdir() if path.name != "en")
FILES = ("main.json", "nodeDefs.json")
# What is typed, read or compared as it is: options before a colon, placeholders, paths, commands, numbers.
OPTION = re.compile(r"(?:^|(?<=\. ))([a-z][a-z ]{2,24}|\d+):(?= )")
EXACT = re.compile(
    r"%[\w:-]+%|\b[a-z_]+/[\w/]+|\b\w+\.(?:csv|jsonl)\b|\b[A-Z]+_[A-Z_]+\b|\bdepictqa (?:report|cull)|\bint\d\b"
)
PLACEHOLDER = re.compile(r"\{\w+\}")
NOT_CODE = re.compile(r"/\*.*?\*/|//[^\n]*|`\n.*?\n`", re.DOTALL)  # comments and style sheets
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
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
    """vue-i18n reads ``{name}``, ``@:key`` and ``|`` in a message as its own syntax. In texts of the page ``{name}`` is
    for ``web/js/texts.js``."""
    for name in FILES:
        taken = {key: "[|@]" if key.startswith("DepictQA.") else "[{}|@]" for key in load(language, name)}
        assert [key for key, text in load(language, name).items() if re.search(taken[key], text)] == []


def of_the_page(language: str) -> dict[str, str]:
    """The texts of the scripts in web/, by the English ones."""
    found: dict[str, str] = json.loads((LOCALES / language / "main.json").read_text(encoding="utf-8"))["DepictQA"]
    return found


def literals() -> tuple[set[str], set[str]]:
    """The string literals in web/ that are given to ``t``, and all of them."""
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "web").rglob("*.js")]
    code = "\n".join(NOT_CODE.sub("", script) for script in scripts)
    return set(re.findall(r'\bt\(\s*"([^"\n]*)"', code)), set(LITERAL.findall(code))


def test_every_text_of_the_page_can_be_translated():
    translated, written = literals()
    english = of_the_page("en")
    assert all(key == text for key, text in english.items())
    assert translated <= set(english) <= written
    prose = {text for text in written if re.search(r"[A-Za-z]+ [a-z]+", text)}
    console = {text for text in written if text.startswith("DepictQA: ")}
    assert prose - console - set(english) == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_of_the_page_has_the_values_of_the_english_text(language):
    translated = of_the_page(language)
    assert [english for english, text in translated.items() if text == english] == []
    for english, text in translated.items():
        assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(english)), english
        assert not re.search(r"[{}]", PLACEHOLDER.sub("", text)), english


@pytest.mark.parametrize(
    ("node", "button"),
    [("DepictQA_PickImages", "Pick again"), ("DepictQA_GenerateUntilGoodEnd", "Stop after this round")],
)
def test_a_page_names_a_button_as_the_node_does(node, button):
    """The Chinese help pages, and the tooltips that mention it."""
    assert of_the_page("zh")[button] in (ROOT / "web" / "docs" / node / "zh.md").read_text(encoding="utf-8")
    for language in LANGUAGES:
        english, found = load("en", "nodeDefs.json"), load(language, "nodeDefs.json")
        mentions = [key for key, text in english.items() if button in text]
        assert [key for key in mentions if of_the_page(language)[button] not in found[key]] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_sockets_of_a_node_have_two_names(language):
    nodes = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    for node_id, node in nodes.items():
        for side in ("inputs", "outputs"):
            names = [entry["name"] for entry in node[side].values()]
            assert len(set(names)) == len(names), (node_id, side)
    titles = [node["display_name"] for node in nodes.values()]
    assert len(set(titles)) == len(titles)
