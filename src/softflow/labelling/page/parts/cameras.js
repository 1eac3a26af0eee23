// All cameras of a step side by side, as large as they fit; a click shows one alone.

import { el } from "/page/parts/dom.js";

const GAP = 8;

export class Cameras {
  constructor(box) {
    this.box = box;
    this.tiles = [];
    this.alone = null;
    new ResizeObserver(() => this.#lay()).observe(box);
  }

  show(cameras) {
    this.alone = null;
    this.box.hidden = cameras.length === 0;
    this.tiles = cameras.map(({ key, shape: [height, width] }) => {
      const canvas = el("canvas", { width, height });
      const fault = el("div", { class: "fault", hidden: true });
      const name = key.replace("observation.images.", "");
      const tile = el("figure", { title: name }, canvas, el("figcaption", {}, name), fault);
      tile.addEventListener("click", () => this.#toggle(key));
      return { key, tile, canvas, fault, ratio: width / height, context: canvas.getContext("2d") };
    });
    this.box.replaceChildren(...this.tiles.map(({ tile }) => tile));
    this.#lay();
  }

  /** Draw bitmaps, one a camera; with null the pictures before them stay. */
  draw(pictures, problem = "") {
    this.tiles.forEach(({ tile, canvas, context, fault }, i) => {
      fault.hidden = !problem;
      fault.textContent = problem;
      const picture = pictures?.[i];
      tile.classList.toggle("waiting", !picture && !problem); // what stands there is of another frame
      if (!picture) return;
      if (canvas.width !== picture.width || canvas.height !== picture.height) {
        [canvas.width, canvas.height] = [picture.width, picture.height];
      }
      context.drawImage(picture, 0, 0);
    });
  }

  clear() {
    for (const { tile, canvas, context } of this.tiles) {
      context.clearRect(0, 0, canvas.width, canvas.height);
      tile.classList.add("waiting");
    }
  }

  #toggle(key) {
    this.alone = this.alone === key ? null : key;
    this.#lay();
  }

  #lay() {
    const shown = this.tiles.filter(({ key }) => this.alone === null || key === this.alone);
    for (const { tile, key } of this.tiles) tile.hidden = this.alone !== null && key !== this.alone;
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!shown.length || !width) return;
    const ratio = Math.max(...shown.map((tile) => tile.ratio));
    let best = { side: 0, columns: 1 };
    for (let columns = 1; columns <= shown.length; columns++) {
      const rows = Math.ceil(shown.length / columns);
      const across = (width - GAP * (columns - 1)) / columns;
      const side = Math.min(across, ((height - GAP * (rows - 1)) / rows) * ratio);
      if (side > best.side) best = { side, columns };
    }
    const { side, columns } = best;
    const rows = Math.ceil(shown.length / columns);
    const top = (height - rows * (side / ratio + GAP) + GAP) / 2;
    shown.forEach(({ tile }, i) => {
      const row = Math.floor(i / columns);
      const inRow = Math.min(columns, shown.length - row * columns);
      const left = (width - inRow * (side + GAP) + GAP) / 2;
      tile.style.left = `${left + (i % columns) * (side + GAP)}px`;
      tile.style.top = `${top + row * (side / ratio + GAP)}px`;
      tile.style.width = `${side}px`;
      tile.style.height = `${side / ratio}px`;
    });
  }
}
