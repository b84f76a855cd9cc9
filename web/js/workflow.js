// Which workflow is open, which node an id of a run means, and which workflow a run belongs to.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const NO_ID = /^[0-]*$/;
const workflows = new Map(); // of runs, by the id of the run

export function openGraph() {
  return app.rootGraph ?? app.graph?.rootGraph ?? app.graph;
}

export function openWorkflow() {
  return openGraph()?.id;
}

/** A graph that came without an id gets one, so that its answers are found again. */
export function identify(graph) {
  const root = graph?.rootGraph ?? graph;
  if (root && NO_ID.test(root.id ?? "")) root.id = LiteGraph.uuidv4();
}

/** The node of an id such as "12:5": node 5 in the subgraph of node 12. */
export function nodeOf(executionId) {
  let [graph, node] = [openGraph(), null];
  for (const part of String(executionId).split(":")) {
    node = graph?.getNodeById(part);
    graph = node?.subgraph;
  }
  return node;
}

/** The id of a node in a run, the other way round. */
export function executionIdOf(node, graph = openGraph(), before = "") {
  for (const one of graph?.nodes ?? []) {
    if (one === node) return `${before}${one.id}`;
    const inside = one.subgraph && executionIdOf(node, one.subgraph, `${before}${one.id}:`);
    if (inside) return inside;
  }
  return null;
}

export async function json(path, options) {
  const answer = await api.fetchApi(path, options);
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

export function workflowOf(run) {
  if (!workflows.has(run)) {
    const found = json(`/depictqa/runs/${run}`).then((answer) => answer.workflow);
    found.catch(() => workflows.delete(run)); // to be asked for again
    workflows.set(run, found);
  }
  return workflows.get(run);
}
