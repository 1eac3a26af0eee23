// The labelling page of a data set.

import { get } from "/page/parts/api.js";
import { commands, hint } from "/page/commands.js";
import { byId, el, toast } from "/page/parts/dom.js";
import { EpisodePage } from "/page/episode_page.js";
import { Keys } from "/page/parts/keys.js";

const { places, annotator } = await get("/api/places");
const page = new EpisodePage("store", places.store, annotator);
const help = { section: "Episodes", keys: ["?"], what: "this help", run: () => keys.help(hint()) };
const keys = new Keys([...commands(page), help], () => page.ready);
byId("help-button").addEventListener("click", help.run);
byId("below").append(
  el("button", { class: "quiet", onclick: () => page.agreement() }, "agreement"),
  ...(places.exchange ? [el("a", { href: "/operator" }, "robots")] : []),
);
page.start().catch((error) => toast(error.message, "bad"));
