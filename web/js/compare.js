// Compare Image Quality: A and B of a pair under a slider, with the verdict and what is wrong with each.

import { address, button, element, enlarge } from "./dom.js";
import { t } from "./texts.js";

export const STYLE = `
.depictqa-pair { display: flex; flex-direction: column; gap: 3px; margin-bottom: 4px; }
.depictqa-pair .frame { position: relative; height: 200px; background: #0003; border-radius: 4px; overflow: hidden; }
.depictqa-pair .frame img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; margin: 0; }
.depictqa-pair .frame img.a { clip-path: inset(0 calc(100% - var(--split)) 0 0); }
.depictqa-pair .frame::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--split); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 3px #000; pointer-events: none; }
.depictqa-pair .frame b { position: absolute; top: 4px; padding: 0 6px; border-radius: 4px; background: #000a; color: #fff; }
.depictqa-pair .frame b.a { left: 4px; } .depictqa-pair .frame b.b { right: 4px; }
.depictqa-pair .frame b.best { background: #2a7f3f; }
.depictqa-pair .frame input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
.depictqa-pair .frame:focus-within { outline: 2px solid var(--p-primary-color, #6af); }
.depictqa-pair button { margin-left: 4px; }
`;
const VERDICTS = {
  A: "A ({name}) is better. Probability that A is better: {percent}. The two orders differ by {difference}.",
  B: "B ({name}) is better. Probability that A is better: {percent}. The two orders differ by {difference}.",
  tie: "A tie. Probability that A is better: {percent}. The two orders differ by {difference}.",
};

/** One pair of the list; buttons lead to the others. */
export function comparison(pairs) {
  const box = element("div");
  box.className = "depictqa-pair";
  const show = (index) => box.replaceChildren(...parts(pairs, index, show));
  show(0);
  return box;
}

function parts(pairs, index, show) {
  const pair = pairs[index];
  const head = element("p", verdict(pair));
  if (pair.difference) {
    const large = () => enlarge(address(pair.difference), t("Differences: {a}, {b}", { a: pair.name_a, b: pair.name_b }));
    head.append(button(t("differences"), t("Where the images differ, as a heat map"), large));
  }
  if (pairs.length > 1) {
    const step = (by) => show((index + by + pairs.length) % pairs.length);
    head.append(button("›", t("Next pair"), () => step(1)), button("‹", t("Previous pair"), () => step(-1)));
    head.append(` (${t("pair {index} of {count}", { index: index + 1, count: pairs.length })})`);
  }
  const reasons = [pair.text, pair.found_a && `A: ${pair.found_a}`, pair.found_b && `B: ${pair.found_b}`];
  return [head, frame(pair), ...reasons.filter(Boolean).map((reason) => element("p", reason))];
}

function verdict({ verdict, name_a, name_b, probability_a, disagreement }) {
  const percent = (value) => `${Math.round(100 * value)}%`;
  const values = { percent: percent(probability_a), difference: percent(disagreement) };
  return t(VERDICTS[verdict], { name: verdict === "A" ? name_a : name_b, ...values });
}

function frame({ a, b, name_a, name_b, verdict }) {
  const box = element("div");
  box.className = "frame";
  const layer = (file, kind) => {
    const image = element("img");
    if (file) image.src = address(file);
    image.className = kind;
    image.alt = "";
    image.addEventListener("error", () => image.remove());
    return image;
  };
  const sign = (kind, name) => {
    const made = element("b", kind.toUpperCase());
    made.title = name;
    made.className = verdict === kind.toUpperCase() ? `${kind} best` : kind;
    return made;
  };
  const slider = element("input");
  Object.assign(slider, { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  slider.title = t("Drag: A on the left, B on the right. Double-click: the image under the pointer, large.");
  const move = () => box.style.setProperty("--split", `${slider.value}%`);
  slider.addEventListener("input", move);
  slider.addEventListener("keydown", (event) => event.stopPropagation()); // the canvas has keys of its own
  slider.addEventListener("dblclick", (event) => {
    const left = (100 * event.offsetX) / slider.offsetWidth < slider.value;
    const [file, name] = left ? [a, name_a] : [b, name_b];
    if (file) enlarge(address(file), name);
  });
  box.append(layer(b, "b"), layer(a, "a"), slider, sign("a", name_a), sign("b", name_b));
  move();
  return box;
}
