// Answers marked in the text that they were found in.

import { characters, fill, h } from "../dom.js";
import { t } from "../texts.js";
import { bars } from "./bars.js";

/** @param {{answer: string, start: number, end: number, score: number}[]} found best first */
export function passage(found, context) {
  const points = characters(context);
  const marked = h("p.marked");
  const choices = h("div");
  const show = (chosen) => {
    const { start, end } = found[chosen];
    const mark = end > start ? h("mark.answer", {}, points.slice(start, end)) : null;
    fill(marked, points.slice(0, start), mark, points.slice(end, points.length));
    const items = found.map((each) => ({ name: each.answer || t("draw.no-answer"), score: each.score }));
    const focused = choices.contains(document.activeElement);
    fill(choices, bars(items, { chosen, pick: found.length > 1 ? show : null, describe: t("draw.answers") }));
    if (focused) choices.querySelector("[aria-pressed=true]").focus();
  };
  show(0);
  return h("div", {}, marked, found.length > 1 ? h("p.quiet", {}, t("draw.pick-answer")) : null, choices);
}
