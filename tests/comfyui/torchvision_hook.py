"""Import hook of the test environment: lets torchvision's Python part work beside a torch it was not compiled for.

The package index offers torchvision for CUDA only. Beside a CPU build of torch its compiled library cannot be loaded,
and the import then dies with ``operator torchvision::nms does not exist``. Declaring the two missing operators first is
enough for everything the tests use (ComfyUI and piq never run them). The hook costs nothing until torchvision is
imported: it is a finder on ``sys.meta_path`` that does not import torch itself.
"""

import importlib.machinery
import sys
from pathlib import Path

MISSING_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class TorchvisionFinder:
    """Finds torchvision as Python would, after seeing to its operators once."""

    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.submodule_search_locations:
            _see_to_operators(Path(spec.submodule_search_locations[0]) / "_C.so")
        return spec


def _see_to_operators(library: Path):
    import torch

    try:
        torch.ops.load_library(str(library))  # a build that fits this torch: nothing to mend
    except OSError:
        for operator, signature in MISSING_OPERATORS.items():
            torch.library.define(f"torchvision::{operator}", signature)


sys.meta_path.insert(0, TorchvisionFinder())
