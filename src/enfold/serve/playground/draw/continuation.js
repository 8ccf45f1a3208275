// A text and how it goes on.

import { h } from "../dom.js";
import { t } from "../texts.js";

export function continuation(prompt, written) {
  const marked = h("p.marked.continuation", {}, h("span.prompt", {}, prompt), h("mark.answer.written", {}, written));
  return h("div", {}, marked, h("p.quiet", {}, t("draw.prompt-and-new")));
}
