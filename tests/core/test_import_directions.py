"""Who may import whom: read from the source, so that imports inside functions count too."""

import ast
import functools
from pathlib import Path

import pytest
from trees import ROOT

CORE = (
    "errors",
    "runtime",
    "tasks",
    "calibration",
    "results",
    "confidence",
    "checks",
    "images",
    "metrics",
    "storage",
    "storing",
    "typicality",
    "chat",
    "prompts",
    "network",
    "loading",
    "published",
    "engine",
    "wordings",
    "questions",
    "claims",
    "backends",
    "ranking",
    "video",
    "answers",
    "verbs",
    "judge",
    "reports",
    "bulk",
    "culling",
    "serving",
    "study",
    "cli",
)
"""The parts of ``depictqa_core``: each imports only itself and those before it."""
TRAINING = (
    "random_choice",
    "output_files",
    "stages",
    "validation",
    "typefaces",
    "faults",
    "drawn",
    "distortions",
    "dataset",
    "sources",
    "trainer",
    "inspection",
    "evaluation",
    "benchmark",
    "__main__",
)
FORBIDDEN = {"depictqa_core": {"nodes", "training", "comfy"}, "training": {"nodes", "comfy"}, "nodes": {"training"}}


@functools.cache
def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports."""
    package, found = path.relative_to(ROOT).parts[:-1], set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found.update([module] if node.module else [f"{module}.{alias.name}" for alias in node.names])
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages(package):
    for path in (ROOT / package).rglob("*.py"):
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & FORBIDDEN[package], f"{path.relative_to(ROOT)} imports {tops & FORBIDDEN[package]}"


@pytest.mark.parametrize(("package", "order"), [("depictqa_core", CORE), ("training", TRAINING)])
def test_order(package, order):
    parts = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - {"__init__", "__main__"} == set(order) - {"__main__"}
    for path in (ROOT / package).rglob("*.py"):
        own = path.relative_to(ROOT / package).with_suffix("").parts[0]
        if own not in order or own == "__main__":
            continue
        used = {name.split(".")[1] for name in imports(path) if name.startswith(f"{package}.")} & set(order)
        later = {name for name in used if order.index(name) > order.index(own)}
        assert not later, f"{path.relative_to(ROOT)} imports {later}"


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_module_imports_itself_by_way_of_others(package):
    """Imports inside functions count too: a circle that is broken by such an import is one all the same."""
    modules = {}
    for path in (ROOT / package).rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = imports(path) - {name}
    while leaves := {name for name, used in modules.items() if not used & modules.keys()}:
        modules = {name: used for name, used in modules.items() if name not in leaves}
    assert not modules, f"these import one another: {sorted(modules)}"
