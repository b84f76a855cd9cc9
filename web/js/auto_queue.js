// Stop Auto Queue: ends the modes in which the page queues the next run by itself.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

function stop() {
  const settings = app.extensionManager?.queueSettings; // "instant", "change", "instant-running", ...
  if (settings && settings.mode !== "disabled") settings.mode = "disabled";
  const box = document.getElementById("autoQueueCheckbox"); // of the old menu
  if (box?.checked) box.click();
  if (app.ui) app.ui.autoQueueEnabled = false;
}

/** The message reaches the page that has queued the run, also for a run whose nodes are all cached. */
export function listen() {
  api.addEventListener("executed", ({ detail }) => detail.output?.depictqa_stop?.[0] && stop());
}
