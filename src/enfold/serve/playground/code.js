// The request as text to copy: for a shell, for the library, and for this server from Python.

import { address } from "./api.js";
import { key } from "./preferences.js";
import { t } from "./texts.js";

const WIDTH = 88;
const PLAIN = /^[\w@%+=:,./-]+$/;

/** A word of a POSIX shell. */
export const shell = (text) => (PLAIN.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** A value as Python writes it; over several lines where one would be long. */
export function python(value, indent = "") {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value); // Python reads strings and numbers of JSON
  const several = Array.isArray(value);
  const [open, close] = several ? "[]" : "{}";
  const deeper = `${indent}    `;
  const parts = (inner) =>
    several
      ? value.map((each) => python(each, inner))
      : Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${python(each, inner)}`);
  const short = `${open}${parts(deeper).join(", ")}${close}`;
  if (indent.length + short.length <= WIDTH && !short.includes("\n")) return short;
  return `${open}\n${parts(deeper)
    .map((part) => `${deeper}${part},\n`)
    .join("")}${indent}${close}`;
}

/** A call of Python; over several lines where one would be long. */
function call(name, values, options = {}) {
  const parts = (indent) => [
    ...values.map((value) => python(value, indent)),
    ...Object.entries(options).map(([option, value]) => `${option}=${python(value, indent)}`),
  ];
  const short = `${name}(${parts("    ").join(", ")})`;
  if (short.length <= WIDTH && !short.includes("\n")) return short;
  return `${name}(\n${parts("    ")
    .map((part) => `    ${part},\n`)
    .join("")})`;
}

export function curl(ask) {
  const parts = [
    `curl ${ask.body.stream ? "-N " : ""}${shell(address(ask.path))}`,
    "-H 'Content-Type: application/json'",
    ...(key() ? ['-H "Authorization: Bearer $ENFOLD_API_KEY"'] : []),
    `-d ${shell(JSON.stringify(ask.body, null, 2))}`,
  ];
  return parts.join(" \\\n  ");
}

/** The same without a server. */
export function library(ask, model) {
  const source = JSON.stringify(model.source ?? model.id) + (model.source ? "" : `  # ${t("code.folder")}`);
  const begin = `import enfold\n\nsource = ${source}\n`;
  if (ask.task === "tokens") {
    return (
      `${begin}tokenizer = enfold.AutoTokenizer.from_pretrained(source)\n` +
      `(encoded,) = ${call("tokenizer.encode_many", [[ask.inputs]])}\n` +
      "for token, number, place in zip(encoded.tokens, encoded.ids, encoded.offsets):\n    print(number, token, place)\n"
    );
  }
  if (ask.task === "chat") {
    const written = call("chat", [ask.inputs], { stream: true, ...ask.parameters });
    return (
      `${begin}chat = enfold.pipeline("text-generation", source)\n` +
      `pieces = ${written}\nfor piece in pieces:\n    print(piece, end="", flush=True)\n`
    );
  }
  const asked = call("task", [ask.inputs], ask.parameters);
  return `${begin}task = enfold.pipeline(${python(ask.task)}, source)\nanswer = ${asked}\nprint(answer)\n`;
}

/** The same from Python: OpenAI's client where it can ask this, else plain HTTP. */
export function server(ask, model) {
  if (ask.task === "chat") {
    const { model: id, ...options } = ask.body;
    return (
      `${client()}stream = ${call("client.chat.completions.create", [], { model: id, ...options })}\n` +
      'for event in stream:\n    print(event.choices[0].delta.content or "", end="", flush=True)\n'
    );
  }
  if (ask.task === "embed") {
    const made = call("client.embeddings.create", [], { model: model.id, input: ask.inputs });
    return `${client()}answer = ${made}\nprint(answer.data[0].embedding)\n`;
  }
  const { stream, ...body } = ask.body;
  const known = key();
  const options = `    json=${python(body, "    ")},\n${known ? '    headers={"Authorization": f"Bearer {os.environ[\'ENFOLD_API_KEY\']}"},\n' : ""}    timeout=120,\n`;
  return (
    `${known ? "import os\n\n" : ""}import requests\n\n` +
    `response = requests.post(\n    ${python(address(ask.path))},\n${options})\n` +
    "response.raise_for_status()\nprint(response.json())\n"
  );
}

function client() {
  const known = key();
  const secret = known ? 'os.environ["ENFOLD_API_KEY"]' : '"none"';
  return (
    `${known ? "import os\n\n" : ""}from openai import OpenAI\n\n` +
    `client = OpenAI(base_url=${python(address("/v1"))}, api_key=${secret})\n`
  );
}
