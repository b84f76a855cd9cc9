"""ComfyUI's front door to this node pack: its web folder, its model folder and the list of its nodes."""

import os

import folder_paths

WEB_DIRECTORY = "./web"

folder_paths.add_model_folder_path("depictqa", os.path.join(folder_paths.models_dir, "depictqa"))


async def comfy_entrypoint():
    """Called by ComfyUI once at start; loads no weights and none of the heavy libraries."""
    from .nodes.extension import DepictQAExtension

    return DepictQAExtension()
