// An episode is opened: what is known of it, its pictures and signals, and what the next one needs.

import { get, getBytes } from "/page/parts/api.js";
import { banner, leaveOutboxBanner } from "/page/parts/banner.js";
import { byId, el, toast } from "/page/parts/dom.js";
import { Draft, plain } from "/page/draft.js";
import { Film } from "/page/parts/film.js";
import { own } from "/page/labels.js";

const NEXT_FRAMES = 16;

export class Opening {
  constructor(page) {
    this.page = page;
    this.latest = new AbortController();
    this.failed = false; // because the server was away
  }

  async open(name) {
    if (!name) return this.#nothing();
    const { page } = this;
    document.body.classList.remove("menu");
    this.latest.abort();
    const latest = (this.latest = new AbortController());
    this.failed = false;
    page.list.mark(name);
    history.replaceState(null, "", `#${name}`);
    const url = this.#url(name);
    const early = this.#early(url, page.list.rows.get(name), latest.signal);
    let detail;
    try {
      detail = await get(url);
    } catch (error) {
      return latest.signal.aborted ? undefined : this.#unreadable(name, error);
    }
    if (latest.signal.aborted) return undefined;
    Object.assign(page, { detail, url, appeared: performance.now() });
    page.marking.selected = null;
    leaveOutboxBanner();
    this.#film(url, detail, early?.digest === detail.digest ? early.bytes : null);
    this.#draft(detail);
    page.player.open(detail.length + 1, page.place.control_hz);
    if (detail.problem) banner(detail.problem, "bad");
    page.signals.values = null;
    page.timeline.set({ frames: detail.length + 1, lanes: page.signals.lanes() });
    page.show();
    if (page.auto) page.player.toggle();
    page.film.begun.then(() => this.#plots(url, detail, latest.signal)).then(() => this.#prepareNext());
    return undefined;
  }

  /** The first pictures, asked for beside everything else that is to be known of an episode. */
  #early(url, row, signal) {
    if (!row?.digest || !this.page.place.cameras.length) return null;
    const bytes = getBytes(`${url}/frames?digest=${row.digest}&start=0&count=1`, signal);
    bytes.catch(() => {}); // the film asks again, and says what is wrong
    return { digest: row.digest, bytes };
  }

  #url(name) {
    return `/api/${this.page.placeName}/episodes/${encodeURIComponent(name)}`;
  }

  #film(url, detail, early) {
    const { page } = this;
    page.film?.close();
    page.cameras.clear();
    const arrived = (step) => step === page.player.step && page.draw();
    page.film = new Film(url, detail.digest, detail.length + 1, page.place.cameras, arrived, early);
  }

  #draft(detail) {
    const { page } = this;
    const mine = own(detail.labels, page.me);
    page.draft = new Draft(detail.digest, page.me, mine && mine.events.map(plain), detail.length);
    page.seesOthers = detail.state === "disagreement";
    if (page.draft.restored) toast("What you had marked and not saved is back");
  }

  async #plots(url, detail, signal) {
    const { signals } = this.page;
    try {
      await signals.open(url, detail.digest, detail.length + 1, signal);
      if (!signal.aborted) this.page.lanes();
    } catch (error) {
      if (error.name !== "AbortError") banner(`Signals: ${error.message}`, "bad");
    }
  }

  /** Let the browser fetch what the next episode begins with. */
  async #prepareNext() {
    const { list, detail, place } = this.page;
    const next = list.rows.get(list.next());
    if (!next || next.name === detail?.name) return;
    try {
      const url = this.#url(next.name);
      const { digest } = await get(url);
      const counts = place.cameras.length ? [1, NEXT_FRAMES] : [];
      for (const count of counts) await fetch(`${url}/frames?digest=${digest}&start=0&count=${count}`);
      await fetch(`${url}/signals?digest=${digest}`);
    } catch { /* it is opened without, then */ }
  }

  #nothing() {
    byId("episode").textContent = this.page.list.total ? "All done" : "No episodes yet";
    byId("saying").textContent = "";
  }

  #unreadable(name, error) {
    const { page } = this;
    page.film?.close();
    Object.assign(page, { film: null, draft: null, detail: null });
    page.cameras.clear();
    page.timeline.set({ events: [], ghosts: [], lanes: [] });
    page.controls.show();
    byId("episode").textContent = `Episode ${page.list.rows.get(name)?.title ?? name}`;
    byId("saying").replaceChildren(el("span", { class: "badge unreadable" }, "cannot be read"));
    banner(error.message, "bad");
    this.failed = error.passes ?? false;
  }
}
