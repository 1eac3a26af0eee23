// Elements from data: text is always text, so no name of an episode or a person becomes markup.

export const byId = (id) => document.getElementById(id);

/** An element with properties (class, events as on…, anything else as a property) and children. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A note that goes away by itself; `kind` is "" or "bad". */
export function toast(text, kind = "") {
  const note = el("div", { class: `toast ${kind}` }, text);
  const toasts = byId("toasts");
  while (toasts.children.length > 2) toasts.firstChild.remove();
  toasts.append(note);
  setTimeout(() => note.remove(), kind ? 7000 : 2600);
}

/** A dialog in the middle; Escape or a click beside it closes it. */
export function dialog(title, ...children) {
  const box = el("dialog", {}, el("h3", {}, title), ...children);
  box.addEventListener("click", (event) => event.target === box && box.close());
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

/** Ask for a line of text; gives it, or null when the dialog was closed. */
export function ask(title, { value = "", type = "text", note = "", go = "OK" } = {}) {
  return new Promise((done) => {
    const input = el("input", { type, value, maxLength: 100, "aria-label": title });
    let said = null;
    const accept = () => {
      said = input.value.trim() || null;
      if (said) box.close();
    };
    input.addEventListener("keydown", (event) => event.key === "Enter" && accept());
    const row = el("div", {}, input, " ", el("button", { class: "go", onclick: accept }, go));
    const box = dialog(title, row, note ? el("p", { class: "note" }, note) : null);
    box.addEventListener("close", () => done(said));
    input.select();
  });
}
