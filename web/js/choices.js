// A list to choose from in which several entries can be chosen. ComfyUI's own one is missing in Nodes 2.0, and its value
// cannot be cloned into a subgraph.

import { app } from "../../../scripts/app.js";
import { element, sheltered } from "./dom.js";

const HEIGHT = 112;
export const STYLE = `
.depictqa-choices { overflow: auto; font: 12px sans-serif; color: var(--input-text, #ddd); box-sizing: border-box; contain: size;
  height: 100%; min-height: ${HEIGHT}px; background: var(--comfy-input-bg, #222); border-radius: 6px; padding: 4px 8px; }
.depictqa-choices p { margin: 0 0 4px; opacity: 0.8; }
.depictqa-choices .all { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.depictqa-choices label { display: flex; gap: 4px; align-items: center; cursor: pointer; }
`;

/** Takes over the lists of a class of nodes, before ComfyUI makes widgets of its own for them; their names and options. */
export function taken(nodeData) {
  const lists = [];
  for (const group of Object.values(nodeData.input ?? {})) {
    for (const [name, spec] of Object.entries(group ?? {})) {
      if (!spec?.[1]?.multi_select) continue;
      lists.push([name, spec[1].options]);
      for (const options of [spec[1], nodeData.inputs?.[name]]) delete options?.multi_select; // of both forms of a schema
    }
  }
  return lists;
}

/** Puts lists in place of the widgets of the same names. */
export function replaceWidgets(node, lists) {
  for (const [name, options] of lists) {
    const place = node.widgets?.findIndex((widget) => widget.name === name) ?? -1;
    if (place < 0) continue;
    const [replaced] = node.widgets.splice(place, 1);
    addList(node, name, replaced.label ?? name, options);
    node.widgets.splice(place, 0, node.widgets.pop()); // saved values are told apart by their place
  }
}

function addList(node, name, label, options) {
  let chosen = [];
  const head = element("p");
  const boxes = options.map((option) => {
    const box = Object.assign(element("input"), { type: "checkbox", value: option });
    box.addEventListener("change", () => {
      choose(boxes.filter((one) => one.checked).map((one) => one.value));
      app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState(); // so that undo knows of it
    });
    return box;
  });
  const choose = (values) => {
    chosen = [values ?? []].flat();
    for (const box of boxes) box.checked = chosen.includes(box.value);
    head.textContent = `${label}: ${chosen.join(", ") || "–"}`;
  };
  choose([]);
  const all = element("div", "", boxes.map((box) => element("label", "", [box, element("span", box.value)])));
  all.className = "all";
  const list = sheltered(element("div", "", [head, all]));
  list.className = "depictqa-choices";
  list.dataset.widget = name;
  node.addDOMWidget(name, "depictqa_choices", list, {
    hideOnZoom: false,
    getMinHeight: () => HEIGHT,
    getMaxHeight: () => HEIGHT,
    getValue: () => [...chosen],
    setValue: choose,
  });
}
