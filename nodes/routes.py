"""What pages and programs ask ComfyUI's server for: stored answers, picks that are waited for, loops to stop.

Answers are read from the history that ComfyUI has in memory, so that nothing is stored twice. docs/http.md describes
the routes.
"""

from aiohttp import web
from server import PromptServer

from ..depictqa_core.errors import TaskError
from . import loop_stops, picks


def answers_of(workflow: str) -> dict[str, dict]:
    """Return what the nodes of a workflow said in their last runs.

    Args:
        workflow: the id of the workflow, as its graph stores it.

    Returns:
        per id of a node in the run (``"12:5"`` inside a subgraph), what web/js/answers.js draws.
    """
    queue = PromptServer.instance.prompt_queue
    with queue.mutex:
        entries = [entry for entry in queue.history.values() if workflow_of_prompt(entry["prompt"]) == workflow]
    found: dict[str, dict] = {}
    for entry in entries:  # oldest first
        places = entry.get("meta") or {}
        for node, said in entry["outputs"].items():
            if said.get("depictqa"):  # the copies of a node in a loop are shown at the node
                found[places.get(node, {}).get("display_node", node)] = said["depictqa"][0]
    return found


def workflow_of(run: str) -> str | None:
    """Return the id of the workflow that a run was queued from, None if it came without one or is not known."""
    queue = PromptServer.instance.prompt_queue
    with queue.mutex:
        active = [*queue.currently_running.values(), *queue.queue]
        finished = queue.history.get(run)
    prompts = [*active, *([finished["prompt"]] if finished else [])]
    return next((workflow_of_prompt(prompt) for prompt in prompts if prompt[1] == run), None)


def workflow_of_prompt(prompt: tuple) -> str | None:
    """The id of the workflow of a queued prompt ``(number, run, graph, extra data, ...)``."""
    workflow = (prompt[3].get("extra_pnginfo") or {}).get("workflow")
    return workflow.get("id") if isinstance(workflow, dict) else None


async def _get_answers(request: web.Request) -> web.Response:
    return web.json_response(answers_of(request.match_info["workflow"]))


async def _get_run(request: web.Request) -> web.Response:
    return web.json_response({"workflow": workflow_of(request.match_info["run"])})


async def _get_picks(_: web.Request) -> web.Response:
    return web.json_response({"picks": picks.waiting()})


async def _post_pick(request: web.Request) -> web.Response:
    try:
        body = await request.json()
        picked = picks.answer(request.match_info["pick"], body.get("picked") if isinstance(body, dict) else None)
    except KeyError:
        return _refused(404, "Nobody waits for this pick: it was made, timed out, or its run was cancelled.")
    except (TaskError, ValueError) as error:
        return _refused(400, str(error))
    return web.json_response({"picked": picked})


async def _post_stop(request: web.Request) -> web.Response:
    try:
        loop_stops.ask(request.match_info["node"])
    except KeyError:
        return _refused(404, "This loop does not run, or is in its first round.")
    return web.json_response({"stops": True})


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def add_routes(routes: web.RouteTableDef) -> None:
    """Add the pack's routes to those of the server."""
    routes.get("/depictqa/answers/{workflow}")(_get_answers)
    routes.get("/depictqa/runs/{run}")(_get_run)
    routes.get("/depictqa/picks")(_get_picks)
    routes.post("/depictqa/picks/{pick}")(_post_pick)
    routes.post("/depictqa/loops/{node}/stop")(_post_stop)
