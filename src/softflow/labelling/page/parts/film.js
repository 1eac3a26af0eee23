// The pictures of one episode: fetched in blocks, the ones around the shown step first, within a
// bound of memory.

import { getBytes } from "/page/parts/api.js";

const STEPS = 16;
const MOST_BYTES = 96 * 2 ** 20;
const MOST_PIXELS = 24 * 2 ** 20;
const AT_ONCE = 2;
const AHEAD = 6;

export class Film {
  /** `url` of the episode, `length` in frames; `arrived(step)` when pictures of a step can be drawn;
   * `early`: those of the first step, if somebody asked for them already. */
  constructor(url, digest, length, cameras, arrived, early = null) {
    Object.assign(this, { url, digest, length, cameras, arrived, problem: "", bytes: 0 });
    this.blocks = new Map(); // number -> {pictures, bytes}
    this.bitmaps = new Map(); // step -> [ImageBitmap] or a promise of it
    this.loading = new Map();
    this.at = 0;
    this.forward = 1;
    this.stopped = new AbortController();
    this.perStep = cameras.reduce((sum, { shape: [h, w] }) => {
      const shrink = Math.min(1, 480 / Math.max(h, w));
      return sum + h * w * shrink * shrink;
    }, 1);
    this.opened = false;
    /** When the first pictures are there, or cannot be: until then nothing else is asked for. */
    this.begun = this.#first(early);
  }

  close() {
    this.stopped.abort();
    for (const made of this.bitmaps.values()) free(made);
    this.bitmaps.clear();
    this.blocks.clear();
  }

  /** Bitmaps of a step, one a camera, or null while they are on their way. */
  pictures(step) {
    const made = this.bitmaps.get(step);
    if (Array.isArray(made)) {
      this.bitmaps.delete(step); // used last: freed last
      this.bitmaps.set(step, made);
      return made;
    }
    if (!made) this.#decode(step);
    return null;
  }

  /** Say where the person looks, and in which direction; loads what will be needed. While it plays,
   * in strides, pictures are decoded ahead: who drags the cursor needs the present one only. */
  look(step, forward = 1, stride = 0) {
    this.at = step;
    this.forward = forward;
    this.#fill();
    for (let i = 0; i <= (stride ? AHEAD : 1); i++) {
      const next = Math.round(step + i * forward * (stride || 1));
      if (next >= 0 && next < this.length && !this.bitmaps.has(next)) this.#decode(next);
    }
  }

  /** The furthest step up to `to` whose pictures can be drawn at once; `from` if there is none. */
  reach(from, to) {
    if (this.problem) return to;
    for (let step = to; step > from; step--) if (Array.isArray(this.bitmaps.get(step))) return step;
    return from;
  }

  async #first(early) {
    if (!this.cameras.length) return;
    try {
      const one = early ? await early.then(unpacked).catch(() => this.#fetch(0, 1)) : await this.#fetch(0, 1);
      this.blocks.set(0, { pictures: one, bytes: 0 });
      await this.#decode(0);
    } catch (error) {
      this.#fault(error);
    }
    this.opened = true;
    this.look(this.at);
  }

  #fetch(start, count) {
    const query = `digest=${this.digest}&start=${start}&count=${count}`;
    return getBytes(`${this.url}/frames?${query}`, this.stopped.signal).then(unpacked);
  }

  /** Fetch blocks, the nearest ahead first, until the episode or the memory is full. */
  #fill() {
    if (!this.opened || this.stopped.signal.aborted) return;
    while (this.loading.size < AT_ONCE) {
      const number = this.#wanted();
      if (number === null) return;
      const loading = this.#fetch(number * STEPS, STEPS)
        .then((pictures) => this.#keep(number, pictures))
        .catch((error) => this.#fault(error))
        .finally(() => {
          this.loading.delete(number);
          if (!this.problem) this.#fill();
        });
      this.loading.set(number, loading);
    }
  }

  #wanted() {
    const count = Math.ceil(this.length / STEPS);
    const here = Math.floor(this.at / STEPS);
    const missing = (i) => i >= 0 && i < count && !this.loading.has(i) && !(this.blocks.get(i)?.bytes);
    const room = this.bytes < MOST_BYTES * 0.8;
    for (let d = 0; d < count; d++) {
      if (!room && d > 4) return null;
      if (missing(here + d * this.forward)) return here + d * this.forward;
    }
    for (let d = 1; room && d < count; d++) if (missing(here - d * this.forward)) return here - d * this.forward;
    return null;
  }

  #keep(number, pictures) {
    const bytes = pictures.reduce((sum, step) => sum + step.reduce((s, one) => s + one.size, 0), 0);
    this.blocks.set(number, { pictures, bytes: bytes || 1 });
    this.bytes += bytes;
    this.problem = "";
    const here = Math.floor(this.at / STEPS);
    while (this.bytes > MOST_BYTES) {
      const far = [...this.blocks.keys()].reduce((a, b) => (Math.abs(a - here) > Math.abs(b - here) ? a : b));
      if (far === here) break;
      this.bytes -= this.blocks.get(far).bytes;
      this.blocks.delete(far);
    }
    if (here === number) this.#decode(this.at);
  }

  #decode(step) {
    const found = this.blocks.get(Math.floor(step / STEPS))?.pictures[step % STEPS];
    if (!found || this.bitmaps.has(step)) return undefined;
    const making = Promise.all(found.map((one) => createImageBitmap(one)))
      .then((made) => {
        if (this.stopped.signal.aborted) return free(made);
        this.bitmaps.set(step, made);
        this.#freeSome(step);
        this.arrived(step);
      })
      .catch((error) => (this.bitmaps.delete(step), this.#fault(error)));
    this.bitmaps.set(step, making);
    return making;
  }

  #freeSome(kept) {
    const most = Math.max(12, MOST_PIXELS / this.perStep);
    for (const [step, made] of this.bitmaps) {
      if (this.bitmaps.size <= most) return;
      if (step === kept || step === this.at || !Array.isArray(made)) continue;
      free(made);
      this.bitmaps.delete(step);
    }
  }

  #fault(error) {
    if (error.name === "AbortError" || this.stopped.signal.aborted) return;
    this.problem = error.message;
    this.arrived(this.at);
    setTimeout(() => {
      this.problem = "";
      this.#fill();
    }, 3000);
  }
}

function free(made) {
  if (Array.isArray(made)) for (const bitmap of made) bitmap.close();
}

/** Blobs [step][camera] of an answer; see labelling/server/frames.py. */
function unpacked(buffer) {
  const head = new DataView(buffer);
  const [steps, cameras] = [head.getUint32(0, true), head.getUint32(4, true)];
  let place = 8 + 4 * steps * cameras;
  return Array.from({ length: steps }, (_, step) =>
    Array.from({ length: cameras }, (_, camera) => {
      const size = head.getUint32(8 + 4 * (step * cameras + camera), true);
      place += size;
      return new Blob([new Uint8Array(buffer, place - size, size)], { type: "image/jpeg" });
    }),
  );
}
