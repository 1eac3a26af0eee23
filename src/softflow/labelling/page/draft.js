// The events of one episode while somebody marks them: undo, redo, kept in the browser until saved.

import { keep, load } from "/page/parts/kept.js";

const KINDS = { success: 1, failure: 1, end: 1 };
export const ends = (event) => event.kind in KINDS;
export const plain = ({ step, kind, value, name }) => ({ step, kind, value, name: name ?? "" });
const ordered = (events) => [...events].sort((a, b) => a.step - b.step || ends(a) - ends(b));
const same = (a, b) => JSON.stringify(a.map(plain)) === JSON.stringify(b.map(plain));

/** Of a recording, whatever its data set and episode are called today. */
const keyOf = (digest, annotator) => `draft:${digest}:${annotator}`;

/** Keep {base, events} as somebody's draft; whether this browser can. */
export const keepDraft = (digest, annotator, draft) => keep(keyOf(digest, annotator), draft);

export class Draft {
  /** `saved`: events of the own label that is on the disk, null without one. */
  constructor(digest, annotator, saved, length) {
    Object.assign(this, { digest, annotator, saved, length, past: [], future: [] });
    this.unkept = false; // changed, and this browser cannot keep it
    this.events = saved ?? [];
    this.restored = false;
    const kept = load(keyOf(digest, annotator), null);
    if (kept && kept.base === this.base) {
      this.restored = !same(kept.events, this.events);
      this.events = kept.events;
    } else if (kept) {
      keepDraft(digest, annotator, undefined); // older than what was saved elsewhere since
    }
  }

  /** What the draft began with: if that is another label now, the draft is out of date. */
  get base() {
    return JSON.stringify(this.saved && this.saved.map(plain));
  }

  get isNew() {
    return this.saved === null;
  }
  get changed() {
    return this.isNew ? this.events.length > 0 : !same(this.events, this.saved);
  }
  get end() {
    return this.events.find(ends) ?? null;
  }

  set(events) {
    this.past.push(this.events);
    this.future = [];
    this.#take(ordered(events));
  }
  undo() {
    return this.#step(this.past, this.future);
  }
  redo() {
    return this.#step(this.future, this.past);
  }
  #step(from, to) {
    if (!from.length) return false;
    to.push(this.events);
    this.#take(from.pop());
    return true;
  }
  #take(events) {
    this.events = events;
    const { changed, base } = this;
    const kept = keepDraft(this.digest, this.annotator, changed ? { base, events } : undefined);
    this.unkept = changed && !kept;
  }

  /** Mark a kind at a step. Gives what a person should know of it, "" if nothing. */
  mark(kind, step) {
    const event = { step, kind: kind.kind, value: kind.reward, name: kind.name };
    const end = this.end;
    if (!ends(event) && end && step > end.step) {
      return `the episode ended before that (${end.name || end.kind}); remove that first`;
    }
    let others = this.events;
    if (others.some((one) => same([one], [event]))) return `${kind.name} is marked here already`;
    if (ends(event)) others = others.filter((one) => !ends(one));
    if (!kind.repeats) others = others.filter((one) => one.name !== kind.name);
    const before = others.filter((one) => !ends(event) || one.step <= step);
    this.set([...before, event]);
    const lost = others.length - before.length;
    return lost ? `${lost} event${lost > 1 ? "s" : ""} behind the end removed; z brings them back` : "";
  }

  remove(event) {
    this.set(this.events.filter((one) => one !== event));
  }

  /** Move an event to another step, as far as the end and the episode allow. */
  move(event, step) {
    const others = this.events.filter((one) => one !== event);
    const last = Math.max(-1, ...others.map((one) => one.step));
    const end = others.find(ends);
    let to = Math.max(0, Math.min(step, this.length - 1));
    if (ends(event)) to = Math.max(to, last);
    else if (end) to = Math.min(to, end.step);
    if (to !== event.step) this.set([...others, { ...event, step: to }]);
  }

  /** The events are on their way to the disk. */
  wasSaved() {
    this.saved = this.events;
    this.#take(this.events);
  }

  /** Another own label, or none, is on the disk now; nothing was marked since. */
  renew(saved) {
    this.saved = saved;
    this.events = saved ?? [];
  }
}
