// What the DepictQA nodes add to ComfyUI's page.

import { app } from "../../scripts/app.js";
import { STYLE } from "./js/answers.js";
import * as autoQueue from "./js/auto_queue.js";
import * as choices from "./js/choices.js";
import * as compare from "./js/compare.js";
import { styled } from "./js/dom.js";
import * as loop from "./js/loop.js";
import * as pick from "./js/pick.js";
import * as preferences from "./js/preferences.js";
import { remount } from "./js/remount.js";
import * as stored from "./js/stored.js";
import * as texts from "./js/texts.js";

/** A graph that was saved before there was a report_format still gets JSON. */
function keepJson(prototype) {
  const before = prototype.onConfigure;
  prototype.onConfigure = function (saved) {
    before?.apply(this, arguments);
    const index = this.widgets?.findIndex((widget) => widget.name === "report_format") ?? -1;
    if (index >= 0 && saved.widgets_values?.length <= index) this.widgets[index].value = "json";
  };
}

app.registerExtension({
  name: "depictqa.nodes",
  async setup() {
    styled(STYLE + choices.STYLE + pick.STYLE + compare.STYLE);
    stored.listen();
    preferences.listen();
    autoQueue.listen();
    await texts.load();
    await pick.listen().catch((error) => console.warn("DepictQA: open picks cannot be read.", error));
  },
  async beforeRegisterNodeDef(nodeType, nodeData) {
    if (!stored.speaks(nodeData.name)) return;
    stored.withoutPreview(nodeType.prototype);
    keepJson(nodeType.prototype);
    const lists = choices.taken(nodeData);
    const created = nodeType.prototype.onNodeCreated;
    nodeType.prototype.onNodeCreated = function () {
      created?.apply(this, arguments);
      choices.replaceWidgets(this, lists);
      preferences.bindPick(this);
      pick.addButton(this);
      loop.addButton(this);
      stored.addWidget(this);
    };
  },
  beforeConfigureGraph: texts.load,
  async afterConfigureGraph() {
    remount();
    await stored.recall().catch((error) => console.warn("DepictQA: stored answers cannot be read.", error));
    pick.recall();
  },
});
