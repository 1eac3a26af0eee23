// The buttons of the page: playing below the cameras, events below the time line.

import { byId, el } from "/page/parts/dom.js";
import { SPEEDS } from "/page/parts/player.js";
import { seconds, spoken, worth } from "/page/parts/words.js";

const END_HERE = { name: "end here", kind: "end", key: "e", help: "It is over, without a verdict" };

export class Controls {
  /** `page` does what the buttons say. */
  constructor(page) {
    this.page = page;
    this.play = button("▶", "Play, pause (Space)", () => page.player.toggle(), "icon");
    this.time = el("span", { id: "time" });
    this.speed = el(
      "select",
      { title: "Speed ([ and ])", "aria-label": "Speed", onchange: () => this.#choseSpeed() },
      ...SPEEDS.map((speed) => el("option", { value: speed }, `${speed} ×`)),
    );
    this.auto = button("auto", "Play the next episode at once (p)", () => page.toggleAuto(), "quiet");
    this.others = button("others", "What others said (o)", () => page.toggleOthers(), "quiet");
    this.undo = button("↶", "Undo (z)", () => page.marking.undo(), "icon");
    this.redo = button("↷", "Redo (Shift z)", () => page.marking.redo(), "icon");
    this.drop = button("⌫", "Remove the event (Backspace)", () => page.marking.drop(), "icon");
    byId("transport").replaceChildren(
      this.play,
      button("‹", "One frame back (←)", () => page.by(-1), "icon"),
      button("›", "One frame on (→)", () => page.by(1), "icon"),
      button("⇤", "Event before (,)", () => page.toEvent(-1), "icon"),
      button("⇥", "Event after (.)", () => page.toEvent(1), "icon"),
      this.speed,
      this.time,
      el("span", { class: "space" }),
      this.drop,
      this.undo,
      this.redo,
      this.auto,
      this.others,
      button("labels", "Every label of this episode", () => page.history(), "quiet"),
      button("signals", "Choose signals", () => page.signals.choose(), "quiet"),
    );
    this.#marks();
  }

  #choseSpeed() {
    this.page.setSpeed(+this.speed.value);
    this.speed.blur(); // or it would swallow the keys that follow
  }

  #marks() {
    const page = this.page;
    this.save = el("button", { class: "go", id: "save", onclick: () => page.saving.andNext() });
    this.accept = el("button", { id: "accept", onclick: () => page.marking.accept() }, "Accept ", el("kbd", {}, "a"));
    byId("marks").replaceChildren(
      ...page.kinds.map((kind) => mark(kind, () => page.marking.mark(kind))),
      mark(END_HERE, () => page.marking.endHere()),
      el("span", { class: "space" }),
      this.accept,
      this.save,
    );
  }

  show() {
    const { player, draft, seesOthers, auto, place } = this.page;
    this.play.textContent = player.playing ? "❚❚" : "▶";
    this.speed.value = player.speed;
    this.auto.classList.toggle("on", auto);
    this.others.classList.toggle("on", seesOthers);
    this.time.replaceChildren(
      el("b", {}, seconds(player.step, place.control_hz)),
      ` of ${seconds(player.last, place.control_hz)} · frame ${player.step}`,
    );
    this.undo.disabled = !draft?.past.length;
    this.redo.disabled = !draft?.future.length;
    this.drop.disabled = !draft?.events.length;
    const { offered } = this.page.marking;
    this.accept.hidden = !offered;
    this.accept.title = `Take what ${offered?.by} says, as it is`;
  }

  /** What Enter will do. */
  saying(words) {
    this.save.replaceChildren(words, " ", el("kbd", {}, "Enter"));
  }
}

const button = (text, title, onclick, kind) =>
  el("button", { class: kind, title, "aria-label": title, onclick }, text);

function mark(kind, onclick) {
  const about = kind.kind === "success" ? "✓" : kind.kind === "failure" ? "✗" : "";
  return el(
    "button",
    { class: `mark ${kind.kind}`, title: kind.help || kind.name, onclick },
    kind.key ? el("kbd", {}, kind.key) : null,
    el("b", {}, spoken(kind.name)),
    el("small", {}, `${worth(kind.reward)} ${about}`.trim()),
  );
}
