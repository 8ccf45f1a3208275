// A button that copies, and says so.

import { h } from "./dom.js";
import { t } from "./texts.js";

const SAID_MS = 2000;

/** @param {() => string} text what is copied, asked for when it is */
export function copyButton(text, name = "code.copy") {
  const button = h("button.copy", { type: "button" }, t(name));
  const said = h("span.copy-said", { role: "status" });
  button.addEventListener("click", async () => {
    const done = await copied(text());
    said.textContent = t(done ? "code.copied" : "code.uncopied");
    setTimeout(() => (said.textContent = ""), SAID_MS);
  });
  return h("span.copying", {}, button, said);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedByHand(text); // pages of http:// addresses other than this machine's have no clipboard
  }
}

function copiedByHand(text) {
  const area = h("textarea.unseen", { value: text, "aria-hidden": "true", tabindex: "-1" });
  document.body.append(area);
  const focused = document.activeElement;
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}
