// Elements of the page, addresses of images, and images shown large on a click.
// Texts come from models, users and file names: they become text nodes, never HTML.

import { api } from "../../../scripts/api.js";

const LARGE = "depictqa-large";

export function element(tag, text = "", children = []) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

export function button(text, title, click) {
  const made = element("button", text);
  made.type = "button";
  made.title = title;
  made.addEventListener("click", click);
  return made;
}

export function styled(css) {
  document.head.append(element("style", css));
}

export function address({ filename, subfolder = "", type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** An image that is shown large on a click or with Enter. A file that is gone leaves no broken image behind. */
export function thumbnail(file, name) {
  const image = element("img");
  image.src = address(file);
  image.alt = "";
  image.title = name;
  image.tabIndex = 0;
  image.loading = "lazy";
  image.addEventListener("error", () => image.remove());
  image.addEventListener("click", () => enlarge(image.src, name));
  image.addEventListener("keydown", (event) => event.key === "Enter" && enlarge(image.src, name));
  return image;
}

export function enlarge(source, name) {
  const before = document.activeElement;
  const image = element("img");
  image.src = source;
  const cover = element("div", "", [image, element("p", name)]);
  cover.className = LARGE;
  cover.tabIndex = -1;
  const close = () => {
    cover.remove();
    before?.focus?.({ preventScroll: true });
  };
  cover.addEventListener("click", close);
  cover.addEventListener("keydown", (event) => {
    event.stopPropagation(); // keys of the canvas wait
    if (["Escape", "Enter", " "].includes(event.key)) close();
  });
  document.body.append(cover);
  cover.focus();
}

/** Keeps pointer, wheel and keys of a widget away from the canvas below it. */
export function sheltered(box) {
  for (const kind of ["pointerdown", "dblclick", "contextmenu"])
    box.addEventListener(kind, (event) => event.stopPropagation());
  box.addEventListener(
    "wheel",
    (event) => !event.ctrlKey && box.scrollHeight > box.clientHeight && event.stopPropagation(),
    { passive: true },
  );
  return box;
}

export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = element("textarea"); // pages that are not served over https have no clipboard
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
