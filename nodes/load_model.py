"""The node that loads a judge."""

from comfy_api.latest import io

from . import checkpoint_folders as runtime
from .inputs import (
    DepictQAModel,
    advanced,
    choice,
    readable_errors,
)


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DepictQA_LoadModel",
            display_name="Load DepictQA Model",
            category="DepictQA",
            description="Loads an image quality judge: the bundled model, or a checkpoint folder in models/depictqa.",
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=runtime.checkpoint_names(),
                    default=runtime.BUNDLED,
                    tooltip="The bundled model, or a folder in models/depictqa: a trained or imported checkpoint, or a "
                    "vision-language model, or an adapter of one.",
                ),
                io.Combo.Input(
                    "device",
                    options=runtime.DEVICES,
                    default="auto",
                    tooltip="auto: the device that ComfyUI uses for its models. cpu: leave the GPU to other models.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=runtime.DTYPES,
                    default="auto",
                    tooltip=(
                        "Data type of the weights. auto: float32, or float16 for large checkpoints on a "
                        "GPU. float16 changes probabilities by up to 0.01, bfloat16 by up to 0.06, which "
                        "can change a winner. int8 and int4 need the package bitsandbytes."
                    ),
                ),
                io.Combo.Input(
                    "memory",
                    options=runtime.MEMORY,
                    default=runtime.KEEP,
                    optional=True,
                    tooltip=(
                        "keep in memory: ready for the next run; offloaded if other models need the "
                        "memory. free after use: unloaded after each run and loaded again for the next."
                    ),
                ),
                io.Combo.Input(
                    "anchors",
                    options=runtime.own_names("anchors"),
                    default=runtime.BUILT_IN,
                    optional=True,
                    tooltip=(
                        "Images of known quality, for scores of checkpoints that do not support scoring "
                        "directly: built in, or a folder in models/depictqa_anchors."
                    ),
                    **advanced(io.Combo.Input),
                ),
                io.Combo.Input(
                    "encoder",
                    options=runtime.own_names("encoders"),
                    default=runtime.BUILT_IN,
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
                    options=runtime.base_names(),
                    default=runtime.AUTOMATIC,
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
        cls, checkpoint, anchors=runtime.BUILT_IN, encoder=runtime.BUILT_IN, base=runtime.AUTOMATIC, **_
    ):
        return runtime.loader_state(checkpoint, anchors, encoder, base)

    @classmethod
    def execute(
        cls,
        checkpoint,
        device,
        dtype,
        memory=runtime.KEEP,
        anchors=runtime.BUILT_IN,
        encoder=runtime.BUILT_IN,
        base=runtime.AUTOMATIC,
    ) -> io.NodeOutput:
        with readable_errors():
            choice(device, runtime.DEVICES, "device")
            choice(dtype, runtime.DTYPES, "dtype")
            choice(memory, runtime.MEMORY, "memory")
            return io.NodeOutput(runtime.load(checkpoint, device, dtype, memory, anchors, encoder, base))
