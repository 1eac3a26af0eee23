// What a person marks in the open episode: events at the frame that is seen, undone, moved, taken over.

import { toast } from "/page/parts/dom.js";
import { plain } from "/page/draft.js";
import { offer } from "/page/labels.js";

export class Marking {
  constructor(page) {
    this.page = page;
    this.selected = null;
  }

  /** Change the draft, then show it; what comes back is told. */
  edit(change) {
    const { draft } = this.page;
    if (!draft) return;
    const said = change();
    if (typeof said === "string" && said) toast(said);
    if (draft.unkept) toast("This browser keeps nothing, its storage is full or off: save before you leave", "bad");
    if (!draft.events.includes(this.selected)) this.selected = null;
    this.page.show();
  }

  /** What is seen at a frame was brought about by the action before it. */
  get step() {
    return Math.max(0, this.page.player.step - 1);
  }

  mark(kind) {
    this.edit(() => this.page.draft.mark(kind, this.step));
  }
  endHere() {
    this.mark({ name: "", kind: "end", reward: 0, repeats: true });
  }
  undo() {
    this.edit(() => (this.page.draft.undo() ? "" : "nothing to undo"));
  }
  redo() {
    this.edit(() => (this.page.draft.redo() ? "" : "nothing to redo"));
  }

  /** Remove the chosen event, or the one nearest to the cursor. */
  drop() {
    const near = (event) => Math.abs(event.step - this.step);
    const events = this.page.draft?.events ?? [];
    const nearest = events.reduce((a, b) => (!a || near(b) < near(a) ? b : a), null);
    const event = this.selected ?? nearest;
    if (event) this.edit(() => this.page.draft.remove(event));
  }

  pick(event) {
    const { player } = this.page;
    this.selected = event;
    player.pause();
    player.go(event.step + 1);
    this.page.show();
  }

  /** Move an event; gives it as it stands then. */
  move(event, step) {
    const { draft, player } = this.page;
    this.edit(() => draft.move(event, step));
    const alike = (one) => one.name === event.name && one.kind === event.kind && one.step === step;
    this.selected = draft.events.find(alike) ?? (draft.events.includes(event) ? event : null);
    if (this.selected) player.go(this.selected.step + 1);
    this.page.show();
    return this.selected;
  }

  /** What can be taken over: the newest proposal, or what somebody else said where they differ. */
  get offered() {
    const { detail, me, placeName } = this.page;
    return detail && placeName === "store" ? offer(detail, me) : null;
  }

  /** Take what is offered: as it is and on to the next one, or into the draft to correct it. */
  accept(correct = false) {
    const { offered, page } = this;
    if (!offered) return toast("Nothing is proposed for this episode");
    this.edit(() => page.draft.set(offered.events.map(plain)));
    if (!correct) page.saving.andNext();
    return undefined;
  }
}
