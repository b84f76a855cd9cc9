"""What users read is written in the words of the field: no private vocabulary in pages, translations or messages."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LEFT_OUT = {  # pattern: what to write instead. A word with other honest uses is matched in its private sense only.
    r"\bpictures?\b(?!\()": "image",
    r"\b(?:un)?taught\b": "supported, trained",
    r"\b(?:go|goes|going|went) on\b(?! top)": "resume, continue",
    r"\bbeside\b": "next to, relative to, with",
    r"\b(?:images|pictures|labels|ones|only|never) meets?\b|\bmet (?:nobody|no other|by position)": "compare",
    r"\bso many\b": "maximum number of, this many",
    r"\btelling ones?\b": "most informative",
    r"(?<!make )\b(?:un)?sure(?:r|st)?\b": "confident, certain; confidence, probability, uncertainty",
    r"\bwavers?\b": "uncertainty",
    r"\banew\b": "again",
    r"\btold? apart\b": "tied; distinguish",
    r"\bone more than how many\b": "1 + the number of significantly better images",
    r"\b(?:lie|lies) apart\b|\bdistrust\b": "position bias, differ; do not trust",
    r"\bsay(?:s|ing)? nothing\b": "tie, print nothing",
    r"\b(?:says so|is said|are said)\b": "is printed, is reported",
    r"\bbeginnings\b|\bfloors?\b|\bfront door\b": "prefix, level, interface",
    r"\bwarmth\b|\bbarred\b": "temperature, calibration; banned",
    r"\bwhat (?:it|they|the (?:judge|tower|network)) (?:saw|sees)\b|\bsight\b": "vision features",
    r"\bnot finite\b|\bno finite\b": "NaN or Inf",
    r"\bget (?:it|the \w+) again\b": "download it again",
    r"\bparts (?:images|them)\b|\bto parts? of\b|\ba part of (?:it|an image|the image)\b": "split; region",
    r"\bhand(?:s|ed)? on\b|\bput(?:s)? away\b|\blet go\b": "pass on, store, unload",
    r"\b(?:ma[dk]e|needs?|ha[sv]e?) (?:the |no )?room\b": "memory, space",
    r"(?<!there )\bis no (?:image|file|folder|number|text|name|list|object|path|row|whole|valid|weight)\b": "is not a",
    r"\bshall\b": "should, will",
}

PAGES = ["*.md", "NOTICE", "docs/*.md", "web/docs/*.md", "workflows/**/*.md", "benchmarks/results/*.md"]
PAGES += ["training/recipes/**/*.md", "depictqa_core/checkpoints/*/README.md", ".github/**/*.md", "CITATION.cff"]
DATA = ["locales/en/*.json", "workflows/*.json"]
PACKAGES = ["depictqa_core", "nodes", "training", "benchmarks"]
NOT_PROSE = {  # strings that a network was trained on or is asked, and patterns for what others wrote
    "depictqa_core/claims.py",
    "depictqa_core/prompts.py",
    "depictqa_core/questions.py",
    "depictqa_core/tasks.py",
    "training/dataset/detailed/answer_checks.py",
    "training/dataset/detailed/answer_words.py",
    "training/dataset/detailed/requests.py",
    "training/dataset/records/descriptions.py",
    "training/dataset/records/fr_to_nr.py",
    "training/dataset/records/question_templates.py",
    "training/evaluation/judged.py",
    "training/evaluation/peer_vlm.py",
    "training/recipes/mini/from_scratch.py",
}


def private(text: str) -> list[str]:
    """The words of a text that the dictionary leaves out, each with what to write instead."""
    found = []
    for pattern, instead in LEFT_OUT.items():
        found += [f"{match[0]!r}: write {instead}" for match in re.finditer(pattern, text, flags=re.IGNORECASE)]
    return found


def prose(page: str) -> str:
    """A page in Markdown on one line, without code and links: a name is a name."""
    return " ".join(re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)", " ", page, flags=re.DOTALL).split())


def texts(value) -> list[str]:
    """All texts of more than one word in a JSON document; a single word may be an identifier."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) and " " in value else []


def messages(source: str) -> list[tuple[int, str]]:
    """The string literals of a module that people may read: of more than one word, docstrings apart. The expressions of
    an f-string are left out."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(node.value)
        for scope in ast.walk(tree)
        if isinstance(scope, documented)
        for node in scope.body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    literals = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [(node.lineno, node.value) for node in literals if id(node) not in docs and " " in node.value]


def named(patterns: list[str]) -> list[str]:
    return sorted({str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)})


@pytest.mark.parametrize("page", named(PAGES))
def test_pages_are_in_the_words_of_the_field(page):
    assert not private(prose((ROOT / page).read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", named(DATA))
def test_translations_and_notes_are_in_the_words_of_the_field(file):
    found = texts(json.loads((ROOT / file).read_text(encoding="utf-8")))
    assert not {text: private(prose(text)) for text in found if private(prose(text))}


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_messages_and_help_are_in_the_words_of_the_field(package):
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name not in NOT_PROSE:
            lines = messages(path.read_text(encoding="utf-8"))
            found |= {f"{name}:{line}": private(text) for line, text in lines if private(text)}
    assert not found


def test_every_exception_still_exists():
    assert all((ROOT / name).is_file() for name in NOT_PROSE)


def test_the_dictionary_finds_private_words_and_spares_code():
    assert private("The judge was never taught to score PICTURES.") == [
        "'PICTURES': write image",
        "'taught': write supported, trained",
    ]
    assert not private(
        prose("Run `python -m training pictures` and see [the file](docs/pictures.md).\n```\na picture\n```")
    )
    source = '"""A picture."""\nKEY = "pictures"\nraise ValueError(f"{picture} is a picture")\n'
    assert [text for _, text in messages(source)] == [" is a picture"]
