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

/**
 * @param {{id: number, text: string, special: boolean, start: number, stop: number}[]} found
 * @param {string} text
 * @param {string | null} unknown the token that stands for what the model can't read
 */
export function tokens(found, text, unknown = null) {
  const points = characters(text);
  const chips = groups(found).map(({ start, stop, special, tokens: parts }, index) => {
    const piece = stop > start && !special ? visible(points.slice(start, stop)) : parts[0].text;
    const ids = parts.map(({ id, text: name }, part) => {
      const shared = parts.length > 1 ? `, ${t("draw.part", { part: part + 1, parts: parts.length })}` : "";
      return h("span.token-id", { title: `${name}${shared}` }, id);
    });
    const unread = !special && parts[0].text === unknown;
    const kind = special ? ".special" : unread ? ".unread" : parts.length > 1 ? ".shared" : "";
    const chip = `li.token${kind}`;
    const words = special ? t("draw.special") : unread ? t("draw.unread") : null;
    const hidden = words ? h("span.unseen", {}, ` (${words})`) : null;
    return h(chip, { "data-hue": index % 2 }, h("span.token-text", {}, piece), hidden, h("span.token-ids", {}, ids));
  });
  const counted = t("draw.tokens", { tokens: number(found.length), characters: number(points.length) });
  const kinds = {
    special: found.some((token) => token.special),
    unread: found.some((token) => !token.special && token.text === unknown),
  };
  const legend = Object.keys(kinds)
    .filter((kind) => kinds[kind])
    .map((kind) => h("span", {}, h(`span.swatch.${kind}`, { "aria-hidden": "true" }), t(`draw.${kind}`)));
  const shown = legend.length ? h("p.legend", {}, legend) : null;
  return h("div", {}, h("p.quiet", {}, counted), h("ol.tokens", {}, chips), shown);
}
