// Signals of an episode, and which of them a person wants to see.

import { getBytes } from "/page/parts/api.js";
import { dialog, el } from "/page/parts/dom.js";
import { keep, load } from "/page/parts/kept.js";

const SHOWN_FIRST = 3, LINES_FIRST = 8;

export class Signals {
  /** `channels` as the server lists them; `changed()` when others are chosen. */
  constructor(place, channels, changed) {
    Object.assign(this, { place, channels, changed, values: null, columns: 0 });
    this.groups = new Map();
    channels.forEach((channel, i) => {
      if (!this.groups.has(channel.group)) this.groups.set(channel.group, []);
      this.groups.get(channel.group).push(i);
    });
    const names = [...this.groups.keys()];
    const first = names.filter((name) => name !== "next.reward").slice(0, SHOWN_FIRST);
    const known = load(`signals:${place}`, null);
    const some = first.flatMap((name) => this.groups.get(name).slice(0, LINES_FIRST));
    const chosen = known ?? some.map((i) => this.id(i));
    this.chosen = new Set(chosen);
  }

  id(i) {
    return `${this.channels[i].key}/${this.channels[i].name}`;
  }

  async open(url, digest, frames, signal) {
    this.values = null;
    const buffer = await getBytes(`${url}/signals?digest=${digest}`, signal);
    this.values = new Float32Array(buffer);
    this.columns = frames;
  }

  channel(i) {
    return this.values.subarray(i * this.columns, (i + 1) * this.columns);
  }

  /** Lanes of the time line: name, and the chosen channels with their values; none yet, no lines. */
  lanes() {
    return [...this.groups]
      .map(([name, all]) => ({ name, channels: all.filter((i) => this.chosen.has(this.id(i))) }))
      .filter(({ channels }) => channels.length)
      .map(({ name, channels }) => ({
        name,
        lines: (this.values ? channels : []).map((i) => this.#line(i)),
      }));
  }

  #line(i) {
    return { name: this.channels[i].name, values: this.channel(i), hue: i };
  }

  choose() {
    const sections = [...this.groups].map(([name, all]) => {
      const boxes = all.map((i) =>
        el("input", {
          type: "checkbox",
          checked: this.chosen.has(this.id(i)),
          onchange: (event) => this.#pick([i], event.target.checked),
        }),
      );
      const every = el("input", {
        type: "checkbox",
        checked: all.every((i) => this.chosen.has(this.id(i))),
        onchange: (event) => {
          for (const box of boxes) box.checked = event.target.checked;
          this.#pick(all, event.target.checked);
        },
      });
      const single = all.map((i, n) => el("label", {}, boxes[n], this.channels[i].name));
      const rows = all.length > 1 ? single : [];
      return el("section", {}, el("h4", {}, el("label", {}, every, name)), ...rows);
    });
    dialog("Signals under the time line", el("div", { class: "columns" }, ...sections));
  }

  #pick(all, on) {
    for (const i of all) this.chosen[on ? "add" : "delete"](this.id(i));
    keep(`signals:${this.place}`, [...this.chosen]);
    this.changed();
  }
}
