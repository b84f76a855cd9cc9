// Generate Until Good (End): a button that ends the loop after the current round, with the best image so far.

import { app } from "../../../scripts/app.js";
import { t } from "./texts.js";
import { executionIdOf, json } from "./workflow.js";

const NODE = "DepictQA_GenerateUntilGoodEnd";

async function stop(node) {
  const toast = { severity: "info", summary: t("The loop stops after this round."), life: 4000 };
  try {
    await json(`/depictqa/loops/${encodeURIComponent(executionIdOf(node))}/stop`, { method: "POST" });
  } catch (error) {
    const detail = String(error.message ?? error);
    Object.assign(toast, { severity: "warn", summary: t("There is no loop to stop"), detail });
  }
  app.extensionManager?.toast?.add(toast);
}

export function addButton(node) {
  if (node.comfyClass !== NODE) return;
  const widget = node.addWidget("button", "Stop after this round", null, () => stop(node), { serialize: false });
  widget.label = t("Stop after this round");
  widget.serialize = false; // neither in runs nor in the saved graph
}
