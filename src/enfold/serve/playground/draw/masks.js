// Candidates for each mask, and the text with the chosen ones in it.

import { fill, h } from "../dom.js";
import { t } from "../texts.js";
import { bars } from "./bars.js";

/** A candidate as it stands in a text: pieces of words without the signs of their vocabulary. */
const plain = (word) => word.replace(/^##/, "");

/**
 * @param {{score: number, token_str: string}[][]} found candidates of each mask, best first
 * @param {string} mask the model's mask token
 */
export function masks(found, text, mask) {
  const parts = text.split(mask);
  const chosen = found.map(() => 0);
  const sentence = h("p.marked", { "aria-live": "polite" });
  const choices = found.map(() => h("div"));
  const draw = () => {
    const words = found.map((candidates, index) => {
      const word = plain(candidates[chosen[index]].token_str);
      return h("mark.answer", {}, parts[index].endsWith(" ") ? word.trimStart() : word);
    });
    fill(
      sentence,
      parts.flatMap((part, index) => [part, words[index]]),
    );
    found.forEach((candidates, index) => {
      const items = candidates.map(({ score, token_str }) => ({ name: token_str.trim() || token_str, score }));
      const pick = (picked) => {
        chosen[index] = picked;
        draw();
        choices[index].querySelector("[aria-pressed=true]").focus();
      };
      const describe = t("draw.mask", { number: index + 1 });
      const title = found.length > 1 ? h("h3", {}, describe) : null;
      fill(choices[index], title, bars(items, { chosen: chosen[index], pick, describe }));
    });
  };
  draw();
  return h("div", {}, sentence, h("p.quiet", {}, t("draw.pick")), choices);
}
