"""A loop inside one run: the nodes between two nodes of a graph run again and again, each round with another seed.

ComfyUI has no loops, but a node may expand: it returns further nodes, and takes its outputs from them. The node at the
end of the loop returns a copy of all nodes between start and end, and of itself, whose copy decides in the same way
whether there is another round. A copy has the values of its round where the original has links to the start. Nothing
else differs, so that ComfyUI finds a round in its cache when the same round is needed again, as after a cancelled run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from comfy_execution.graph import DynamicPrompt
from comfy_execution.graph_utils import GraphBuilder, is_link

from ..depictqa_core.errors import TaskError

START = "DepictQA_GenerateUntilGoodStart"
SEEDS = 2**64


class Copied(NamedTuple):
    """A node as it is in the graph: its class, its inputs, and the id of the node that shows its progress."""

    class_type: str
    inputs: Mapping[str, Any]
    shown_at: str


@dataclass(frozen=True, eq=False)
class Loop:
    """One round: what the start of a loop gives to its end, and one round to the next.

    Attributes:
        seed: the seed of this round.
        round: its number, from 1.
        start, end: ids of the nodes at both ends; empty until the end has run. The start does not know its id: its
            output may come from the cache, where an equal node of another graph has put it.
        nodes: what is copied for the next round, by id; the end is among it.
        found: what the end knows after the rounds before this one.
    """

    seed: int
    round: int = 1
    start: str = ""
    end: str = ""
    nodes: Mapping[str, Copied] | None = None
    found: Any = None

    @property
    def shown_at(self) -> str:
        """Id of the node of the page that shows the answers of the end."""
        return (self.nodes or {})[self.end].shown_at

    def values(self) -> tuple["Loop", int, int]:
        """The outputs of the start in this round."""
        return self, self.seed, self.round

    def closed(self, graph: DynamicPrompt, end: str) -> "Loop":
        """Return the loop with the nodes that it copies; the first round finds them.

        Args:
            graph: that of the run.
            end: id of the node at the end.

        Raises:
            TaskError: the images do not depend on the start: all rounds would be the same.
        """
        if self.nodes is not None:
            return self
        start = _start_of(graph, end)
        return replace(self, start=start, end=end, nodes=_between(graph, start, end))

    def next(self, found: Any) -> tuple[dict[str, dict], str]:
        """Return the nodes of the next round, and the id of its end.

        Args:
            found: what the end knows now.
        """
        after = replace(self, seed=(self.seed + 1) % SEEDS, round=self.round + 1, found=found)
        graph = GraphBuilder(prefix=f"{self.end}.{after.round}.")
        for node_id, node in (self.nodes or {}).items():
            copy = graph.node(node.class_type, node_id)
            copy.inputs = {name: self._value(graph, value, after) for name, value in node.inputs.items()}
            copy.set_override_display_id(node.shown_at)
        return graph.finalize(), f"{graph.prefix}{self.end}"

    def _value(self, graph: GraphBuilder, value: Any, after: "Loop") -> Any:
        """The value of an input in the next round: of the start, a link to a copy, or as it is."""
        if not is_link(value):
            return value
        node_id, slot = value
        if node_id == self.start:
            return after.values()[int(slot)]
        return [f"{graph.prefix}{node_id}", slot] if node_id in (self.nodes or {}) else value


def _start_of(graph: DynamicPrompt, end: str) -> str:
    """The id of the start that is linked to the end, directly or through nodes that pass the loop on."""
    waiting: list[str] = [graph.get_node(end)["inputs"]["loop"][0]]
    for node_id in waiting:
        node = graph.get_node(node_id)
        if node["class_type"] == START:
            return node_id
        waiting += [value[0] for value in node["inputs"].values() if is_link(value) and value[0] not in waiting]
    raise TaskError("loop: does not come from Generate Until Good (Start); link its loop.")


def _between(graph: DynamicPrompt, start: str, end: str) -> dict[str, Copied]:
    """The end, and the nodes that lie on a way from the start to the end, by id."""
    users: dict[str, set[str]] = {}
    waiting, known = [end], {end}
    while waiting:
        user = waiting.pop()
        for value in graph.get_node(user)["inputs"].values():
            if is_link(value):
                users.setdefault(value[0], set()).add(user)
                if value[0] not in known:
                    known.add(value[0])
                    waiting.append(value[0])
    inside: set[str] = set()
    waiting = [start]
    while waiting:
        for user in users.get(waiting.pop(), set()) - inside:
            inside.add(user)
            waiting.append(user)
    images = graph.get_node(end)["inputs"].get("images")
    if not is_link(images) or images[0] not in inside:
        raise TaskError(
            "images: do not depend on Generate Until Good (Start), so that all rounds would be the same; link its seed "
            "to your sampler."
        )
    return {node_id: _copied(graph, node_id) for node_id in sorted(inside)}


def _copied(graph: DynamicPrompt, node_id: str) -> Copied:
    node = graph.get_node(node_id)
    return Copied(node["class_type"], dict(node["inputs"]), graph.get_display_node_id(node_id))
