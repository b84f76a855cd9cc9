// Draws the answers of the DepictQA nodes on the nodes themselves: a table with small images, in place of plain text.
// Binds a pick of Collect Preferences to the images that were on the node when it was made.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const WIDGET = "depictqa_answers";
const TEXT_PREVIEW = "$$node-text-preview"; // where ComfyUI shows progress texts
const HEIGHT = { table: 220, notes: 80 };

const STYLE = `
.depictqa-answers { overflow: auto; font: 12px sans-serif; color: var(--input-text, #ddd);
  background: var(--comfy-input-bg, #222); border-radius: 6px; padding: 4px 8px; user-select: text; }
.depictqa-answers table { border-collapse: collapse; width: 100%; }
.depictqa-answers th, .depictqa-answers td { text-align: left; vertical-align: top; padding: 3px 6px 3px 0; }
.depictqa-answers th { font-weight: normal; opacity: 0.6; }
.depictqa-answers tr + tr td { border-top: 1px solid var(--border-color, #444); }
.depictqa-answers img { display: inline-block; max-width: 64px; max-height: 64px; margin-right: 4px; border-radius: 3px; }
.depictqa-answers p { margin: 2px 0; opacity: 0.8; }
`;

function element(tag, text, children = []) {
  const made = document.createElement(tag);
  if (text) made.textContent = text; // never as HTML: a text may come from a model or a file name
  made.append(...children);
  return made;
}

function thumbnail(filename, subfolder) {
  const image = element("img");
  image.src = api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type: "temp" })}`);
  return image;
}

function draw(table) {
  const notes = table.notes.map((note) => element("p", note));
  if (!table.rows.length) return notes;
  const heads = ["", ...table.columns].map((column) => element("th", column));
  const rows = table.rows.map((row) => {
    const pictures = element("td", "", row.thumbnails.map((name) => thumbnail(name, table.folder)));
    return element("tr", "", [pictures, ...row.cells.map((cell) => element("td", cell))]);
  });
  return [...notes, element("table", "", [element("tr", "", heads), ...rows])];
}

function answersElement(node) {
  const known = node.widgets?.find((widget) => widget.name === WIDGET);
  if (known) return known.element;
  const box = element("div");
  box.className = "depictqa-answers";
  const widget = node.addDOMWidget(WIDGET, "depictqa", box, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => (box.querySelector("table") ? HEIGHT.table : HEIGHT.notes),
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false; // the answers are no part of the saved graph
  return box;
}

function removePlainText(node) {
  const index = node.widgets?.findIndex((widget) => widget.name === TEXT_PREVIEW) ?? -1;
  if (index < 0) return;
  node.widgets[index].onRemove?.();
  node.widgets.splice(index, 1);
}

function show(node, table) {
  answersElement(node).replaceChildren(...draw(table));
  removePlainText(node);
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
  node.setDirtyCanvas?.(true, true);
}

function bindPick(node) {
  const picked = node.widgets?.find((widget) => widget.name === "picked");
  const pickedOn = node.widgets?.find((widget) => widget.name === "picked_on");
  if (!picked || !pickedOn) return;
  const before = picked.callback;
  picked.callback = function () {
    const result = before?.apply(this, arguments);
    pickedOn.value = node.depictqaShown ?? "";
    return result;
  };
}

function showPick(node, { code, stale }) {
  node.depictqaShown = code;
  const picked = node.widgets?.find((widget) => widget.name === "picked");
  if (stale !== null && picked?.value === stale) picked.value = ""; // it was made on other images
}

app.registerExtension({
  name: "DepictQA.answers",
  async setup() {
    document.head.append(element("style", STYLE));
  },
  async beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("DepictQA_")) return;
    const created = nodeType.prototype.onNodeCreated;
    nodeType.prototype.onNodeCreated = function () {
      created?.apply(this, arguments);
      bindPick(this);
    };
    const before = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      before?.apply(this, arguments);
      const pick = output?.depictqa_pick?.[0];
      if (pick) showPick(this, pick);
      const table = output?.depictqa?.[0];
      if (!table) return;
      try {
        show(this, table);
      } catch (error) {
        console.warn("DepictQA: the answers stay plain text, the table cannot be drawn here.", error);
      }
    };
  },
});
