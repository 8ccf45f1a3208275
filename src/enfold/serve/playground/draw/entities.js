// Entities marked in their text, a legend of their kinds, and how sure the model is of each.

import { characters, h } from "../dom.js";
import { t } from "../texts.js";
import { bars } from "./bars.js";

const KINDS = 6; // hues in the style sheet; the name of the kind stands beside each mark as well

const kindOf = (entity) => entity.entity_group ?? entity.entity;

/** @param {{start: number, end: number, score: number, entity_group?: string, entity?: string}[]} found */
export function entities(found, text) {
  if (!found.length) return h("div", {}, h("p.marked", {}, text), h("p.quiet", {}, t("result.none")));
  const kinds = [...new Set(found.map(kindOf))];
  const hue = (entity) => kinds.indexOf(kindOf(entity)) % KINDS;
  const points = characters(text);
  const parts = [];
  let place = 0;
  for (const entity of [...found].sort((one, other) => one.start - other.start)) {
    if (entity.start < place) continue; // a token that shares a character with the one before
    const name = points.slice(entity.start, entity.end);
    parts.push(points.slice(place, entity.start));
    parts.push(h("mark.entity", { "data-kind": hue(entity) }, name, h("span.entity-kind", {}, ` ${kindOf(entity)}`)));
    place = entity.end;
  }
  parts.push(points.slice(place, points.length));
  const legend = kinds.map((kind) => {
    const times = found.filter((entity) => kindOf(entity) === kind).length;
    return h(
      "li",
      { "data-kind": kinds.indexOf(kind) % KINDS },
      h("span.swatch", { "aria-hidden": "true" }),
      `${kind} × ${times}`,
    );
  });
  const sure = found.map((entity) => ({
    name: points.slice(entity.start, entity.end),
    score: entity.score,
    kind: hue(entity),
  }));
  return h("div", {}, h("p.marked", {}, parts), h("ul.legend", {}, legend), bars(sure));
}
