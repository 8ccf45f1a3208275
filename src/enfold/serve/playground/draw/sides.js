// A text and what was made of it, side by side.

import { copyButton } from "../copy.js";
import { characters, h } from "../dom.js";
import { number, t } from "../texts.js";

/** @param {string} title key of what the second text is called */
export function sides(before, after, title) {
  const side = (kind, name, text) =>
    h(
      `section.${kind}`,
      {},
      h("h3", {}, t(name), " ", h("span.quiet", {}, t("draw.words", { count: number(characters(text).length) }))),
      h("p.prose", {}, text),
    );
  const made = side("side-after", title, after);
  made.append(copyButton(() => after, "code.text"));
  return h("div.sides", {}, side("side-before", "draw.original", before), made);
}
