// Labels on their way to the disk: kept in the browser until the server says that they are there.

import { post } from "/page/parts/api.js";
import { keep, load } from "/page/parts/kept.js";

const AGAIN_MS = 2000;

export class Outbox {
  /** `told(state)` whenever something changed: {waiting, problem}; `refused(item, message)`. */
  constructor(key, { told, refused, saved }) {
    Object.assign(this, { key, told, refused, saved, items: load(key, []), sending: false });
    addEventListener("storage", (event) => {
      if (event.key === `softflow:${key}` && !this.sending) this.items = load(key, []);
    });
    if (this.items.length) this.send();
  }

  get waiting() {
    return this.items.length;
  }
  has(name) {
    return this.items.some((item) => item.name === name);
  }

  /** Put a label in; a newer one of the same episode by the same person replaces it. */
  put(item) {
    const older = (one) => one.url === item.url && one.body.annotator === item.body.annotator;
    const id = `${Date.now()}-${Math.random()}`;
    this.#change((items) => [...items.filter((one) => !older(one)), { ...item, id }]);
    return this.send();
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    while (this.items.length) {
      const item = this.items[0];
      try {
        const detail = await post(item.url, item.body);
        this.#done(item);
        this.saved(item, detail);
      } catch (error) {
        if (error.passes ?? true) {
          this.told({ waiting: this.waiting, problem: error.message });
          setTimeout(() => this.send(), AGAIN_MS);
          break;
        }
        this.#done(item);
        this.refused(item, error.message);
      }
    }
    this.sending = false;
    if (!this.items.length) this.told({ waiting: 0, problem: "" });
  }

  #done(item) {
    this.#change((items) => items.filter(({ id }) => id !== item.id));
  }

  /** Another tab may have put something in meanwhile. */
  #change(change) {
    this.items = change(load(this.key, this.items));
    keep(this.key, this.items.length ? this.items : undefined);
  }
}
