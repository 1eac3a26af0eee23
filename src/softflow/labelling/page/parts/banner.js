// The line above the cameras: what is wrong, until it is not. One thing at a time.

import { byId } from "/page/parts/dom.js";

/** Show a text, or nothing for ""; `from` says who may take it away again. */
export function banner(text, kind = "", from = "") {
  const box = byId("banner");
  box.className = kind;
  box.dataset.from = from;
  box.textContent = text;
  box.hidden = !text;
}

const from = () => byId("banner").dataset.from;

/** What the outbox tells: labels that could not be saved yet. */
export function labelsWait({ waiting, problem }) {
  const words = waiting === 1 ? "1 label waits" : `${waiting} labels wait`;
  if (problem) banner(`${problem}. ${words} in this browser and will be saved.`, "bad", "outbox");
  else if (from() === "outbox") banner("");
}

/** What the list tells: no news of episodes, or "" when they come again. */
export function serverIsAway(message, waiting) {
  if (message && !waiting) banner(`${message}. What you mark is kept in this browser.`, "bad", "away");
  else if (!message && from() === "away") banner("");
}

/** Another episode is opened: what was said of the one before goes. */
export function leaveOutboxBanner() {
  if (from() !== "outbox") banner("");
}
