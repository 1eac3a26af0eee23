// What is said of an episode: by oneself, by others, by programs; and who settles it.

import { get } from "/page/parts/api.js";
import { dialog, el } from "/page/parts/dom.js";
import { here, title } from "/page/parts/words.js";

const RESOLUTION = "resolution:";

/** Annotator -> newest label, as the server's agreement counts them. */
export function newest(labels) {
  const found = new Map();
  for (const label of labels) {
    if (label.withdrawn) found.clear();
    else {
      found.delete(label.annotator);
      found.set(label.annotator, label);
    }
  }
  return found;
}

/** The own label that stands, null without one. */
export const own = (labels, me) => newest(labels).get(me) ?? null;

/** Lanes of the time line: proposals, and what others said if it is to be seen. */
export function ghosts(detail, me, seesOthers) {
  const proposals = detail.proposals.map(({ proposer, events }) => ({
    by: `${proposer} proposes${sure(events)}`,
    events,
    colour: "proposed",
  }));
  const others = [...newest(detail.labels)]
    .filter(([name]) => name !== me)
    .map(([name, { events }]) => ({ by: name.replace(RESOLUTION, "settled by "), events, colour: "muted" }));
  return [...(seesOthers ? others : []), ...proposals.reverse()].slice(0, 4);
}

/** What one key takes over: {by, events}, or null. */
export function offer(detail, me) {
  if (detail.state === "disagreement") {
    const [by, label] = [...newest(detail.labels)].findLast(([name]) => name !== me) ?? [];
    return label ? { by, events: label.events } : null;
  }
  const proposal = detail.state === "proposed" ? detail.proposals.at(-1) : null;
  return proposal && { by: proposal.proposer, events: proposal.events };
}

function sure(events) {
  const least = Math.min(1, ...events.map((event) => event.confidence));
  return least < 1 ? ` (${Math.round(100 * least)} %)` : "";
}

/** Every label of an episode, the newest first; `withdraw` takes them all back. */
export function showHistory(detail, withdraw) {
  const rows = [...detail.labels].reverse().map((label) =>
    el(
      "tr",
      {},
      el("td", { title: label.created }, here(label.created)),
      el("td", {}, label.annotator.replace(RESOLUTION, "settled by ")),
      el("td", {}, label.withdrawn ? "took all labels back" : told(label.events)),
    ),
  );
  const notes = detail.proposals.map(({ proposer, events, note }) =>
    el("p", { class: "note" }, `${proposer} proposes: ${told(events)}. ${note}`),
  );
  const word = detail.recorded === "none" ? "no success" : detail.recorded || "nothing of success";
  const recorded = `The recording says ${word}.`;
  const box = dialog(
    `Labels of episode ${detail.title}`,
    rows.length ? el("table", {}, ...rows) : el("p", {}, "Nobody has labelled it."),
    ...notes,
    el("p", { class: "note" }, `${recorded} The newest label counts; none is ever overwritten.`),
    withdraw && detail.labels.length && !detail.labels.at(-1).withdrawn
      ? el("button", { onclick: () => (box.close(), withdraw()) }, "Take all labels back")
      : null,
  );
}

const told = (events) =>
  events.length ? events.map((event) => `${title(event)} at ${event.step}`).join(", ") : "nothing happened";

/** How far annotators agree; a click on an episode opens it. */
export async function showAgreement(place, titleOf, opened) {
  const pairs = await get(`/api/${place}/agreement`);
  const none = el("p", {}, "No episode has labels by two people yet.");
  const box = dialog("Agreement", ...(pairs.length ? pairs.map(pair) : [none]));

  function pair({ annotators, kappa, differences_s, only_first, only_second, disagreements }) {
    const apart = differences_s.map(Math.abs).sort((a, b) => a - b);
    const { value, low, high } = kappa;
    const interval = value === null ? "—" : `${value.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
    const rows = [
      ["episodes labelled by both", kappa.num_episodes],
      ["same outcome", `${Math.round(100 * kappa.observed)} %`],
      ["Cohen's kappa", interval],
      ["events seen by both", apart.length],
      ["… apart by (median)", apart.length ? `${apart[Math.floor(apart.length / 2)].toFixed(2)} s` : "—"],
      [`events only ${annotators[0]} saw`, only_first],
      [`events only ${annotators[1]} saw`, only_second],
    ];
    const links = disagreements.map((name) =>
      el("button", { onclick: () => (box.close(), opened(name)) }, titleOf(name)),
    );
    return el(
      "section",
      {},
      el("h4", {}, annotators.join(" and ")),
      el("table", {}, ...rows.map(([what, told]) => el("tr", {}, el("th", {}, what), el("td", {}, `${told}`)))),
      links.length ? el("p", { class: "note" }, "Disagreements: ", ...links.flatMap((link) => [link, " "])) : null,
    );
  }
}
