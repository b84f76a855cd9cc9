"""The node that ends auto queue, in the page, when a condition is met."""

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io
from server import PromptServer

from .inputs import one, schema
from .routes import workflow_of_prompt
from .ui import Table, node_output


class StopAutoQueue(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["auto queue", "stop", "run instant", "run on change", "condition", "until"],
            node_id="DepictQA_StopAutoQueue",
            display_name="Stop Auto Queue",
            category="DepictQA/generate",
            description=(
                "Ends the modes Run (Instant) and Run (On Change) of the page when stop is true, and removes the "
                "waiting runs of this workflow. The current run continues to its end."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Boolean.Input(
                    "stop",
                    force_input=True,
                    tooltip="Whether to stop, such as reached of Keep Best Images, any_passed of Filter Images or "
                    "found of Generate Until Good (End). Of a list, one true value is enough.",
                ),
                io.Boolean.Input(
                    "remove_waiting",
                    default=True,
                    tooltip="Also remove the runs of this workflow that wait in the queue.",
                ),
            ],
            outputs=[io.Boolean.Output("stopped", display_name="stopped", tooltip="Whether it has stopped.")],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(cls, stop: list[bool], remove_waiting: Sequence[bool]) -> io.NodeOutput:
        stops = any(stop)
        removed = (
            _remove_waiting((cls.hidden.extra_pnginfo or {}).get("workflow")) if stops and one(remove_waiting) else 0
        )
        head = "Not stopped: stop is false"
        if stops:
            head = "Stopped" + (f": {removed} waiting {'run' if removed == 1 else 'runs'} removed" if removed else "")
        return node_output(cls, stops, table=Table(notes=[head]), depictqa_stop=[stops])


def _remove_waiting(workflow: Any) -> int:
    """Remove the waiting runs of a workflow from ComfyUI's queue; return how many there were."""
    wanted = workflow.get("id") if isinstance(workflow, dict) else None
    if wanted is None:
        return 0
    queue, count = PromptServer.instance.prompt_queue, 0
    while queue.delete_queue_item(lambda prompt: workflow_of_prompt(prompt) == wanted):
        count += 1
    return count
