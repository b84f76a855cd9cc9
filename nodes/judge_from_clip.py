"""The node that makes a judge of the text encoder that a diffusion model uses."""

from typing import Any

from comfy_api.latest import io

from ..depictqa_core.judge import Judge
from .clip_backend import ClipBackend
from .inputs import DepictQAModel, readable_errors, schema
from .loaded_judge import LoadedJudge


class JudgeFromTextEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["CLIP judge", "Qwen-VL", "VLM", "text encoder", "no second model"],
            node_id="DepictQA_JudgeFromTextEncoder",
            display_name="Judge From Text Encoder",
            category="DepictQA",
            description=(
                "Makes a judge of a text encoder that takes images, such as Qwen3-VL: no second model in memory. It"
                " answers all questions of the other nodes, also your own."
            ),
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The text encoder of a diffusion model: Qwen3-VL, Qwen3.5 or Gemma 3 with vision.",
                )
            ],
            outputs=[
                DepictQAModel.Output("model", display_name="model", tooltip="The judge, for the other DepictQA nodes.")
            ],
        )

    @classmethod
    def execute(cls, clip: Any) -> io.NodeOutput:
        with readable_errors():
            judge = Judge(ClipBackend(clip))
            return io.NodeOutput(LoadedJudge(lambda: judge, clip.patcher.load_device, clip.patcher.offload_device))
