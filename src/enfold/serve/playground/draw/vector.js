// One vector: its stripes, how its numbers are spread, the first of them, and all to copy.

import { copyButton } from "../copy.js";
import { h, share } from "../dom.js";
import { number, t } from "../texts.js";
import { norm, strength, stripes } from "./stripes.js";

const BINS = 32;
const SHOWN = 8;

/** @param {number[]} values */
export function vector(values) {
  const least = Math.min(...values);
  const most = Math.max(...values);
  const counts = new Array(BINS).fill(0);
  for (const value of values)
    counts[Math.min(BINS - 1, Math.floor(((value - least) / (most - least || 1)) * BINS))] += 1;
  const highest = Math.max(...counts);
  const spread = t("draw.histogram", { least: number(least, 3), most: number(most, 3) });
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const facts = { length: norm(values), least, most, mean };
  const first = values
    .slice(0, SHOWN)
    .map((value) => number(value, 4))
    .join("  ");
  return h(
    "div",
    {},
    h("h3", {}, t("draw.vector", { count: number(values.length) })),
    stripes(values, strength(values), t("draw.strip")),
    h(
      "p.legend",
      {},
      h("span", {}, h("span.swatch.below", { "aria-hidden": "true" }), t("draw.minus")),
      h("span", {}, h("span.swatch.above", { "aria-hidden": "true" }), t("draw.plus")),
    ),
    h(
      "dl.facts",
      {},
      Object.entries(facts).map(([name, value]) =>
        h("div", {}, h("dt", {}, t(`draw.${name}`)), h("dd", {}, number(value, 4))),
      ),
    ),
    h("h3", {}, spread),
    h(
      "div.histogram",
      { role: "img", "aria-label": spread },
      counts.map((count) => share(h("span"), count / highest)),
    ),
    h("h3", {}, t("draw.first")),
    h("p.numbers", {}, `${first}  …`),
    copyButton(() => JSON.stringify(values), "code.numbers"),
  );
}
