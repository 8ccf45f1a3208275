// What the page remembers: language and appearance in this browser, the API key in this tab alone.

export const LANGUAGES = ["en", "zh"];
const APPEARANCES = ["auto", "light", "dark"];

function read(storage, name) {
  try {
    return storage().getItem(`enfold.${name}`);
  } catch {
    return null; // a browser that keeps nothing is no reason to fail
  }
}

function write(storage, name, value) {
  try {
    if (value) storage().setItem(`enfold.${name}`, value);
    else storage().removeItem(`enfold.${name}`);
  } catch {
    // as above
  }
}

const browser = () => window.localStorage;
const tab = () => window.sessionStorage;

/** The language to begin with: the address's, the one chosen before, the browser's, English. */
export function firstLanguage(asked) {
  const wished = [asked, read(browser, "language"), ...navigator.languages.map((name) => name.slice(0, 2))];
  return wished.find((name) => LANGUAGES.includes(name)) ?? "en";
}

export const keepLanguage = (name) => write(browser, "language", name);

export function appearance() {
  const kept = read(browser, "appearance");
  return APPEARANCES.includes(kept) ? kept : "auto";
}

/** Light, dark, or as the system has it. */
export function setAppearance(name) {
  write(browser, "appearance", name === "auto" ? null : name);
  if (name === "auto") delete document.documentElement.dataset.appearance;
  else document.documentElement.dataset.appearance = name;
}

export const key = () => read(tab, "key") ?? "";
export const setKey = (value) => write(tab, "key", value.trim());
