"""Which half precision the loader node chooses by itself."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import pytest


@pytest.fixture
def runtime(monkeypatch):
    """``nodes.checkpoint_folders`` beside a stand-in for ComfyUI, whose devices a test can choose."""
    pack = ModuleType("stand_in_pack")
    pack.__path__ = [str(Path(__file__).resolve().parents[2])]
    nodes = ModuleType("stand_in_pack.nodes")
    nodes.__path__ = [f"{pack.__path__[0]}/nodes"]
    for name, module in (("stand_in_pack", pack), ("stand_in_pack.nodes", nodes)):
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("folder_paths", "comfy", "comfy.utils", "comfy.model_patcher", "comfy.model_management", "server"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    for name in ("comfy_api", "comfy_api.latest", "comfy_execution", "comfy_execution.utils"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    yield importlib.import_module("stand_in_pack.nodes.checkpoint_folders")
    for name in [name for name in sys.modules if name.startswith("stand_in_pack.")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    "fp16, bf16, wanted",
    [(True, True, "float16"), (True, False, "float16"), (False, True, "bfloat16"), (False, False, "float32")],
)
def test_float16_is_preferred(runtime, monkeypatch, fp16, bf16, wanted):
    devices = MagicMock()
    devices.should_use_fp16.return_value, devices.should_use_bf16.return_value = fp16, bf16
    monkeypatch.setattr(runtime, "model_management", devices)
    assert runtime._half("cuda") == wanted
