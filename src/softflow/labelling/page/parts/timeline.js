// The time line: events as flags that can be moved, what others say, signals under the same cursor.

import { ends } from "/page/draft.js";
import { title } from "/page/parts/words.js";

const RULER = 20, EVENTS = 30, GHOSTS = 20, MOST_LANES = 5;
const GRAB = 9;
const TICKS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600];

export class TimeLine {
  /** `asked.go(frame)`, `asked.pick(event)`, `asked.move(event, step)`, `asked.drop(event)`. */
  constructor(canvas, asked) {
    Object.assign(this, { canvas, asked, frames: 1, hz: 10, frame: 0, events: [], ghosts: [], lanes: [] });
    Object.assign(this, { selected: null, drag: null, planned: false, high: false });
    this.context = canvas.getContext("2d");
    this.still = document.createElement("canvas"); // all but the cursor
    new ResizeObserver(() => this.redraw()).observe(canvas.parentElement);
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    canvas.addEventListener("pointerup", () => (this.drag = null));
    canvas.addEventListener("pointercancel", () => (this.drag = null));
    canvas.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      const found = this.#flagAt(event.offsetX, event.offsetY);
      if (found) this.asked.drop(found);
    });
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => this.redraw());
  }

  /** Change what is shown; then everything is drawn anew. */
  set(parts) {
    Object.assign(this, parts);
    this.redraw();
  }

  /** Move the cursor only. */
  to(frame) {
    this.frame = frame;
    if (!this.planned) this.#cursor();
  }

  redraw() {
    if (this.planned) return;
    this.planned = true;
    requestAnimationFrame(() => {
      this.planned = false;
      this.#draw();
    });
  }

  x(frame) {
    return 1 + (frame / Math.max(1, this.frames - 1)) * (this.width - 2);
  }
  frameAt(x) {
    return Math.round(((x - 1) / (this.width - 2)) * (this.frames - 1));
  }

  #draw() {
    const lanes = this.lanes.slice(0, MOST_LANES);
    const ghosts = this.ghosts.length * GHOSTS;
    const lane = this.#laneHeight(lanes.length, ghosts);
    this.top = RULER + EVENTS + ghosts;
    this.width = this.canvas.parentElement.clientWidth - 32;
    this.height = this.top + lanes.length * lane + 2;
    const scale = devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.still]) {
      [canvas.width, canvas.height] = [this.width * scale, this.height * scale];
    }
    this.canvas.style.height = `${this.height}px`;
    const style = getComputedStyle(document.body);
    this.colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const g = this.still.getContext("2d");
    g.scale(scale, scale);
    g.font = `11.5px ${style.fontFamily}`;
    this.#ruler(g);
    this.ghosts.forEach((ghost, i) => this.#ghost(g, ghost, RULER + EVENTS + i * GHOSTS));
    lanes.forEach((one, i) => this.#lane(g, one, this.top + i * lane, lane));
    this.#cut(g);
    for (const event of this.events) this.#flag(g, event);
    this.#cursor();
  }

  /** Without cameras the signals are what there is to see, and take all the room. */
  #laneHeight(count, ghosts) {
    if (!this.high) return count > 2 ? 40 : 52;
    return Math.max(60, Math.min(420, (innerHeight - 245 - ghosts) / Math.max(1, count)));
  }

  #ruler(g) {
    const length = (this.frames - 1) / this.hz;
    const step = TICKS_S.find((s) => (length / s) * 64 < this.width) ?? 1800;
    g.fillStyle = this.colour("muted");
    g.strokeStyle = this.colour("rule");
    g.beginPath();
    for (let s = 0; s <= length + 1e-9; s += step) {
      const x = Math.round(this.x(s * this.hz)) + 0.5;
      g.moveTo(x, RULER - 5);
      g.lineTo(x, this.height);
      const text = step < 1 ? s.toFixed(1) : clock(s);
      const wide = g.measureText(text).width;
      if (x + wide + 4 < this.width) g.fillText(s ? text : "0 s", x + 3, 11);
    }
    g.stroke();
    g.fillStyle = this.colour("soft");
    g.fillRect(0, RULER, this.width, EVENTS);
  }

  #lane(g, { name, lines }, top, height) {
    const ranges = lines.map(({ values }) => range(values));
    const least = 0.04 * Math.max(0, ...ranges.map(([low, high]) => high - low)) || 1;
    const perPixel = Math.max(1, Math.floor(this.frames / (this.width * 2)));
    g.lineWidth = 1;
    g.globalAlpha = lines.length > 6 ? 0.65 : 0.95;
    lines.forEach(({ values, hue }, i) => {
      // Each on its own scale: joints and forces share a lane. What hardly moves stays a line.
      const [low, high] = ranges[i];
      const span = Math.max(high - low, least);
      const y = (value) => top + height - 5 - ((value - (low + high - span) / 2) / span) * (height - 12);
      g.strokeStyle = `hsl(${(hue * 47) % 360} 62% 58%)`;
      g.beginPath();
      for (let t = 0; t < this.frames; t += perPixel) g.lineTo(this.x(t), y(values[t]));
      g.stroke();
    });
    g.globalAlpha = 1;
    const single = lines.length === 1 && lines[0].name !== name ? ` ${lines[0].name}` : "";
    const text = name.replace("observation.", "") + single;
    g.fillStyle = this.colour("page");
    g.globalAlpha = 0.72;
    g.fillRect(2, top + 3, g.measureText(text).width + 8, 15);
    g.globalAlpha = 1;
    g.fillStyle = this.colour("muted");
    g.fillText(text, 6, top + 14);
    g.strokeStyle = this.colour("rule");
    g.beginPath();
    g.moveTo(0, top + height + 0.5);
    g.lineTo(this.width, top + height + 0.5);
    g.stroke();
  }

  #ghost(g, { by, events, colour }, top) {
    g.fillStyle = g.strokeStyle = this.colour(colour);
    g.globalAlpha = 0.85;
    const names = [];
    for (const event of events) {
      const x = this.x(event.step + 1);
      g.beginPath();
      g.arc(x, top + GHOSTS / 2, 4, 0, 7);
      event.kind === "reward" ? g.stroke() : g.fill();
      names.push(x);
    }
    g.globalAlpha = 1;
    g.fillStyle = this.colour("muted");
    const last = events.at(-1);
    const text = events.length ? `${by}: ${title(last)}` : `${by}: nothing happened`;
    const wide = g.measureText(text).width;
    const clear = (x) => names.every((one) => one < x - 8 || one > x + wide + 8);
    const place = [6, this.width - wide - 6, this.width / 2].find(clear) ?? 6;
    g.fillText(text, place, top + 14);
  }

  #cut(g) {
    const end = this.events.find(ends);
    if (!end) return;
    const x = this.x(end.step + 1);
    g.fillStyle = this.colour("cut");
    g.fillRect(x, RULER, this.width - x, this.height);
  }

  #flag(g, event) {
    const x = this.x(event.step + 1);
    const text = title(event);
    const wide = g.measureText(text).width + 14;
    const left = this.#left(event, x, wide);
    const chosen = event === this.selected;
    g.strokeStyle = g.fillStyle = this.colour(event.kind);
    g.globalAlpha = 0.75;
    g.fillRect(x - 0.75, RULER, 1.5, this.height);
    g.globalAlpha = 1;
    g.beginPath();
    g.roundRect(left, RULER + 4, wide, EVENTS - 8, 5);
    g.fill();
    g.fillStyle = this.colour("page");
    g.fillText(text, left + 7, RULER + 19);
    if (chosen) {
      g.strokeStyle = this.colour("ink");
      g.lineWidth = 2;
      g.stroke();
    }
  }

  /** Where a flag begins: to the right of its line, unless the page or the next flag ends there. */
  #left(event, x, wide) {
    const next = this.events[this.events.indexOf(event) + 1];
    const room = next ? Math.min(this.width, this.x(next.step + 1)) : this.width;
    return x + wide > room && x >= wide ? x - wide : x;
  }

  #cursor() {
    const g = this.context;
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.clearRect(0, 0, this.canvas.width, this.canvas.height);
    g.drawImage(this.still, 0, 0);
    const scale = devicePixelRatio || 1;
    g.scale(scale, scale);
    const x = this.x(this.frame);
    g.fillStyle = this.colour("cursor");
    g.fillRect(x - 0.75, 0, 1.5, this.height);
    g.beginPath();
    g.moveTo(x - 6, 0);
    g.lineTo(x + 6, 0);
    g.lineTo(x, 8);
    g.fill();
  }

  #flagAt(x, y) {
    if (y < RULER || y > RULER + EVENTS) return null;
    const g = this.still.getContext("2d");
    return this.events.findLast((event) => {
      const at = this.x(event.step + 1);
      const wide = g.measureText(title(event)).width + 14;
      const left = this.#left(event, at, wide);
      return (x >= left && x <= left + wide) || Math.abs(x - at) < GRAB;
    });
  }

  #down(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    const flag = this.#flagAt(event.offsetX, event.offsetY);
    this.drag = { flag, from: event.offsetX };
    if (flag) this.asked.pick(flag);
    else this.asked.go(this.frameAt(event.offsetX));
  }

  #moved(event) {
    if (!this.drag) return;
    if (!this.drag.flag) return this.asked.go(this.frameAt(event.offsetX));
    if (Math.abs(event.offsetX - this.drag.from) < 3) return;
    this.drag.from = -1e9;
    const moved = this.asked.move(this.drag.flag, this.frameAt(event.offsetX) - 1);
    if (moved) this.drag.flag = moved;
  }
}

const clock = (s) => (s < 60 ? `${s}` : `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`);

function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
