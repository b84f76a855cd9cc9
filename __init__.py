"""ComfyUI's entry point of this node pack: its web folder, its model folders and the list of its nodes."""

import os

import folder_paths

WEB_DIRECTORY = "./web"

for folder in ("depictqa", "depictqa_anchors", "depictqa_encoders"):
    folder_paths.add_model_folder_path(folder, os.path.join(folder_paths.models_dir, folder))


async def comfy_entrypoint():
    """Called by ComfyUI once at start; loads no weights and none of the heavy libraries."""
    from .nodes.extension import DepictQAExtension

    return DepictQAExtension()
