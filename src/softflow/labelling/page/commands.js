// What keys do, for the page and for its help.

import { el } from "/page/dom.js";

export function commands(page) {
  const { player } = page;
  const one = (section, keys, what, run, once = false) => ({ section, keys, what, run, once });
  return [
    one("Play", [" "], "play, pause", () => player.toggle(), true),
    one("Play", ["ArrowLeft"], "one frame back", () => page.by(-1)),
    one("Play", ["ArrowRight"], "one frame on", () => page.by(1)),
    one("Play", ["Shift+ArrowLeft"], "ten frames back", () => page.by(-10)),
    one("Play", ["Shift+ArrowRight"], "ten frames on", () => page.by(10)),
    one("Play", ["Home"], "the first frame", () => page.by(-player.step)),
    one("Play", ["End"], "the last frame", () => page.by(player.last - player.step)),
    one("Play", [","], "the event before", () => page.toEvent(-1)),
    one("Play", ["."], "the event after", () => page.toEvent(1)),
    one("Play", ["["], "slower, down to 0.25 ×", () => (player.faster(-1), page.setSpeed(player.speed))),
    one("Play", ["]"], "faster, up to 8 ×", () => (player.faster(1), page.setSpeed(player.speed))),
    one("Play", ["p"], "play the next episode at once, or not", () => page.toggleAuto(), true),
    ...page.kinds
      .filter(({ key }) => key)
      .map((kind) => one("Mark what is seen now", [kind.key], about(kind), () => page.mark(kind), true)),
    one("Mark what is seen now", ["e"], "end here: it is over, without a verdict", () => page.endHere(), true),
    one("Mark what is seen now", ["Backspace", "Delete"], "remove the event nearest to the cursor", () => page.drop()),
    one("Mark what is seen now", ["z", "Ctrl+z"], "undo", () => page.undo()),
    one("Mark what is seen now", ["Shift+z", "Ctrl+Shift+z"], "redo", () => page.redo()),
    one("Save", ["Enter"], "save, and on to the next unlabelled one (of the list's filter)", () => page.saveAndNext(), true),
    one("Save", ["Shift+Enter"], "the same as your own label, where Enter would settle a disagreement", () => page.saveAndNext(false), true),
    one("Save", ["a"], "accept the proposal, and on", () => page.accept(), true),
    one("Save", ["Shift+a"], "take the proposal to correct it", () => page.accept(true), true),
    one("Episodes", ["n"], "the next unlabelled one; what is marked is saved", () => page.open(page.list.next() || page.list.current), true),
    one("Episodes", ["j", "PageDown"], "the next of the list", () => page.open(page.list.neighbour(1) || page.list.current)),
    one("Episodes", ["k", "PageUp"], "the one before", () => page.open(page.list.neighbour(-1) || page.list.current)),
    one("Episodes", ["o"], "what others said, shown or hidden", () => page.toggleOthers(), true),
  ];
}

function about({ name, help, reward }) {
  const worth = reward ? ` (${reward > 0 ? "+" : "−"}${Math.abs(reward)})` : "";
  return `${name.replaceAll("_", " ")}${worth}${help ? `: ${help}` : ""}`;
}

export const hint = () =>
  el(
    "p",
    { class: "note" },
    "Mark an event at the frame where you see it: its reward goes to the action before that frame. " +
      "Drag a flag to move it, right-click removes it, a click on a camera shows it alone. What you " +
      "mark stays in this browser until it is saved; leaving an episode saves it.",
  );
