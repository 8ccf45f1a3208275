// Bars with a name and a share each: labels, candidates, answers.

import { h, share } from "../dom.js";
import { percent, t } from "../texts.js";

/**
 * Names with shares, in the order that they come in.
 * @param {{name: string, score: number, kind?: number}[]} items
 * @param {{chosen?: number, pick?: (index: number) => void, describe?: string}} [choosing] with `pick` each name is a
 *   button
 */
export function bars(items, { chosen = -1, pick = null, describe = t("draw.score") } = {}) {
  const rows = items.map(({ name, score, kind }, index) => {
    const label = pick
      ? h(
          "button.bar-name",
          { type: "button", "aria-pressed": String(index === chosen), onclick: () => pick(index) },
          name,
        )
      : h("span.bar-name", {}, name);
    const track = h("span.bar-track", { "aria-hidden": "true" }, share(h("span.bar-fill"), score));
    return h(
      "li.bar",
      kind === undefined ? {} : { "data-kind": kind },
      label,
      track,
      h("span.bar-share", {}, percent(score)),
    );
  });
  return h("ol.bars", { "aria-label": describe }, rows);
}

/** Labels with their scores. */
export function labels(found) {
  return bars(
    found.map(({ label, score }) => ({ name: label, score })),
    { describe: t("draw.label") },
  );
}
