// Labels of the open episode on their way to the disk, and what others saved meanwhile.

import { get } from "/page/parts/api.js";
import { labelsWait } from "/page/parts/banner.js";
import { toast } from "/page/parts/dom.js";
import { keepDraft, plain } from "/page/draft.js";
import { own } from "/page/labels.js";
import { Outbox } from "/page/parts/outbox.js";

export class Saving {
  constructor(page) {
    this.page = page;
    this.outbox = new Outbox(`outbox:${page.placeName}:${page.place.title}`, {
      told: labelsWait,
      refused: (item, message) => this.#refused(item, message),
      saved: (item, detail) => this.#saved(item, detail),
    });
    addEventListener("beforeunload", (event) => {
      if (this.outbox.unkept || page.draft?.unkept) event.preventDefault(); // it asks, then
    });
  }

  /** Whether Enter settles what people say of this episode. */
  get resolves() {
    return this.page.detail?.state === "disagreement";
  }

  andNext(resolves = this.resolves) {
    const { page } = this;
    if (!page.draft) return page.open(page.list.next());
    if (page.draft.isNew || page.draft.changed || this.resolves) this.put(resolves);
    const next = page.list.next();
    if (next && next !== page.detail.name) return page.open(next);
    toast("That was the last one");
    return undefined;
  }

  put(resolves = false, withdrawn = false) {
    const { detail, draft, list, url } = this.page;
    const events = withdrawn ? [] : draft.events.map(plain);
    const body = { annotator: draft.annotator, digest: detail.digest, events, resolves, withdrawn };
    const { base } = draft;
    draft.wasSaved();
    list.labelled(detail.name, events);
    const title = `Episode ${detail.title}`;
    this.outbox.put({ url: `${url}/label`, name: detail.name, title, body, base });
  }

  withdraw() {
    const { page } = this;
    page.marking.edit(() => page.draft.set([]));
    this.put(false, true);
  }

  /** Say nothing of an episode, neither what is marked nor what is on its way. */
  forget(name) {
    const { detail, draft } = this.page;
    this.outbox.forget(name);
    if (detail?.name === name) draft.set(draft.saved ?? []);
  }

  /** What was marked is a draft again: nothing is lost, and a person can correct it. */
  #refused({ name, title, body, base }, message) {
    const { page } = this;
    toast(`${title} is not saved: ${message}`, "bad");
    keepDraft(body.digest, body.annotator, { base, events: body.events });
    page.list.renew();
    if (name === page.detail?.name) page.open(name);
  }

  #saved(item, detail) {
    if (item.name === this.page.detail?.name) this.#renew(detail);
    this.page.list.look().catch(() => {});
  }

  /** Others may have labelled the open episode; one's own label that is on its way comes first. */
  async news() {
    const { page } = this;
    const { name, labels } = page.detail;
    if (this.outbox.has(name)) return;
    const detail = await get(page.url).catch(() => null);
    if (!detail || detail.name !== page.detail?.name) return;
    const by = detail.labels.at(-1)?.annotator;
    if (detail.labels.length > labels.length && by !== page.me) toast(`${by} has labelled this episode, too`);
    this.#renew(detail);
  }

  #renew(detail) {
    const { page } = this;
    page.detail = detail;
    if (!page.draft.changed) {
      const mine = own(detail.labels, page.me);
      page.draft.renew(mine && mine.events.map(plain));
    }
    page.show();
  }
}
