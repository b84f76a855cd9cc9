"""The node that loads a judge."""

from comfy_api.latest import io

from . import checkpoint_folders
from .inputs import (
    DepictQAModel,
    advanced,
    choice,
    readable_errors,
)


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DepictQA_LoadModel",
            display_name="Load DepictQA Model",
            category="DepictQA",
            description="Loads an image quality judge: the bundled model, or a checkpoint folder in models/depictqa.",
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=checkpoint_folders.checkpoint_names(),
                    default=checkpoint_folders.BUNDLED,
                    tooltip="The bundled model, or a folder in models/depictqa: a trained or imported checkpoint, or a "
                    "vision-language model, or an adapter of one.",
                ),
                io.Combo.Input(
                    "device",
                    options=checkpoint_folders.DEVICES,
                    default="auto",
                    tooltip="auto: the device that ComfyUI uses for its models. cpu: leave the GPU to other models.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=checkpoint_folders.DTYPES,
                    default="auto",
                    tooltip=(
                        "Data type of the weights. auto: float32, or float16 for large checkpoints on a "
                        "GPU. float16 changes probabilities by up to 0.01, bfloat16 by up to 0.06, which "
                        "can change a winner. int8 and int4 need the package bitsandbytes."
                    ),
                ),
                io.Combo.Input(
                    "memory",
                    options=checkpoint_folders.MEMORY,
                    default=checkpoint_folders.KEEP,
                    optional=True,
                    tooltip=(
                        "keep in memory: ready for the next run; offloaded if other models need the "
                        "memory. free after use: unloaded after each run and loaded again for the next."
                    ),
                ),
                io.Combo.Input(
                    "anchors",
                    options=checkpoint_folders.own_names("anchors"),
                    default=checkpoint_folders.BUILT_IN,
                    optional=True,
                    tooltip=(
                        "Images of known quality, for scores of checkpoints that do not support scoring "
                        "directly: built in, or a folder in models/depictqa_anchors."
                    ),
                    **advanced(io.Combo.Input),
                ),
                io.Combo.Input(
                    "encoder",
                    options=checkpoint_folders.own_names("encoders"),
                    default=checkpoint_folders.BUILT_IN,
                    optional=True,
                    tooltip=(
                        "How the confidence of a description weighs its words: by the built-in list of "
                        "verdict words, or by a sentence encoder such as all-MiniLM-L6-v2, a folder in "
                        "models/depictqa_encoders."
                    ),
                    **advanced(io.Combo.Input),
                ),
                io.Combo.Input(
                    "base",
                    options=checkpoint_folders.base_names(),
                    default=checkpoint_folders.AUTOMATIC,
                    optional=True,
                    tooltip=(
                        "For an adapter folder only: the vision-language model that it was tuned on. automatic: where "
                        "it was then, or next to the adapter."
                    ),
                    **advanced(io.Combo.Input),
                ),
            ],
            outputs=[
                DepictQAModel.Output("model", display_name="model", tooltip="The judge, for the other DepictQA nodes.")
            ],
        )

    @classmethod
    def fingerprint_inputs(
        cls,
        checkpoint: str,
        anchors: str = checkpoint_folders.BUILT_IN,
        encoder: str = checkpoint_folders.BUILT_IN,
        base: str = checkpoint_folders.AUTOMATIC,
        **_: object,
    ) -> str:
        return checkpoint_folders.loader_state(checkpoint, anchors, encoder, base)

    @classmethod
    def execute(
        cls,
        checkpoint: str,
        device: str,
        dtype: str,
        memory: str = checkpoint_folders.KEEP,
        anchors: str = checkpoint_folders.BUILT_IN,
        encoder: str = checkpoint_folders.BUILT_IN,
        base: str = checkpoint_folders.AUTOMATIC,
    ) -> io.NodeOutput:
        with readable_errors():
            choice(device, checkpoint_folders.DEVICES, "device")
            choice(dtype, checkpoint_folders.DTYPES, "dtype")
            choice(memory, checkpoint_folders.MEMORY, "memory")
            return io.NodeOutput(checkpoint_folders.load(checkpoint, device, dtype, memory, anchors, encoder, base))
