// What people read of numbers and events.

export const seconds = (steps, hz) => {
  const s = steps / hz;
  return s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;
};

/** "+1", "−2.5", "" for a reward of nothing. */
export const worth = (reward) => (reward ? `${reward > 0 ? "+" : "−"}${Math.abs(reward)}` : "");

export const spoken = (name) => name.replaceAll("_", " ");

export const title = (event) => `${spoken(event.name || event.kind)} ${worth(event.value)}`.trim();

/** A time of the server's, ISO and UTC, as the clock on the wall has it here. */
export function here(iso) {
  const time = new Date(iso);
  return Number.isNaN(time.getTime()) ? iso : time.toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
}
