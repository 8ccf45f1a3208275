// A vector for each token, as a row of stripes.

import { h } from "../dom.js";
import { number, t } from "../texts.js";
import { norm, strength, stripes } from "./stripes.js";

const SHOWN = 64;

/**
 * @param {number[][]} states a vector for each token
 * @param {{text: string}[]} tokens the same tokens
 */
export function features(states, tokens) {
  const shown = states.slice(0, SHOWN);
  const most = strength(shown.flat());
  const rows = shown.map((values, index) => {
    const name = tokens[index]?.text ?? String(index + 1);
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      h(
        "td",
        {},
        stripes(
          values,
          most,
          `${name}: ${values
            .slice(0, 3)
            .map((value) => number(value, 2))
            .join("  ")} …`,
        ),
      ),
      h("td.amount", {}, number(norm(values), 2)),
    );
  });
  const head = ["token", "stripes", "length"].map((name) => h("th", { scope: "col" }, t(`draw.${name}`)));
  const caption = t("draw.features", { tokens: number(states.length), width: number(states[0].length) });
  const rest = states.length - shown.length;
  return h(
    "div",
    {},
    h("table.features", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)),
    rest > 0 ? h("p.quiet", {}, t("draw.more", { count: number(rest) })) : null,
  );
}
