// One table of what can be done: keys, the help overlay and tests all read it.

import { dialog, el } from "/page/parts/dom.js";

const NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→" };
const nice = (key) => key.split("+").map((part) => NAMES[part] ?? part).join(" ");

/** `commands`: [{section, keys: ["Shift+ArrowLeft", …], what, run}]; without `what` no help.
 * `ready` gives what to wait for. */
export class Keys {
  constructor(commands, ready) {
    this.commands = commands;
    this.ready = ready;
    this.table = new Map(commands.flatMap((one) => one.keys.map((key) => [key, one])));
    addEventListener("keydown", (event) => this.#pressed(event));
  }

  #pressed(event) {
    if (event.altKey || document.querySelector("dialog[open]")) return;
    if (/^(input|select|textarea)$/i.test(event.target.tagName)) return;
    const control = event.ctrlKey || event.metaKey;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const shift = event.shiftKey && (event.key.length > 1 || /[a-z]/i.test(event.key)); // not for ?
    const word = `${control ? "Ctrl+" : ""}${shift ? "Shift+" : ""}${key}`;
    const command = this.table.get(word);
    if (!command || (event.repeat && command.once)) return;
    event.preventDefault(); // Space and Enter would press the button that has the focus
    this.ready().then(command.run); // an episode that is being opened is the one that is meant
  }

  help(...more) {
    const sections = new Map();
    for (const one of this.commands.filter(({ what }) => what)) {
      if (!sections.has(one.section)) sections.set(one.section, []);
      sections.get(one.section).push(one);
    }
    const parts = [...sections].map(([name, all]) =>
      el("section", {}, el("h4", {}, name), el("dl", {}, ...all.flatMap(row))),
    );
    dialog("Keys", el("div", { class: "columns" }, ...parts), ...more);
  }
}

function row({ keys, caps: shown = keys, what }) {
  const caps = shown.flatMap((key) => [el("kbd", {}, nice(key)), " "]);
  return [el("dt", {}, ...caps), el("dd", {}, what)];
}
