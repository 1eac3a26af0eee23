// What keys do, for the page and for its help.

import { el } from "/page/parts/dom.js";
import { spoken, worth } from "/page/parts/words.js";

const PLAY = "Play", MARK = "Mark what is seen now", SAVE = "Save", EPISODES = "Episodes";

/** Commands as `Keys` wants them; of two that belong together the first one stands in the help. */
export function commands(page) {
  const { player, marking, saving } = page;
  const one = (section, keys, what, run, once = false) => ({ section, keys, what, run, once });
  const two = (section, [back, on], what, run) => [
    { section, keys: [back], what, caps: [back, on], run: () => run(-1) },
    { section, keys: [on], what: "", run: () => run(1) },
  ];
  return [
    one(PLAY, [" "], "play, pause", () => player.toggle(), true),
    ...two(PLAY, ["ArrowLeft", "ArrowRight"], "one frame back, on", (by) => page.by(by)),
    ...two(PLAY, ["Shift+ArrowLeft", "Shift+ArrowRight"], "ten frames", (by) => page.by(10 * by)),
    ...two(PLAY, ["Home", "End"], "the first, the last frame", (by) => page.by(by * player.last)),
    ...two(PLAY, [",", "."], "the event before, after", (by) => page.toEvent(by)),
    ...two(PLAY, ["[", "]"], "slower, faster: 0.25 to 8 ×", (by) => page.faster(by)),
    one(PLAY, ["p"], "play the next episode at once, or not", () => page.toggleAuto(), true),
    ...page.kinds
      .filter(({ key }) => key)
      .map((kind) => one(MARK, [kind.key], about(kind), () => marking.mark(kind), true)),
    one(MARK, ["e"], "end here: it is over, without a verdict", () => marking.endHere(), true),
    one(MARK, ["Backspace", "Delete"], "remove the event nearest to the cursor", () => marking.drop()),
    ...two(MARK, ["z", "Shift+z"], "undo, redo", (by) => (by < 0 ? marking.undo() : marking.redo())),
    ...["Ctrl+z", "Ctrl+Shift+z"].map((key) =>
      one(MARK, [key], "", () => (key.includes("Shift") ? marking.redo() : marking.undo())),
    ),
    one(SAVE, ["Enter"], "save, and on to the next unlabelled one", () => page.deliberately(() => saving.andNext()), true),
    one(SAVE, ["Shift+Enter"], "… as your own label, where Enter settles", () => page.deliberately(() => saving.andNext(false)), true),
    one(SAVE, ["a"], "accept the proposal, or the other label where two differ, and on", () => page.deliberately(() => marking.accept()), true),
    one(SAVE, ["Shift+a"], "take it, to correct it", () => marking.accept(true), true),
    one(EPISODES, ["n"], "the next unlabelled one", () => page.open(page.list.next() || page.list.current), true),
    ...two(EPISODES, ["k", "j"], "the one before, after, of the list", (by) => page.neighbour(by)),
    ...two(EPISODES, ["PageUp", "PageDown"], "", (by) => page.neighbour(by)),
    one(EPISODES, ["o"], "what others said, shown or hidden", () => page.toggleOthers(), true),
  ];
}

function about({ name, help, reward }) {
  return `${`${spoken(name)} ${worth(reward)}`.trim()}${help ? `: ${help}` : ""}`;
}

export const hint = () =>
  el(
    "p",
    { class: "note" },
    "Mark an event at the frame where you see it: its reward goes to the action before that frame. " +
      "Drag a flag to move it, right-click removes it, a click on a camera shows it alone. What you " +
      "mark stays in this browser until it is saved; leaving an episode saves it. With a filter of " +
      "the list, Enter goes on within that filter.",
  );
