// Pick Images: shows the images of a run that waits, and tells the server which ones were clicked.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { address, button, element, enlarge } from "./dom.js";
import { boxOf } from "./stored.js";
import { t } from "./texts.js";
import { json, nodeOf, openWorkflow } from "./workflow.js";

const NODE = "DepictQA_PickImages";
const waiting = new Map(); // id -> pick; its own list "chosen" outlives a change of tabs

export const STYLE = `
.depictqa-pick { display: flex; flex-direction: column; height: 100%; gap: 4px; outline: none; }
.depictqa-pick .bar { display: flex; gap: 6px; align-items: center; flex-wrap: wrap; }
.depictqa-pick .bar p { flex: 1; }
.depictqa-pick button { float: none; padding: 3px 8px; font: inherit; color: inherit; background: none; cursor: pointer;
  border: 1px solid var(--border-color, #444); border-radius: 4px; }
.depictqa-pick .bar .go { background: var(--p-primary-color, #369); }
.depictqa-pick .cards { flex: 1; overflow: auto; display: grid; gap: 6px; align-content: start;
  grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); }
.depictqa-pick .card { position: relative; padding: 3px; border-width: 2px; text-align: left; min-width: 0;
  display: flex; flex-direction: column; }
.depictqa-pick .card[aria-pressed="true"] { border-color: var(--p-primary-color, #6af); box-shadow: 0 0 0 2px #6af; }
.depictqa-pick .card:focus-visible { outline: 2px dashed currentColor; outline-offset: 1px; }
.depictqa-pick .card img { width: 100%; max-height: none; cursor: pointer; margin: 0; display: block; }
.depictqa-pick .card span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.depictqa-pick .card b { position: absolute; top: 6px; left: 6px; background: #6af; color: #000; border-radius: 9px; padding: 0 6px; }
.depictqa-pick.full { position: fixed; inset: 0; z-index: 9000; padding: 12px; background: var(--comfy-menu-bg, #222);
  color: var(--input-text, #ddd); font: 14px sans-serif; box-sizing: border-box; }
.depictqa-pick.full .cards { grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); }
`;

function card(pick, index, toggle) {
  const { file, name, score, rank } = pick.images[index];
  const facts = [rank === null ? "" : `#${rank}`, score === null ? "" : score.toFixed(1)].filter(Boolean).join("  ");
  const made = button("", `${name}\n${t("Shift-click: show it large")}`, (event) =>
    event.shiftKey && file ? enlarge(address(file), name) : toggle(index),
  );
  made.className = "card";
  if (file) {
    const image = element("img");
    image.src = address(file);
    image.alt = name;
    made.append(image);
  }
  made.append(element("span", `${index + 1}. ${facts}`), element("span", name));
  return made;
}

function panel(pick, box) {
  pick.chosen ??= [];
  const said = element("p");
  const go = button("", t("Enter"), () => answer(pick, pick.chosen));
  go.className = "go";
  const toggle = (index) => {
    const at = pick.chosen.indexOf(index);
    if (at >= 0) pick.chosen.splice(at, 1);
    else {
      if (pick.most && pick.chosen.length >= pick.most) pick.chosen.pop(); // the last one makes room
      pick.chosen.push(index);
    }
    update();
  };
  const cards = pick.images.map((_, index) => card(pick, index, toggle));
  const grid = element("div", "", cards);
  grid.className = "cards";
  const none = button(t("none"), t("Continue without an image"), () => answer(pick, []));
  const large = button("⤢", t("Fill the page, or go back to the node"), () => {
    const full = root.classList.toggle("full");
    (full ? document.body : box).append(root);
    root.focus({ preventScroll: true });
  });
  const bar = element("div", "", [said, large, none, go]);
  bar.className = "bar";
  const root = element("div", "", [bar, grid]);
  root.className = "depictqa-pick";
  root.tabIndex = 0;
  root.addEventListener("keydown", (event) => keyed(event, { pick, cards, grid, toggle, large, root, update }));
  function update() {
    cards.forEach((one, index) => {
      const place = pick.chosen.indexOf(index);
      one.ariaPressed = String(place >= 0);
      one.querySelector("b")?.remove();
      if (place >= 0) one.append(element("b", String(place + 1)));
    });
    go.textContent = t("continue with {count}", { count: pick.chosen.length });
    go.disabled = !pick.chosen.length;
    said.textContent = pick.most
      ? t("Pick up to {most}, the best first.", { most: pick.most })
      : t("Pick images, the best first.");
  }
  update();
  return root;
}

function keyed(event, { pick, cards, grid, toggle, large, root, update }) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = cards.indexOf(document.activeElement);
  const across = cards.filter((one) => one.offsetTop === cards[0].offsetTop).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across };
  if (event.key in steps) cards[Math.min(Math.max(at < 0 ? 0 : at + steps[event.key], 0), cards.length - 1)].focus();
  else if (event.key === " " && at >= 0) toggle(at);
  else if (/^[1-9]$/.test(event.key) && event.key <= cards.length) toggle(Number(event.key) - 1);
  else if (event.key === "Enter" && pick.chosen.length) answer(pick, pick.chosen);
  else if (event.key === "Escape" && root.classList.contains("full")) large.click();
  else if (event.key === "Escape") {
    pick.chosen.length = 0;
    update();
  } else return;
  event.preventDefault();
  event.stopPropagation(); // the canvas has keys of its own
}

async function answer(pick, picked) {
  const body = JSON.stringify({ picked });
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  await json(`/depictqa/picks/${pick.id}`, options).catch((error) => notify("warn", error.message));
}

function notify(severity, detail) {
  app.extensionManager?.toast?.add({ severity, summary: "DepictQA", detail, life: 6000 });
}

function show(pick) {
  const box = pick.workflow === openWorkflow() ? boxOf(nodeOf(pick.node)) : null;
  if (!box) return notify("info", t("A run waits for a pick: open the workflow with its Pick Images node."));
  box.replaceChildren((pick.panel = panel(pick, box)));
}

function asked(pick) {
  if (waiting.has(pick.id)) return;
  waiting.set(pick.id, pick);
  show(pick);
}

function ended({ id }) {
  const pick = waiting.get(id);
  waiting.delete(id);
  pick?.panel?.replaceWith(element("p", t("The pick was made, timed out or was cancelled.")));
}

/** The picks that the server waits for now; those that it no longer knows are gone. */
async function refresh() {
  const { picks } = await json("/depictqa/picks");
  const known = new Set(picks.map((pick) => pick.id));
  for (const id of [...waiting.keys()]) if (!known.has(id)) ended({ id });
  picks.forEach(asked);
}

/** Called when the nodes of a graph were made. */
export function recall() {
  for (const pick of waiting.values()) {
    pick.panel?.remove(); // one that fills the page would stay
    if (pick.workflow === openWorkflow()) show(pick);
  }
}

export function listen() {
  const safely = (act) => (event) =>
    Promise.resolve(act(event.detail)).catch((error) => console.warn("DepictQA: a pick cannot be shown.", error));
  api.addEventListener("depictqa.pick", safely(asked));
  api.addEventListener("depictqa.picked", safely(ended));
  api.addEventListener("reconnected", safely(refresh));
  return refresh();
}

export function addButton(node) {
  const again = node.widgets?.find((widget) => widget.name === "again");
  if (node.comfyClass !== NODE || !again) return;
  const widget = node.addWidget("button", "Pick again", null, () => {
    again.value += 1;
    app.queuePrompt(0);
  });
  widget.label = t("Pick again");
  widget.serialize = false;
}
