// The page: one episode in front of one person. Parts know nothing of each other; they meet here.

import { get } from "/page/parts/api.js";
import { serverIsAway } from "/page/parts/banner.js";
import { Cameras } from "/page/parts/cameras.js";
import { Controls } from "/page/controls.js";
import { ask, byId, el, toast } from "/page/parts/dom.js";
import { keep, load } from "/page/parts/kept.js";
import { ghosts, showAgreement, showHistory } from "/page/labels.js";
import { List, recorded } from "/page/list.js";
import { Marking } from "/page/marking.js";
import { Opening } from "/page/opening.js";
import { Player } from "/page/parts/player.js";
import { Saving } from "/page/saving.js";
import { Signals } from "/page/parts/signals.js";
import { TimeLine } from "/page/parts/timeline.js";
import { title } from "/page/parts/words.js";

const LOOK_MS = 400;

export class EpisodePage {
  /** `place` as the server tells it; `heard(rows)` after news of episodes. */
  constructor(placeName, place, suggested, heard = () => {}) {
    Object.assign(this, { placeName, place, heard, film: null, draft: null, detail: null, url: "" });
    this.me = load("annotator", suggested || "");
    this.auto = load("auto", false);
    this.seesOthers = false;
    this.started = false;
    this.appeared = 0;
    this.ready = Promise.resolve();
    this.cameras = new Cameras(byId("cameras"));
    this.player = new Player((from, to) => this.#reach(from, to), () => this.#moved());
    this.player.speed = load("speed", 1);
    this.signals = new Signals(`${placeName}:${place.title}`, place.channels, () => this.lanes());
    this.marking = new Marking(this);
    this.saving = new Saving(this);
    this.opening = new Opening(this);
    this.timeline = new TimeLine(byId("timeline").querySelector("canvas"), {
      go: (frame) => (this.player.pause(), this.player.go(frame)),
      pick: (event) => this.marking.pick(event),
      move: (event, step) => this.marking.move(event, step),
      drop: (event) => this.marking.edit(() => this.draft.remove(event)),
    });
    this.list = new List(placeName, place.control_hz, {
      opened: (name) => this.open(name),
      changed: (rows) => this.#news(rows),
      away: (message) => this.#away(message),
      restarted: () => this.#restarted(),
    });
    this.cameras.show(place.cameras);
    byId("title").textContent = place.title;
    document.title = `${place.title} · softflow label`;
    this.controls = new Controls(this);
    this.timeline.set({ high: place.cameras.length === 0, hz: place.control_hz });
    byId("annotator").addEventListener("click", () => this.rename());
    byId("menu").addEventListener("click", () => document.body.classList.toggle("menu"));
  }

  get kinds() {
    return this.place.kinds;
  }

  async start() {
    if (!this.me) await this.rename();
    this.#named();
    await this.list.look();
    const asked = location.hash.slice(1); // names of episodes need no escapes
    const first = [...this.list.rows.keys()][0] ?? "";
    await this.open(this.list.rows.has(asked) ? asked : this.list.next() || first);
    this.started = true;
    this.list.watch();
  }

  async rename() {
    const note = "It stands in every label that you save; several people may label the same episodes.";
    this.me = (await ask("Your name", { value: this.me, note })) ?? (this.me || "anonymous");
    keep("annotator", this.me);
    this.#named();
    if (this.detail) this.open(this.detail.name);
  }

  #named() {
    byId("annotator").textContent = this.me;
    this.list.me = this.me;
    this.list.choose(this.list.filter);
  }

  /** Open an episode; what is marked in the present one is saved. Keys wait for `ready`. */
  open(name) {
    if (this.draft?.changed) this.saving.put();
    this.ready = this.opening.open(name);
    return this.ready;
  }

  // ---- news of the server ---------------------------------------------------------------------

  async #news(rows) {
    this.heard(rows);
    const { current } = this.list;
    if (this.started && !this.detail) {
      const there = rows.find(({ name, state }) => (!current || name === current) && state !== "unreadable");
      if (there) await this.open(there.name);
    } else if (rows.some(({ name }) => name === this.detail?.name)) await this.saving.news();
  }

  #away(message) {
    serverIsAway(message, this.saving.outbox.waiting);
    if (!message && this.opening.failed) this.open(this.list.current);
  }

  /** Another server answers: perhaps it serves something else, or other kinds of events. */
  async #restarted() {
    const { places } = await get("/api/places");
    if (JSON.stringify(places[this.placeName]) !== JSON.stringify(this.place)) location.reload();
  }

  // ---- showing --------------------------------------------------------------------------------

  #reach(from, to) {
    if (!this.place.cameras.length || !this.film) return to;
    const reached = this.film.reach(from, to);
    if (reached === from) this.#look();
    return reached;
  }

  #look() {
    const { step, forward, playing, stride } = this.player;
    this.film?.look(step, forward, playing ? stride : 0);
  }

  #moved() {
    this.#look();
    this.draw();
    this.timeline.to(this.player.step);
    this.controls?.show();
  }

  draw() {
    if (this.film) this.cameras.draw(this.film.pictures(this.player.step), this.film.problem);
  }

  lanes() {
    this.timeline.set({ lanes: this.signals.lanes() });
  }

  show() {
    const { detail, draft } = this;
    if (!detail) return;
    this.timeline.set({
      events: draft.events,
      selected: this.marking.selected,
      ghosts: ghosts(detail, this.me, this.seesOthers || !draft.isNew),
    });
    const row = this.list.rows.get(detail.name);
    byId("episode").textContent = `Episode ${row?.title ?? detail.title}`;
    const told = draft.events.length ? draft.events.map(title).join(", ") : draft.isNew ? "" : "nothing happened";
    const state = draft.changed ? "not saved yet" : detail.state;
    byId("saying").replaceChildren(
      el("span", { class: `badge ${draft.changed ? "proposed" : detail.state}` }, state),
      ` ${told || recorded(detail.recorded)}`,
    );
    const words = this.saving.resolves ? "Settle" : draft.events.length || !draft.isNew ? "Save" : "Nothing";
    this.controls.saying(`${words}, next`);
    this.controls.show();
  }

  // ---- what keys and buttons do ---------------------------------------------------------------

  /** Do what is final, unless the episode has only just appeared: a key that bounced is not about it. */
  deliberately(run) {
    const isNew = this.draft?.isNew && !this.draft.changed;
    if (isNew && performance.now() - this.appeared < LOOK_MS) {
      toast("This episode has only just opened: once more, if you mean it");
    } else run();
  }

  by(steps) {
    this.player.pause();
    this.player.go(this.player.step + steps);
  }
  toEvent(by) {
    const shown = [...this.timeline.events, ...this.timeline.ghosts.flatMap(({ events }) => events)];
    const frames = shown.map((event) => event.step + 1).sort((a, b) => a - b);
    const here = this.player.step;
    const to = by > 0 ? frames.find((frame) => frame > here) : frames.findLast((frame) => frame < here);
    this.player.pause();
    this.player.go(to ?? (by > 0 ? this.player.last : 0));
  }
  setSpeed(speed) {
    this.player.setSpeed(speed);
    keep("speed", speed);
  }
  faster(by) {
    this.player.faster(by);
    keep("speed", this.player.speed);
  }
  neighbour(by) {
    const name = this.list.neighbour(by);
    if (name) this.open(name);
  }
  toggleAuto() {
    keep("auto", (this.auto = !this.auto));
    toast(this.auto ? "The next episode plays at once" : "The next episode waits for Space");
    this.controls.show();
  }
  toggleOthers() {
    this.seesOthers = !this.seesOthers;
    this.show();
  }
  history() {
    const withdraw = this.placeName === "store" ? () => this.saving.withdraw() : null;
    if (this.detail) showHistory(this.detail, withdraw);
  }
  agreement() {
    const titleOf = (name) => this.list.rows.get(name)?.title ?? name;
    showAgreement(this.placeName, titleOf, (name) => this.open(name));
  }
}
