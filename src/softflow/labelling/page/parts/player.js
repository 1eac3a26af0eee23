// Where in the episode we are: playing at a speed, single frames, waiting for pictures.

const SCREEN_MS = 1000 / 60, MOST_MS = 500;
export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8];

export class Player {
  /** `reach(from, to)`: how far it can be shown while it plays; `moved()` after every change. */
  constructor(reach, moved) {
    Object.assign(this, { reach, moved, hz: 10, frames: 1, place: 0, playing: false, speed: 1 });
    this.forward = 1;
    this.before = null;
    this.screen = { last: 0, every: SCREEN_MS }; // a busy machine draws less often than it could
  }

  get step() {
    return Math.min(Math.floor(this.place + 1e-6), this.frames - 1);
  }
  get last() {
    return this.frames - 1;
  }
  /** Steps between two pictures of the screen while it plays. */
  get stride() {
    return Math.max(1, (this.hz * this.speed * this.screen.every) / 1000);
  }

  open(frames, hz) {
    Object.assign(this, { frames, hz, place: 0, playing: false });
    this.moved();
  }

  go(step) {
    const to = Math.max(0, Math.min(step, this.last));
    this.forward = to < this.place ? -1 : 1;
    this.place = to;
    this.moved();
  }

  toggle() {
    this.playing = !this.playing;
    if (!this.playing) return this.go(this.step);
    if (this.step >= this.last) this.place = 0;
    this.forward = 1;
    this.before = null;
    requestAnimationFrame((now) => this.#tick(now));
    this.moved();
  }

  pause() {
    if (this.playing) this.toggle();
  }

  setSpeed(speed) {
    this.speed = speed;
    this.moved();
  }
  faster(by) {
    const i = SPEEDS.indexOf(this.speed) + by;
    this.setSpeed(SPEEDS[Math.max(0, Math.min(i, SPEEDS.length - 1))]);
  }

  #tick(now) {
    if (!this.playing) return;
    const passed = this.before === null ? 0 : Math.min(now - this.before, MOST_MS);
    const { last, every } = this.screen;
    const since = Math.min(now - last, MOST_MS);
    this.screen = { last: now, every: this.before === null ? every : 0.8 * every + 0.2 * since };
    const next = Math.min(this.place + (passed / 1000) * this.hz * this.speed, this.last);
    const { step } = this;
    const wanted = Math.floor(next + 1e-6);
    const reached = this.reach(step, wanted);
    if (reached === wanted) this.place = next;
    else this.place = Math.max(this.place, reached); // the cursor never stands where nothing is seen
    if (reached === wanted || reached > step) this.before = now;
    if (this.place >= this.last) this.playing = false;
    if (this.step !== step || !this.playing) this.moved();
    if (this.playing) requestAnimationFrame((later) => this.#tick(later));
  }
}
