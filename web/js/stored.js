// One widget on every node that says something. It is drawn from what the server has stored of the runs of this workflow,
// so that an answer outlives the end of its job, undo, a change of tabs and a reload, which all rebuild the nodes.

import { api } from "../../../scripts/api.js";
import { draw } from "./answers.js";
import { element, sheltered } from "./dom.js";
import { t } from "./texts.js";
import { identify, json, nodeOf, openWorkflow, workflowOf } from "./workflow.js";

const WIDGET = "depictqa_answers";
const TEXT_PREVIEW = "$$node-text-preview"; // where ComfyUI shows progress texts
const TABLE = { least: 220, width: 440, more: 230 }; // heights of the box and of a new node: six rows, also in Nodes 2.0
const LINE = { least: 56, width: 280, more: 0 }; // of nodes that say one line
const SIZES = { DepictQA_StopAutoQueue: LINE };
const SILENT = ["LoadModel", "LoadServer", "JudgeFromTextEncoder", "GenerateUntilGoodStart"].map((name) => `DepictQA_${name}`);
const shown = new Map(); // workflow -> Map(execution id -> answer)

// The widget shows all images of a node. In Nodes 2.0 a preview of ComfyUI would show them a second time, and those of Judge
// Video as a video that fails to load. This must be added before ComfyUI's own listeners: when the module is loaded.
api.addEventListener("executed", ({ detail: { output } }) => {
  if (output?.depictqa) delete output.images;
});

export function speaks(type) {
  return type.startsWith("DepictQA_") && !SILENT.includes(type);
}

export function addWidget(node) {
  const size = SIZES[node.comfyClass ?? node.type] ?? TABLE;
  const box = sheltered(element("div", "", [element("p", t("The answers appear here after a run."))]));
  box.className = "depictqa-answers";
  box.dataset.widget = WIDGET;
  box.style.minHeight = `${size.least}px`;
  const widget = node.addDOMWidget(WIDGET, "depictqa", box, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => size.least, // the same before and after a run: undo compares sizes
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false; // the answers are no part of the saved graph
  node.hideOutputImages = true; // Nodes 2.0 would show the images again below the box, those of Judge Video as a broken video
  const [width, height] = node.computeSize();
  node.setSize([Math.max(width, size.width), height + size.more]);
}

export function boxOf(node) {
  return node?.widgets?.find((widget) => widget.name === WIDGET)?.element;
}

function show(executionId, answer) {
  const node = nodeOf(executionId);
  const box = boxOf(node);
  if (!box) return;
  box.replaceChildren(...draw(answer));
  const text = node.widgets.findIndex((widget) => widget.name === TEXT_PREVIEW);
  if (text >= 0) {
    node.widgets[text].onRemove?.();
    node.widgets.splice(text, 1);
  }
  node.setDirtyCanvas?.(true, true);
}

function answersOf(workflow) {
  if (!shown.has(workflow)) shown.set(workflow, new Map());
  return shown.get(workflow);
}

async function executed({ detail: { node, display_node, output, prompt_id } }) {
  const answer = output?.depictqa?.[0];
  if (!answer) return;
  const [workflow, id] = [await workflowOf(prompt_id), String(display_node ?? node)];
  answersOf(workflow).set(id, answer);
  if (workflow === openWorkflow()) show(id, answer);
}

/** Called when the nodes of a graph were made: it was opened, its tab was chosen, or a step was undone. */
export async function recall() {
  const workflow = openWorkflow();
  const known = shown.has(workflow);
  const answers = answersOf(workflow);
  answers.forEach((answer, id) => show(id, answer));
  if (known) return;
  for (const [id, answer] of Object.entries(await json(`/depictqa/answers/${workflow}`))) {
    if (answers.has(id)) continue; // this page has seen a newer run
    answers.set(id, answer);
    if (workflow === openWorkflow()) show(id, answer);
  }
}

export function listen() {
  api.addEventListener("execution_start", ({ detail }) => workflowOf(detail.prompt_id).catch(() => {})); // known when it answers
  api.addEventListener("reconnected", () => {
    shown.clear(); // answers may have been missed
    recall().catch((error) => console.warn("DepictQA: stored answers cannot be read.", error));
  });
  api.addEventListener("executed", (event) =>
    executed(event).catch((error) => console.warn("DepictQA: an answer cannot be drawn.", error)),
  );
}

/** The widget shows all images of a node; ComfyUI's own preview could be one of another node that had its id. */
export function withoutPreview(prototype) {
  prototype.onDrawBackground = () => {};
  const before = prototype.onExecuted;
  prototype.onExecuted = function (output) {
    if (output) delete output.images;
    before?.apply(this, arguments);
  };
  const added = prototype.onAdded;
  prototype.onAdded = function (graph) {
    identify(graph);
    added?.apply(this, arguments);
  };
}
