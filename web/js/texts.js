// Texts of the page in the language of ComfyUI. English is in the scripts; the other languages are under "DepictQA" in
// locales/LANGUAGE/main.json, which ComfyUI sends to the page.

import { app } from "../../../scripts/app.js";
import { json } from "./workflow.js";

const ENGLISH = "en";
let languages = {};

function language() {
  return app.extensionManager?.setting?.get("Comfy.Locale") || ENGLISH;
}

/** Called before nodes are made: when the page opens, when a graph is opened, and when the language was changed. */
export async function load() {
  if (language() === ENGLISH || Object.keys(languages).length) return;
  languages = await json("/i18n").catch((error) => {
    console.warn("DepictQA: the texts of other languages cannot be read.", error);
    return {};
  });
}

/** The text in the language of the page; values replace names in braces. Without a translation it is English. */
export function t(english, values = {}) {
  const text = languages[language()]?.DepictQA?.[english] ?? english;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
