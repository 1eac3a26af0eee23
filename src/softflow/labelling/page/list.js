// The list of episodes: told by the server as it changes, filtered, walked through.

import { get } from "/page/parts/api.js";
import { byId, el } from "/page/parts/dom.js";
import { keep, load } from "/page/parts/kept.js";
import { seconds, spoken } from "/page/parts/words.js";

const EVERY_MS = 1500;
const open = ["unlabelled", "proposed"];

/** Name of a filter -> whether a row is in it. */
export const FILTERS = {
  all: () => true,
  unlabelled: (row) => open.includes(row.state),
  "not mine": (row, me) => row.state !== "unreadable" && !row.annotators.includes(me),
  proposed: (row) => row.state === "proposed",
  disagreement: (row) => row.state === "disagreement",
};

export class List {
  /** `opened(name)` when somebody asks for one; `changed(rows)` after news; `away(message)`;
   * `restarted()` when another server answers than before. */
  constructor(place, hz, { opened, changed, away, restarted }) {
    Object.assign(this, { place, hz, opened, changed, away, restarted });
    Object.assign(this, { rows: new Map(), buttons: new Map(), current: "", me: "", total: 0 });
    Object.assign(this, { revision: 0, began: 0 }); // of the server's
    this.filter = load(`filter:${place}`, "all");
    if (!(this.filter in FILTERS)) this.filter = "all";
    this.box = byId("episodes");
    byId("filters").replaceChildren(
      ...Object.keys(FILTERS).map((name) => el("button", { onclick: () => this.choose(name) }, name)),
    );
  }

  /** Ask for news until all that is known now has come. */
  async look() {
    const fresh = [];
    for (let complete = false; !complete; ) {
      const news = await get(`/api/${this.place}/episodes?since=${this.revision}`);
      if (news.began !== this.began) {
        const known = this.began !== 0;
        Object.assign(this, { began: news.began, revision: 0 });
        if (known) {
          await this.restarted();
          continue;
        }
      }
      ({ complete, revision: this.revision, total: this.total } = news);
      for (const row of news.rows) this.rows.set(row.name, row);
      fresh.push(...news.rows);
      this.#show(news.rows);
    }
    this.#counts();
    if (fresh.length) this.changed(fresh);
  }

  /** Ask for all rows again, after a page said more than the server did. */
  renew() {
    this.revision = 0;
  }

  /** Go on asking; a server that is away is told once. */
  watch() {
    setTimeout(async () => {
      try {
        if (!document.hidden) {
          await this.look();
          this.away("");
        }
      } catch (error) {
        this.away(error.message);
      }
      this.watch();
    }, EVERY_MS);
  }

  choose(name) {
    this.filter = name;
    keep(`filter:${this.place}`, name);
    this.#show([...this.rows.values()]);
    this.#counts();
  }

  matches(row) {
    return FILTERS[this.filter](row, this.me);
  }

  /** The next episode of the filter behind the current one, from the front again; "" if none. */
  next() {
    const rows = [...this.rows.values()];
    const wanted = this.filter === "all" ? FILTERS.unlabelled : FILTERS[this.filter];
    const here = rows.findIndex((row) => row.name === this.current);
    const after = [...rows.slice(here + 1), ...rows.slice(0, Math.max(0, here))];
    return after.find((row) => wanted(row, this.me) && row.state !== "unreadable")?.name ?? "";
  }

  /** The neighbour in the list as it is shown. */
  neighbour(by) {
    const shown = [...this.rows.values()].filter((row) => this.matches(row) || row.name === this.current);
    const here = shown.findIndex((row) => row.name === this.current);
    return shown[here + by]?.name ?? "";
  }

  /** What the person at this page has just said, before the server does. */
  labelled(name, events) {
    const row = this.rows.get(name);
    if (!row) return;
    const last = events.at(-1);
    row.state = "labelled";
    row.events = events;
    row.outcome = last && last.kind !== "reward" ? last.kind : "none";
    row.annotators = [...row.annotators.filter((one) => one !== this.me), this.me];
    this.#show([row]);
    this.#counts();
  }

  mark(name) {
    this.buttons.get(this.current)?.removeAttribute("aria-current");
    this.current = name;
    const button = this.buttons.get(name);
    button?.setAttribute("aria-current", "true");
    button?.scrollIntoView({ block: "nearest" });
    this.#show([...this.rows.values()].filter((row) => row.name === name));
  }

  #show(rows) {
    for (const row of rows) {
      let button = this.buttons.get(row.name);
      if (!button) {
        button = el("button", { onclick: () => this.opened(row.name) });
        this.buttons.set(row.name, button);
        this.box.append(el("li", {}, button));
      }
      button.className = row.state;
      button.title = row.problem || row.state;
      button.replaceChildren(
        el("span", { class: "dot" }),
        el("span", { class: "name" }, `${/^\d+$/.test(row.title) ? "Episode " : ""}${row.title}`),
        el("span", { class: "time" }, row.length ? seconds(row.length, this.hz) : ""),
        el("span", { class: "said" }, saying(row)),
      );
      button.parentElement.hidden = !this.matches(row) && row.name !== this.current;
    }
  }

  #counts() {
    const rows = [...this.rows.values()];
    for (const button of byId("filters").children) {
      const name = button.textContent.replace(/ \d+$/, "");
      const count = rows.filter((row) => FILTERS[name](row, this.me)).length;
      button.textContent = name === "all" ? name : `${name} ${count}`;
      button.hidden = !count && (name === "proposed" || name === "disagreement") && this.filter !== name;
      button.classList.toggle("on", this.filter === name);
    }
    const done = rows.filter((row) => !open.includes(row.state) && row.state !== "unreadable").length;
    byId("progress").firstChild.style.width = `${(100 * done) / Math.max(1, this.total)}%`;
    byId("counts").textContent = this.total ? `${done} of ${this.total} labelled` : "";
    byId("episodes").querySelector(".empty")?.remove();
    if (!rows.length) {
      this.box.append(el("li", { class: "empty" }, "No episodes yet. They appear here as they are recorded."));
    }
  }
}

export const recorded = (word) => (word ? `recorded: ${word === "none" ? "no success" : word}` : "");

function saying(row) {
  if (row.state === "unreadable") return "cannot be read";
  if (row.state === "disagreement") return `disagreement: ${row.annotators.join(", ")}`;
  if (row.state === "discarded" || row.state === "accepted") return row.state;
  if (!row.outcome) return row.state === "proposed" ? "proposed" : recorded(row.recorded);
  const counts = new Map();
  for (const { name, kind } of row.events) counts.set(name || kind, (counts.get(name || kind) ?? 0) + 1);
  const told = [...counts]
    .map(([name, count]) => spoken(name) + (count > 1 ? ` × ${count}` : ""))
    .join(", ");
  return `${told || "nothing happened"} · ${row.annotators.join(", ")}`;
}
