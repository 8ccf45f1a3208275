// A conversation: what was said, and the answer that is being written.

import { Refusal, events } from "./api.js";
import { fill, h } from "./dom.js";
import { t } from "./texts.js";

const NEAR_PX = 40;

/** Draws a conversation, its end in sight. What stands in its log stays, so that screen readers don't read it anew. */
export function drawChat(place, said) {
  if (!said.length) return void fill(place, h("p.quiet", {}, t("chat.empty")));
  let log = place.querySelector("[role=log]");
  if (!log) fill(place, (log = h("div.chat", { role: "log", tabindex: "0" })));
  log.setAttribute("aria-label", t("chat.log"));
  while (log.children.length > said.length) log.lastElementChild.remove();
  said.map(bubble).forEach((shown, index) => {
    const before = log.children[index];
    if (!before) log.append(shown);
    else if (!before.isEqualNode(shown)) before.replaceWith(shown);
  });
  log.scrollTop = log.scrollHeight;
}

function bubble({ role, content, cut, writing }) {
  const who = t(role === "user" ? "chat.you" : "chat.model");
  return h(
    `article.said.${role}`,
    { "aria-busy": writing ? "true" : null },
    h("h3.who", {}, who),
    h("p.prose", {}, content),
    cut ? h("p.quiet", {}, t("chat.length")) : null,
  );
}

/**
 * Asks for the next answer and writes it into the log as it comes.
 * @param {object} ask the request
 * @param {{role: string, content: string}[]} said what was said, with the message that is answered; grows by the answer
 * @param {HTMLElement} place
 * @throws {Refusal} also where the connection ends before the answer; what came stays
 */
export async function converse(ask, said, place, signal) {
  const answer = { role: "assistant", content: "", writing: true };
  said.push(answer);
  drawChat(place, said);
  let finish = null;
  try {
    for await (const event of events(ask, signal)) {
      const [choice] = event.choices;
      answer.content += choice?.delta.content ?? "";
      finish = choice?.finish_reason ?? finish;
      grow(place, answer.content);
    }
    if (!finish) throw new Refusal("cut");
  } finally {
    answer.writing = false;
    answer.cut = finish === "length";
    if (!answer.content && !finish) said.pop();
  }
}

/** More of the last answer; readers who have scrolled back are left where they are. */
function grow(place, content) {
  const log = place.querySelector("[role=log]");
  const text = log?.querySelector("article[aria-busy] .prose");
  if (!text) return; // another task is shown
  const near = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX;
  text.textContent = content;
  if (near) log.scrollTop = log.scrollHeight;
}
