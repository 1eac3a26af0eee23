// What this browser keeps: choices, unsaved drafts, labels on their way. Never an error if it cannot.

export function load(key, otherwise) {
  try {
    const text = localStorage.getItem(`softflow:${key}`);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

export function keep(key, value) {
  try {
    if (value === undefined) localStorage.removeItem(`softflow:${key}`);
    else localStorage.setItem(`softflow:${key}`, JSON.stringify(value));
    return true;
  } catch {
    return false; // full, or forbidden: the page goes on without
  }
}
