// Nodes 2.0 draws a node by its id and mounts the elements of its widgets once. Undo and redo make new nodes with the same
// ids: without this the page would show the elements of the nodes that are gone, and no answer of a later run.

import { app } from "../../../scripts/app.js";

const OURS = ".depictqa-answers, .depictqa-choices";

/** Called when the nodes of a graph were made: replaces each element of a former node by that of the new one. */
export function remount() {
  for (const former of document.querySelectorAll(OURS)) {
    const id = former.closest("[data-node-id]")?.dataset.nodeId; // classic nodes have none, and mount all elements again
    const node = id === undefined ? null : app.canvas?.graph?.getNodeById(id);
    const element = node?.widgets?.find((widget) => widget.element?.dataset?.widget === former.dataset.widget)?.element;
    if (element && element !== former) former.replaceWith(element);
  }
}
