"""Importing the core costs little: no transformers, no weights, and it works under another package's name."""

import subprocess
import sys

import pytest
from trees import ROOT

WATCH = """
import importlib, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
for module in sys.argv[1:]:
    importlib.import_module(f"depictqa_core.{module}")
    heavy = {"transformers", "peft", "accelerate", "comfy", "nodes", "training"} & sys.modules.keys()
    weights = [path for path in opened if path.endswith((".safetensors", ".json", ".pt", ".bin"))]
    assert not heavy and not weights, (module, heavy, weights)
"""
FREE = ("tasks", "results", "prompts", "images", "confidence", "ranking.leaderboard", "loading.checkpoint", "judge")


def run(code, where, *arguments):
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_import_is_free():
    run(WATCH, ROOT, *FREE)  # one after the other in one interpreter: the first that costs something is named


def test_tasks_results_and_prompts_need_no_torch():
    code = "import sys, depictqa_core.tasks, depictqa_core.results, depictqa_core.prompts\n"
    run(code + "assert 'torch' not in sys.modules", ROOT)


@pytest.mark.slow
def test_import_under_a_packs_name(tmp_path):
    """ComfyUI loads the core as a part of a pack whose name is the pack's folder."""
    (tmp_path / "some-pack").mkdir()
    (tmp_path / "some-pack" / "__init__.py").write_text("")
    (tmp_path / "some-pack" / "depictqa_core").symlink_to(ROOT / "depictqa_core", target_is_directory=True)
    core = ROOT / "depictqa_core"
    paths = [path.relative_to(core).with_suffix("") for path in core.rglob("*.py") if not path.stem.startswith("__")]
    modules = sorted(".".join(path.parts) for path in paths)
    code = "import importlib, sys\n" + "".join(
        f"importlib.import_module('some-pack.depictqa_core.{m}')\n" for m in modules
    )
    run(code + "assert not any(name.startswith('depictqa_core') for name in sys.modules)", tmp_path)
