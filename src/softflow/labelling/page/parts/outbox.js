// Labels on their way to the disk: kept in the browser until the server says that they are there.

import { post } from "/page/parts/api.js";
import { keep, load } from "/page/parts/kept.js";

const AGAIN_MS = 2000;
const replaces = (one, other) => one.url === other.url && one.body.annotator === other.body.annotator;

export class Outbox {
  /** `told({waiting, problem})` after every change; `refused(item, message)`; `saved(item, detail)`. */
  constructor(key, { told, refused, saved }) {
    Object.assign(this, { key, told, refused, saved, items: load(key, []), sending: false });
    this.unkept = false; // this browser cannot keep what waits: it is here alone
    addEventListener("storage", (event) => {
      if (event.key === `softflow:${key}` && !this.sending && !this.unkept) this.items = load(key, []);
    });
    if (this.items.length) setTimeout(() => this.send());
  }

  get waiting() {
    return this.items.length;
  }
  has(name) {
    return this.items.some((item) => item.name === name);
  }

  /** Put a label in; a newer one of the same episode by the same person replaces it. */
  put(item) {
    const id = `${Date.now()}-${Math.random()}`;
    this.#change((items) => [...items.filter((one) => !replaces(item, one)), { ...item, id }]);
    return this.send();
  }

  /** Send nothing of an episode that is not sent yet. */
  forget(name) {
    this.#change((items) => items.filter((item) => item.name !== name));
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

  /** Another tab may have put something in meanwhile; what could not be kept is here alone. */
  #change(change) {
    const alone = this.unkept ? this.items : [];
    const kept = load(this.key, []).filter((one) => !alone.some((mine) => replaces(mine, one)));
    this.items = change([...kept, ...alone]);
    this.unkept = !keep(this.key, this.items.length ? this.items : undefined) && this.items.length > 0;
  }
}
