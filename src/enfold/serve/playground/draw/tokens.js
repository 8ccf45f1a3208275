// The tokens of a text as chips, in its order. Tokens that share a character stand together under it.

import { characters, h } from "../dom.js";
import { number, t } from "../texts.js";

const SIGNS = { " ": "·", "\n": "↵", "\t": "⇥" };
const UNSEEN = /[\p{Z}\p{C}\p{Variation_Selector}]/gu;

/** Characters that nobody sees by a sign, or by their number. */
const visible = (text) =>
  text.replace(UNSEEN, (each) => SIGNS[each] ?? `U+${each.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);

/** Neighbours whose places overlap: a character that several tokens make up. */
function groups(found) {
  const made = [];
  for (const token of found) {
    const last = made.at(-1);
    if (last && !token.special && !last.special && token.start < last.stop) {
      last.tokens.push(token);
      last.stop = Math.max(last.stop, token.stop);
    } else {
      made.push({ ...token, tokens: [token] });
    }
  }
  return made;
}

/** @param {{id: number, text: string, special: boolean, start: number, stop: number}[]} found */
export function tokens(found, text) {
  const points = characters(text);
  const chips = groups(found).map(({ start, stop, special, tokens: parts }, index) => {
    const piece = stop > start && !special ? visible(points.slice(start, stop)) : parts[0].text;
    const ids = parts.map(({ id, text: name }, part) => {
      const shared = parts.length > 1 ? `, ${t("draw.part", { part: part + 1, parts: parts.length })}` : "";
      return h("span.token-id", { title: `${name}${shared}` }, id);
    });
    const chip = special ? "li.token.special" : parts.length > 1 ? "li.token.shared" : "li.token";
    const hidden = special ? h("span.unseen", {}, ` (${t("draw.special")})`) : null;
    return h(chip, { "data-hue": index % 2 }, h("span.token-text", {}, piece), hidden, h("span.token-ids", {}, ids));
  });
  const counted = t("draw.tokens", { tokens: number(found.length), characters: number(points.length) });
  const legend = found.some((token) => token.special)
    ? h("p.legend", {}, h("span", {}, h("span.swatch.special", { "aria-hidden": "true" }), t("draw.special")))
    : null;
  return h("div", {}, h("p.quiet", {}, counted), h("ol.tokens", {}, chips), legend);
}
