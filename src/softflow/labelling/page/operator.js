// The operator's page: robots, their episodes as they end, and what happened in each.

import { get, post } from "/page/parts/api.js";
import { commands, hint } from "/page/commands.js";
import { byId, el, toast } from "/page/parts/dom.js";
import { EpisodePage } from "/page/episode_page.js";
import { Keys } from "/page/parts/keys.js";

const EVERY_MS = 1000;
const known = new Set(); // episodes whose end was seen
const NO_EMERGENCY = "As fast as the folder is: an emergency stop is a switch";
const { places, annotator } = await get("/api/places");
if (!places.exchange) location.replace("/");
const page = new EpisodePage("exchange", places.exchange, annotator, heard);
document.title = `${places.exchange.title} · softflow robots`;

async function act(action) {
  const { detail, saving } = page;
  if (!detail) return;
  try {
    await post(`/api/exchange/episodes/${encodeURIComponent(detail.name)}/act`, { author: page.me, action });
    saving.forget(detail.name); // or it would be said after this, and count
    toast(`Episode ${detail.title}: ${action}`);
    await page.list.look();
    const next = page.list.next();
    if (next) await page.open(next);
  } catch (error) {
    toast(error.message, "bad");
  }
}

async function tell(action) {
  try {
    show(await post("/api/operator", { author: page.me, action }));
  } catch (error) {
    toast(`The robots are not told: ${error.message}`, "bad");
  }
}

// They stay where they are: a click is never lost to a change of the page, and a second one on
// "Stop" is another stop.
const facts = el("dl", {});
const start = el("button", { class: "go", hidden: true, onclick: () => tell("start") }, "Start robots");
const stop = el("button", { class: "stop", title: NO_EMERGENCY, onclick: () => tell("stop") }, "Stop robots");
byId("robots").append(facts, start, stop);

function show({ robots, stopped_by, order, problem, run }) {
  const told = [
    ["robots", stopped_by ? `stand still (${stopped_by})` : "may move"],
    ["run", run],
    ["policy", order?.policy ?? "none yet"],
    ["episodes", Object.entries(robots).map(([name, count]) => `${name} ${count}`).join(", ") || "none yet"],
    ["learner", order ? `has ${order.taken}${order.wanted === null ? "" : `, wants ${order.wanted}`}` : "—"],
    ["wait for you", order?.waiting.length ?? 0],
    ...(order && Object.keys(order.refused).length ? [["refused", Object.keys(order.refused).length]] : []),
    ...(problem ? [["problem", problem]] : []),
  ];
  facts.replaceChildren(...told.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, `${value}`))));
  start.hidden = !stopped_by;
}

async function watch() {
  try {
    show(await get("/api/operator"));
  } catch { /* the page says that the server is away */ }
  setTimeout(watch, EVERY_MS);
}

/** Ask for the label of an episode that has just ended, unless somebody is in the middle of one. */
function heard(rows) {
  const readable = rows.filter(({ state }) => state !== "unreadable");
  const ended = readable.filter(({ name, state }) => !known.has(name) && state === "unlabelled");
  for (const { name } of readable) known.add(name);
  if (!page.started || !ended.length) return;
  const last = ended.at(-1);
  toast(`Episode ${last.title} ended. What happened?`);
  if (!page.draft?.changed && !page.player.playing) page.open(last.name);
}

const extra = [
  { section: "Robots", keys: ["x"], what: "discard this episode", run: () => page.deliberately(() => act("discard")), once: true },
  { section: "Robots", keys: ["a"], what: "accept it as it was recorded", run: () => page.deliberately(() => act("accept")), once: true },
  { section: "Robots", keys: ["Escape"], what: "stop all robots", run: () => tell("stop"), once: true },
  { section: "Episodes", keys: ["?"], what: "this help", run: () => keys.help(hint()) },
];
const common = commands(page).filter(({ keys: [key] }) => !["a", "Shift+a"].includes(key));
const keys = new Keys([...common, ...extra], () => page.ready);
byId("help-button").addEventListener("click", () => keys.help(hint()));
byId("annotator").before(
  el("button", { title: "It is not learned from", onclick: () => act("discard") }, "Discard ", el("kbd", {}, "x")),
  el("button", { title: "As it was recorded", onclick: () => act("accept") }, "Accept ", el("kbd", {}, "a")),
);
if (places.store) byId("below").append(el("a", { href: "/" }, "data set"));
watch();
page.start().catch((error) => toast(error.message, "bad"));
