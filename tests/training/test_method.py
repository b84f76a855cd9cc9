"""What the code says of the published method refers to sections of docs/method.md that exist."""

import re

from trees import ROOT

SECTIONS = re.compile(r"method\.md ((?:\d+(?:\.\d+)?)(?:(?:, | and | to )\d+\.\d+)*)")


def files():
    folders = ("training", "depictqa_core", "nodes", "benchmarks", "docs", "tests")
    found = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    return [path for path in found if path.suffix in (".py", ".md", ".yaml")]


def test_every_section_that_is_referred_to_exists():
    headings = re.findall(r"^#+ (\d+(?:\.\d+)?) ", (ROOT / "docs" / "method.md").read_text(), re.MULTILINE)
    assert len(headings) == len(set(headings)) > 30
    named = 0
    for path in files():
        for found in SECTIONS.findall(path.read_text()):
            for section in re.findall(r"\d+(?:\.\d+)?", found):
                assert section in headings, f"{path}: method.md {section}"
                named += 1
    assert named > 60


def test_nothing_refers_to_a_document_outside_of_the_repository():
    outside = re.compile(r"\b[Ff]acts \d|_facts\.md")
    assert [str(path) for path in files() if path.name != "test_method.py" and outside.search(path.read_text())] == []
