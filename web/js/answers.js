// Draws what a node says: notes, a table with small images, and images.

import { comparison } from "./compare.js";
import { copyText, button, element, thumbnail } from "./dom.js";
import { t } from "./texts.js";

export const STYLE = `
.depictqa-answers { overflow: auto; font: 12px sans-serif; color: var(--input-text, #ddd); box-sizing: border-box;
  contain: size; height: 100%; /* the node gives the size, not the number of rows; stored.js its minimum */
  background: var(--comfy-input-bg, #222); border-radius: 6px; padding: 4px 8px; user-select: text; }
.depictqa-answers table { border-collapse: collapse; width: 100%; }
.depictqa-answers th, .depictqa-answers td { text-align: left; vertical-align: middle; padding: 2px 6px 2px 0; }
.depictqa-answers th { font-weight: normal; opacity: 0.7; cursor: pointer; white-space: nowrap; }
.depictqa-answers th:focus-visible, .depictqa-answers img:focus-visible { outline: 2px solid var(--p-primary-color, #6af); }
.depictqa-answers tr + tr td { border-top: 1px solid var(--border-color, #444); }
.depictqa-answers td > div { overflow: hidden; overflow-wrap: anywhere; display: -webkit-box; -webkit-box-orient: vertical;
  -webkit-line-clamp: 2; }
.depictqa-answers td.whole > div { display: block; }
.depictqa-answers td.number { white-space: nowrap; }
.depictqa-answers td.thumbnails { white-space: nowrap; width: 1px; }
.depictqa-answers td img { height: 34px; max-width: 60px; object-fit: cover; }
.depictqa-answers img { cursor: zoom-in; border-radius: 3px; display: inline-block; margin-right: 4px; vertical-align: middle; }
.depictqa-answers .images img { max-width: 100%; max-height: 480px; margin: 4px 0; }
.depictqa-answers p { margin: 2px 0; opacity: 0.8; overflow-wrap: anywhere; }
.depictqa-answers button { float: right; font: inherit; color: inherit; background: none; cursor: pointer;
  border: 1px solid var(--border-color, #444); border-radius: 4px; }
.depictqa-large { position: fixed; inset: 0; z-index: 10000; display: flex; flex-direction: column; align-items: center;
  justify-content: center; background: rgba(0, 0, 0, 0.85); color: #ddd; cursor: zoom-out; outline: none; }
.depictqa-large img { max-width: 96vw; max-height: 90vh; min-width: min(60vw, 512px); object-fit: contain; }
`;
const NUMBER = /^[+\-−]?\d+(\.\d+)?/;
const FORMULA = /^[=+\-@\t\n＝＋－＠]/;

export function draw({ columns = [], rows = [], notes = [], images = [], pairs = [], folder = "" }) {
  const parts = pairs.length ? [comparison(pairs)] : [];
  if (rows.length)
    parts.push(button(t("copy"), t("Copy as a table for a spreadsheet"), () => copyText(asText(columns, rows))));
  parts.push(...notes.map((note) => element("p", note)));
  if (rows.length) parts.push(table(columns, rows, folder));
  if (images.length) {
    const shown = element("div", "", images.map((image) => thumbnail(image, image.filename)));
    shown.className = "images";
    parts.push(shown);
  }
  return parts;
}

function table(columns, rows, folder) {
  const body = element("tbody", "", rows.map((row) => tableRow(row, folder)));
  const heads = ["", ...columns].map((column, index) => head(column, index, body));
  return element("table", "", [element("thead", "", [element("tr", "", heads)]), body]);
}

function tableRow({ cells, thumbnails }, folder) {
  const images = thumbnails.map((filename) => thumbnail({ filename, subfolder: folder, type: "temp" }, cells.join("\n")));
  const shown = element("td", "", images);
  shown.className = "thumbnails";
  return element("tr", "", [shown, ...cells.map(tableCell)]);
}

function tableCell(text) {
  const cell = element("td", "", [element("div", text)]); // two lines of it; a click shows the rest
  if (NUMBER.exec(text)?.[0].length === text.replace(/ ?%$/, "").length) cell.className = "number";
  cell.title = text;
  cell.addEventListener("click", () => cell.classList.toggle("whole"));
  return cell;
}

function head(column, index, body) {
  const cell = element("th", column);
  if (index === 0) return cell;
  let direction = 0;
  const sort = () => {
    direction = direction === 1 ? -1 : 1;
    const text = (row) => row.cells[index].textContent;
    body.append(...[...body.rows].sort((a, b) => direction * compare(text(a), text(b))));
    for (const other of cell.parentNode.cells) other.removeAttribute("aria-sort");
    cell.ariaSort = direction === 1 ? "ascending" : "descending";
  };
  cell.tabIndex = 0;
  cell.title = t("Sort by this column");
  cell.addEventListener("click", sort);
  cell.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  return cell;
}

/** Numbers by value and before texts, texts as people sort them. */
function compare(a, b) {
  const [x, y] = [a, b].map((text) => parseFloat((NUMBER.exec(text)?.[0] ?? "").replace("−", "-")));
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
  return (Number.isNaN(x) ? 0 : x - y) || a.localeCompare(b, undefined, { numeric: true });
}

/** Columns between tabs; a text that a spreadsheet would take for a formula has an apostrophe in front. */
function asText(columns, rows) {
  const cell = (text) => {
    const line = text.replace(/\s+/g, " ");
    return FORMULA.test(line) && Number.isNaN(Number(line)) ? `'${line}` : line;
  };
  return [columns, ...rows.map((row) => row.cells)].map((cells) => cells.map(cell).join("\t")).join("\n");
}
