// Binds a pick of Collect Preferences to the images that were on the node when it was made.

import { api } from "../../../scripts/api.js";
import { nodeOf, openWorkflow, workflowOf } from "./workflow.js";

const NODE = "DepictQA_CollectPreferences";

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

export function bindPick(node) {
  const [picked, pickedOn] = [widgetOf(node, "picked"), widgetOf(node, "picked_on")];
  if (node.comfyClass !== NODE || !picked || !pickedOn) return;
  const before = picked.callback;
  picked.callback = function () {
    const result = before?.apply(this, arguments);
    pickedOn.value = node.depictqaShown ?? "";
    return result;
  };
}

async function executed({ detail: { node: id, output, prompt_id } }) {
  const pick = output?.depictqa_pick?.[0];
  if (!pick || (await workflowOf(prompt_id)) !== openWorkflow()) return;
  const node = nodeOf(id);
  if (!node) return;
  node.depictqaShown = pick.code;
  const picked = widgetOf(node, "picked");
  if (pick.stale !== null && picked?.value === pick.stale) picked.value = ""; // it was made on other images
}

export function listen() {
  api.addEventListener("executed", (event) =>
    executed(event).catch((error) => console.warn("DepictQA: the code of the images is not known.", error)),
  );
}
