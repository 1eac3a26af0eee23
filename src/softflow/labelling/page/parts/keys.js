// One table of what can be done: keys, the help overlay and tests all read it.

import { dialog, el } from "/page/parts/dom.js";

const NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→" };
const nice = (key) => key.split("+").map((part) => NAMES[part] ?? part).join(" ");

const OF_BUTTONS = ["Enter", " "];
const PLACES = { BracketLeft: "[", BracketRight: "]", Comma: ",", Period: "." };
const isLetter = (key) => /^[a-z]$/i.test(key);
const hasAltGraph = (event) => event.getModifierState("AltGraph");

/** What a key may mean: what is written on it, or, where that is no Latin letter (Cyrillic, Greek,
 * digits behind Shift, an input method), what an English keyboard has in its place. */
function words(event) {
  const { key, code, shiftKey } = event;
  const control = (event.ctrlKey || event.metaKey) && !hasAltGraph(event) ? "Ctrl+" : "";
  const word = (cap) => `${control}${shiftKey && (cap.length > 1 || isLetter(cap)) ? "Shift+" : ""}${cap}`;
  const written = word(key.length === 1 ? key.toLowerCase() : key);
  const place = PLACES[code] ?? /^(?:Key|Digit)(\w)$/.exec(code)?.[1].toLowerCase();
  return place && !isLetter(key) ? [written, word(place)] : [written];
}

/** `commands`: [{section, keys: ["Shift+ArrowLeft", …], what, run}]; without `what` no help.
 * `ready` gives what to wait for. */
export class Keys {
  constructor(commands, ready) {
    this.commands = commands;
    this.ready = ready;
    this.table = new Map(commands.flatMap((one) => one.keys.map((key) => [key, one])));
    addEventListener("keydown", (event) => this.#pressed(event));
    // Who uses the mouse goes on with the keys: a button that was clicked does not hold them.
    addEventListener("click", (event) => event.detail && event.target.closest?.("button, a")?.blur());
  }

  #pressed(event) {
    if ((event.altKey && !hasAltGraph(event)) || document.querySelector("dialog[open]")) return;
    const { target } = event;
    if (target.closest?.("input")) return; // of a dialog that this very key has closed
    if (target.closest?.("button, a, select") && OF_BUTTONS.includes(event.key)) return; // Tab led there
    if (target.closest?.("select") && event.key.startsWith("Arrow")) return;
    const command = words(event).map((word) => this.table.get(word)).find(Boolean);
    if (!command) return;
    event.preventDefault();
    if (event.repeat && command.once) return;
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
