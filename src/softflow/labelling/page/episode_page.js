// The page: one episode in front of one person. Parts know nothing of each other; they meet here.

import { get } from "/page/parts/api.js";
import { banner, labelsWait, leaveOutboxBanner, serverIsAway } from "/page/banner.js";
import { Cameras } from "/page/parts/cameras.js";
import { Controls } from "/page/controls.js";
import { ask, byId, el, toast } from "/page/parts/dom.js";
import { Draft, plain } from "/page/draft.js";
import { Film } from "/page/parts/film.js";
import { keep, load } from "/page/parts/kept.js";
import { ghosts, offer, own, showAgreement, showHistory } from "/page/labels.js";
import { List, recorded } from "/page/list.js";
import { Outbox } from "/page/outbox.js";
import { Player } from "/page/parts/player.js";
import { Signals } from "/page/parts/signals.js";
import { TimeLine, title } from "/page/parts/timeline.js";

const NEXT_FRAMES = 16;

export class EpisodePage {
  constructor(placeName, place, suggested) {
    Object.assign(this, { placeName, place, kinds: place.kinds, film: null, draft: null, detail: null });
    this.me = load("annotator", suggested || "");
    this.auto = load("auto", false);
    this.seesOthers = false;
    this.selected = null;
    this.started = false;
    this.opening = new AbortController();
    this.ready = Promise.resolve();
    this.cameras = new Cameras(byId("cameras"));
    this.player = new Player((step) => this.#ready(step), () => this.#moved());
    this.player.speed = load("speed", 1);
    this.signals = new Signals(`${placeName}:${place.title}`, place.channels, () => this.#lanes());
    this.timeline = new TimeLine(byId("timeline").querySelector("canvas"), {
      go: (frame) => (this.player.pause(), this.player.go(frame)),
      pick: (event) => this.#pick(event),
      move: (event, step) => this.#move(event, step),
      drop: (event) => this.#edit(() => this.draft.remove(event)),
    });
    this.list = new List(placeName, place.control_hz, {
      opened: (name) => this.open(name),
      changed: (rows) => this.#news(rows),
      away: (message) => serverIsAway(message, this.outbox.waiting),
    });
    this.outbox = new Outbox(`outbox:${placeName}:${place.title}`, {
      told: labelsWait,
      refused: (item, message) => this.#refused(item, message),
      saved: (item, detail) => this.#saved(item, detail),
    });
    this.cameras.show(place.cameras);
    byId("title").textContent = place.title;
    document.title = `${place.title} · softflow label`;
    this.controls = new Controls(this);
    this.timeline.set({ high: place.cameras.length === 0, hz: place.control_hz });
    byId("annotator").addEventListener("click", () => this.rename());
    byId("menu").addEventListener("click", () => document.body.classList.toggle("menu"));
  }

  async start() {
    if (!this.me) await this.rename();
    this.#named();
    await this.list.look();
    const asked = decodeURIComponent(location.hash.slice(1));
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

  // ---- opening ------------------------------------------------------------------------------

  /** Open an episode; what is marked in the present one is saved. Keys wait for `ready`. */
  open(name) {
    if (this.draft?.changed) this.#put(false);
    this.ready = this.#open(name);
    return this.ready;
  }

  async #open(name) {
    if (!name) return this.#nothing();
    document.body.classList.remove("menu");
    this.opening.abort();
    const opening = (this.opening = new AbortController());
    this.list.mark(name);
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
    const url = `/api/${this.placeName}/episodes/${encodeURIComponent(name)}`;
    let detail;
    try {
      detail = await get(url);
    } catch (error) {
      return this.#unreadable(name, error);
    }
    if (opening.signal.aborted) return undefined;
    Object.assign(this, { detail, url, selected: null });
    leaveOutboxBanner();
    this.#film(url, detail);
    this.player.open(detail.length + 1, this.place.control_hz);
    this.#draft(detail);
    if (detail.problem) banner(detail.problem, "bad");
    this.signals.values = null;
    this.timeline.set({ frames: detail.length + 1, lanes: this.signals.lanes() });
    this.#show();
    if (this.auto) this.player.toggle();
    this.#plots(url, detail, opening).then(() => this.#prepareNext());
    return undefined;
  }

  #film(url, detail) {
    this.film?.close();
    this.cameras.clear();
    const arrived = (step) => step === this.player.step && this.#draw();
    this.film = new Film(url, detail.digest, detail.length + 1, this.place.cameras, arrived);
  }

  #draft(detail) {
    const key = `draft:${this.placeName}:${this.place.title}:${detail.name}:${this.me}`;
    const mine = own(detail.labels, this.me);
    this.draft = new Draft(key, detail.digest, mine && mine.events.map(plain), detail.length);
    this.seesOthers = detail.state === "disagreement";
    if (this.draft.restored) toast("What you had marked and not saved is back");
  }

  async #plots(url, detail, opening) {
    try {
      await this.signals.open(url, detail.digest, detail.length + 1, opening.signal);
      if (!opening.signal.aborted) this.#lanes();
    } catch (error) {
      if (error.name !== "AbortError") banner(`Signals: ${error.message}`, "bad");
    }
  }

  /** Let the browser fetch what the next episode begins with. */
  async #prepareNext() {
    const next = this.list.rows.get(this.list.next());
    if (!next || next.name === this.detail?.name) return;
    try {
      const url = `/api/${this.placeName}/episodes/${encodeURIComponent(next.name)}`;
      const { digest } = await get(url);
      const counts = this.place.cameras.length ? [1, NEXT_FRAMES] : [];
      for (const count of counts) await fetch(`${url}/frames?digest=${digest}&start=0&count=${count}`);
      await fetch(`${url}/signals?digest=${digest}`);
    } catch { /* it is opened without, then */ }
  }

  #nothing() {
    byId("episode").textContent = this.list.total ? "All done" : "No episodes yet";
    byId("saying").textContent = "";
  }

  #unreadable(name, error) {
    const row = this.list.rows.get(name);
    this.film?.close();
    Object.assign(this, { film: null, draft: null, detail: null });
    this.cameras.clear();
    this.timeline.set({ events: [], ghosts: [], lanes: [] });
    byId("episode").textContent = `Episode ${row?.title ?? name}`;
    byId("saying").replaceChildren(el("span", { class: "badge unreadable" }, "cannot be read"));
    banner(error.message, "bad");
  }

  // ---- showing ------------------------------------------------------------------------------

  #ready(step) {
    if (!this.place.cameras.length || this.film?.problem) return true;
    return Boolean(this.film?.has(step));
  }

  #moved() {
    this.film?.look(this.player.step, this.player.forward, this.player.playing);
    this.#draw();
    this.timeline.to(this.player.step);
    this.controls?.show();
  }

  #draw() {
    if (this.film) this.cameras.draw(this.film.pictures(this.player.step), this.film.problem);
  }

  #lanes() {
    this.timeline.set({ lanes: this.signals.lanes() });
  }

  #show() {
    const { detail, draft } = this;
    if (!detail) return;
    const sees = this.seesOthers || !draft.isNew;
    this.timeline.set({
      events: draft.events,
      selected: this.selected,
      ghosts: ghosts(detail, this.me, sees),
    });
    const row = this.list.rows.get(detail.name);
    byId("episode").textContent = `Episode ${row?.title ?? detail.title}`;
    const told = draft.events.length ? draft.events.map(title).join(", ") : draft.isNew ? "" : "nothing happened";
    const state = draft.changed ? "not saved yet" : detail.state;
    byId("saying").replaceChildren(
      el("span", { class: `badge ${draft.changed ? "proposed" : detail.state}` }, state),
      ` ${told || recorded(detail.recorded)}`,
    );
    const words = this.resolves ? "Settle" : draft.events.length || !draft.isNew ? "Save" : "Nothing";
    this.controls.saying(`${words}, next`);
    this.controls.show();
  }

  get resolves() {
    return this.detail?.state === "disagreement";
  }

  // ---- marking ------------------------------------------------------------------------------

  /** Change the draft, then show it; what comes back is told. */
  #edit(change) {
    if (!this.draft) return;
    const said = change();
    if (typeof said === "string" && said) toast(said);
    if (!this.draft.events.includes(this.selected)) this.selected = null;
    this.#show();
  }

  /** What is seen at a frame was brought about by the action before it. */
  get step() {
    return Math.max(0, this.player.step - 1);
  }

  mark(kind) {
    this.#edit(() => this.draft.mark(kind, this.step));
  }
  endHere() {
    this.mark({ name: "", kind: "end", reward: 0, repeats: true });
  }
  undo() {
    this.#edit(() => (this.draft.undo() ? "" : "nothing to undo"));
  }
  redo() {
    this.#edit(() => (this.draft.redo() ? "" : "nothing to redo"));
  }

  /** Remove the chosen event, or the one nearest to the cursor. */
  drop() {
    const near = (event) => Math.abs(event.step - this.step);
    const events = this.draft?.events ?? [];
    const nearest = events.reduce((a, b) => (!a || near(b) < near(a) ? b : a), null);
    const event = this.selected ?? nearest;
    if (event) this.#edit(() => this.draft.remove(event));
  }

  #pick(event) {
    this.selected = event;
    this.player.pause();
    this.player.go(event.step + 1);
    this.#show();
  }

  #move(event, step) {
    this.#edit(() => this.draft.move(event, step));
    const { events } = this.draft;
    const alike = (one) => one.name === event.name && one.kind === event.kind && one.step === step;
    this.selected = events.find(alike) ?? (events.includes(event) ? event : null);
    if (this.selected) this.player.go(this.selected.step + 1);
    this.#show();
    return this.selected;
  }

  toEvent(by) {
    const shown = [...this.timeline.events, ...this.timeline.ghosts.flatMap(({ events }) => events)];
    const frames = shown.map((event) => event.step + 1).sort((a, b) => a - b);
    const here = this.player.step;
    const to = by > 0 ? frames.find((frame) => frame > here) : frames.findLast((frame) => frame < here);
    this.player.pause();
    this.player.go(to ?? (by > 0 ? this.player.last : 0));
  }

  by(steps) {
    this.player.pause();
    this.player.go(this.player.step + steps);
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
    this.#show();
  }

  /** What can be taken over: the newest proposal, or what somebody else said where they differ. */
  get offered() {
    if (!this.detail || this.placeName !== "store") return null;
    return offer(this.detail, this.me);
  }

  /** Take what is offered: as it is and on to the next one, or into the draft to correct it. */
  accept(correct = false) {
    const { offered } = this;
    if (!offered) return toast("Nothing is proposed for this episode");
    this.#edit(() => this.draft.set(offered.events.map(plain)));
    if (!correct) this.saveAndNext();
    return undefined;
  }

  // ---- saving -------------------------------------------------------------------------------

  saveAndNext(resolves = this.resolves) {
    if (!this.draft) return this.open(this.list.next());
    this.#put(resolves);
    const next = this.list.next();
    if (next && next !== this.detail.name) return this.open(next);
    toast("That was the last one");
    return undefined;
  }

  #put(resolves, withdrawn = false) {
    const { detail, draft } = this;
    const events = withdrawn ? [] : draft.events.map(plain);
    const body = { annotator: this.me, digest: detail.digest, events, resolves, withdrawn };
    const kept = { key: draft.key, base: draft.base };
    draft.wasSaved();
    this.list.labelled(detail.name, events);
    const title = `Episode ${detail.title}`;
    this.outbox.put({ url: `${this.url}/label`, name: detail.name, title, body, kept });
  }

  /** What was marked is a draft again: nothing is lost, and a person can correct it. */
  #refused({ name, title, body, kept }, message) {
    toast(`${title} is not saved: ${message}`, "bad");
    keep(kept.key, { digest: body.digest, base: kept.base, events: body.events });
    this.list.renew();
    if (name === this.detail?.name) this.open(name);
  }

  #saved(item, detail) {
    if (item.name === this.detail?.name) this.#renew(detail);
    this.list.look().catch(() => {});
  }

  #renew(detail) {
    this.detail = detail;
    if (!this.draft.changed) {
      const mine = own(detail.labels, this.me);
      this.draft.saved = mine && mine.events.map(plain);
      this.draft.events = this.draft.saved ?? [];
    }
    this.#show();
  }

  async #news(rows) {
    if (this.started && !this.detail && !this.list.current) return this.open(rows[0].name);
    const row = rows.find(({ name }) => name === this.detail?.name);
    if (!row || this.outbox.has(row.name)) return undefined;
    const before = this.detail.labels.length;
    const detail = await get(this.url).catch(() => null);
    if (!detail || detail.name !== this.detail?.name) return undefined;
    const by = detail.labels.at(-1)?.annotator;
    if (detail.labels.length > before && by !== this.me) toast(`${by} has labelled this episode, too`);
    this.#renew(detail);
    return undefined;
  }

  history() {
    if (!this.detail) return;
    const withdraw = () => {
      this.#edit(() => this.draft.set([]));
      this.#put(false, true);
    };
    showHistory(this.detail, this.placeName === "store" ? withdraw : null);
  }
  agreement() {
    const titleOf = (name) => this.list.rows.get(name)?.title ?? name;
    showAgreement(this.placeName, titleOf, (name) => this.open(name));
  }
}
