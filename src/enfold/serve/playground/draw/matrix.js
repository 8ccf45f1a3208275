// How alike sentences are: a table of numbers, warmer where they are higher.

import { h, share } from "../dom.js";
import { number, t } from "../texts.js";

/** @param {number[][]} found a row and a column for each sentence */
export function matrix(found, sentences) {
  const all = found.flat();
  const least = Math.min(...all);
  const most = Math.max(...all);
  const cosines = least >= -1.001 && most <= 1.001;
  const warmth = (value) => (cosines ? value : (value - least) / (most - least || 1));
  const head = sentences.map((sentence, index) => h("th", { scope: "col", title: sentence }, index + 1));
  const rows = found.map((row, index) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("span.matrix-number", {}, index + 1), " ", sentences[index]),
      row.map((value) => share(h("td", {}, number(value, 2)), warmth(value))),
    ),
  );
  const caption = t(cosines ? "draw.matrix" : "draw.distances");
  const table = h(
    "table.matrix",
    {},
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, h("td"), head)),
    h("tbody", {}, rows),
  );
  return h("div.wide", { role: "region", tabindex: "0", "aria-label": caption }, table);
}
