// What each task asks of a reader and of the server. One entry a task: fields, request, drawing.

import { answer } from "./api.js";
import { continuation } from "./draw/continuation.js";
import { entities } from "./draw/entities.js";
import { features } from "./draw/features.js";
import { labels } from "./draw/bars.js";
import { masks } from "./draw/masks.js";
import { matrix } from "./draw/matrix.js";
import { passage } from "./draw/passage.js";
import { sides } from "./draw/sides.js";
import { tokens } from "./draw/tokens.js";
import { vector } from "./draw/vector.js";

export const GROUPS = ["label", "read", "write", "inside"];

// ── fields ──────────────────────────────────────────────────────────────────

const area = (name, rows = 4, more = {}) => ({ kind: "area", name, rows, main: true, ...more });
const line = (name, more = {}) => ({ kind: "line", name, ...more });
const count = (name, first, more = {}) => ({ kind: "number", name, first, min: 1, max: 100000, step: 1, ...more });
const choice = (name, choices) => ({ kind: "choice", name, choices, first: choices[0] });
const LABELS = line("labels", { main: true });
const TEMPLATE = line("template", { first: { en: "This example is {}.", zh: "这段文字是关于{}的。" } });
const WRITTEN = count("max_new_tokens", 60);
const TEMPERATURE = { kind: "number", name: "temperature", first: 0, min: 0, max: 2, step: 0.1 };

// ── values of a form to what is asked ───────────────────────────────────────

const lines = (text) =>
  text
    .split("\n")
    .map((each) => each.trim())
    .filter(Boolean);
const split = (text) =>
  text
    .split(/[,，、;；\n]/)
    .map((each) => each.trim())
    .filter(Boolean);
const whole = (text) => (text === "" ? null : Number(text));

/** Without what was left empty, for which the server and the library have the same rule. */
const given = (values) =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== ""));

function drawn(values) {
  const heat = whole(values.temperature ?? "");
  if (heat === null) return {};
  return heat === 0 ? { do_sample: false } : { do_sample: true, temperature: heat };
}

/** The path of a model's task; a name may have slashes, and anything else is escaped. */
const pipeline = (model, task) => `/models/${model.id.split("/").map(encodeURIComponent).join("/")}/pipeline/${task}`;

function asked(task, inputs, parameters = () => ({})) {
  return (values, model) => {
    const options = parameters(values, model);
    const body = { inputs: inputs(values), ...(Object.keys(options).length ? { parameters: options } : {}) };
    return { task, path: pipeline(model, task), body, inputs: body.inputs, parameters: options };
  };
}

const text = (values) => values.text;
const rewritten = (values) => ({ ...given({ max_new_tokens: whole(values.max_new_tokens) }), ...drawn(values) });
const zeroShot = (values) => ({
  candidate_labels: split(values.labels),
  ...given({ hypothesis_template: values.template }),
  ...(values.multi_label ? { multi_label: true } : {}),
});
const tokenize = (values, model) => ({
  task: "tokens",
  path: "/tokenize",
  body: { model: model.id, inputs: values.text },
  inputs: values.text,
  parameters: {},
  unknown: model.unk_token,
});

// ── the tasks ───────────────────────────────────────────────────────────────

/**
 * Name → what it is. `ask` makes the request, `run` asks when one request is not enough, `draw` shows the answer;
 * `stream` where the answer comes in pieces; `fits` says which models do it, by default those that name it.
 */
export const TASKS = {
  "text-classification": {
    group: "label",
    fields: [area("text"), count("top_k", "", { hint: "field.all" })],
    ask: asked("text-classification", text, (values) => ({ top_k: whole(values.top_k) })),
    draw: ([found]) => labels(found),
  },
  "token-classification": {
    group: "label",
    fields: [area("text"), choice("aggregation_strategy", ["simple", "first", "average", "max", "none"])],
    ask: asked("token-classification", text, ({ aggregation_strategy }) => ({ aggregation_strategy })),
    draw: (found, ask) => entities(found, ask.inputs),
  },
  "zero-shot-classification": {
    group: "label",
    fields: [area("text"), LABELS, TEMPLATE, { kind: "check", name: "multi_label", first: false }],
    ask: asked("zero-shot-classification", text, zeroShot),
    draw: (found) => labels(found),
  },
  "zero-shot-by-embedding": {
    group: "label",
    fields: [area("text"), LABELS, TEMPLATE],
    ask: asked("zero-shot-by-embedding", text, zeroShot),
    draw: (found) => labels(found),
  },
  "sentence-similarity": {
    group: "read",
    fields: [area("sentences", 5)],
    ask: asked("sentence-similarity", (values) => lines(values.sentences)),
    draw: (found, ask) => matrix(found, ask.inputs),
  },
  "question-answering": {
    group: "read",
    fields: [line("question", { main: true }), area("context", 6), count("top_k", 3)],
    ask: asked(
      "question-answering",
      ({ question, context }) => ({ question, context }),
      (values) => given({ top_k: whole(values.top_k) }),
    ),
    draw: (found, ask) => passage([found].flat(), ask.inputs.context),
  },
  "fill-mask": {
    group: "read",
    fields: [area("text", 3, { label: "field.masked" }), count("top_k", 5)],
    ask: (values, model) => ({
      ...asked("fill-mask", text, (each) => given({ top_k: whole(each.top_k) }))(values, model),
      mask: model.mask_token,
    }),
    draw: (found, ask) => masks(Array.isArray(found[0]) ? found : [found], ask.inputs, ask.mask),
  },
  chat: {
    group: "write",
    chat: true,
    fits: (model) => model.chats && model.tasks.includes("text-generation"),
    fields: [area("message", 3), line("system"), count("max_new_tokens", 256), TEMPERATURE],
    ask: (values, model) => {
      const system = values.system.trim() ? [{ role: "system", content: values.system }] : [];
      const own = values.message.trim() ? [{ role: "user", content: values.message }] : [];
      const before = (values.said ?? []).map(({ role, content }) => ({ role, content }));
      // what is shown to copy, once it was answered, is the question: a model would only go on from its own answer
      if (!own.length) while (before.at(-1)?.role === "assistant") before.pop();
      const messages = [...system, ...before, ...own];
      const options = given({ max_tokens: whole(values.max_new_tokens), temperature: whole(values.temperature) });
      return {
        task: "chat",
        path: "/v1/chat/completions",
        body: { model: model.id, messages, ...options, stream: true },
        inputs: messages,
        parameters: rewritten(values),
      };
    },
  },
  "text-generation": {
    group: "write",
    stream: true,
    fields: [area("text"), WRITTEN, TEMPERATURE],
    ask: (values, model) => {
      const ask = asked("text-generation", text, (each) => ({ return_full_text: false, ...rewritten(each) }))(
        values,
        model,
      );
      return { ...ask, body: { ...ask.body, stream: true } };
    },
    piece: (event) => (event.token.special ? "" : event.token.text),
    last: (event) => event.details !== null,
    draw: (written, ask) => continuation(ask.inputs, written),
  },
  summarization: {
    group: "write",
    fields: [area("text", 8), count("max_new_tokens", 120)],
    ask: asked("summarization", text, rewritten),
    draw: ([found], ask) => sides(ask.inputs, found.summary_text, "draw.summary"),
  },
  translation: {
    group: "write",
    fields: [
      area("text"),
      line("src_lang", { hint: "field.language_code" }),
      line("tgt_lang", { hint: "field.language_code" }),
      count("max_new_tokens", ""),
    ],
    ask: asked("translation", text, (values) => ({
      ...given({ src_lang: values.src_lang.trim(), tgt_lang: values.tgt_lang.trim() }),
      ...rewritten(values),
    })),
    draw: ([found], ask) => sides(ask.inputs, found.translation_text, "draw.translation"),
  },
  "text2text-generation": {
    group: "write",
    fields: [area("text"), WRITTEN, TEMPERATURE],
    ask: asked("text2text-generation", text, rewritten),
    draw: ([found], ask) => sides(ask.inputs, found.generated_text, "draw.output"),
  },
  tokens: {
    group: "inside",
    fits: (model) => model.tasks.length > 0,
    fields: [area("text", 3)],
    ask: tokenize,
    draw: ([found], ask) => tokens(found, ask.inputs, ask.unknown),
  },
  embed: {
    group: "inside",
    fields: [area("text", 3)],
    ask: asked("embed", text),
    draw: (found) => vector(found),
  },
  "feature-extraction": {
    group: "inside",
    fields: [area("text", 3)],
    // models that embed give one vector at /models/…, as the hub does; this gives one a token with all of them
    ask: (values, model) => ({
      task: "feature-extraction",
      path: "/embed_all",
      body: { model: model.id, inputs: values.text },
      inputs: values.text,
      parameters: {},
    }),
    run: (ask, signal) => Promise.all([answer(ask, signal), answer({ path: "/tokenize", body: ask.body }, signal)]),
    draw: ([[states], [found]]) => features(states, found),
  },
};

/** Whether a model does a task. */
export const does = (model, task) =>
  (TASKS[task].fits ?? ((each) => each.tasks.includes(task)))({ tasks: [], ...model });
