// The page: which task and model are shown, what was typed and found, and what buttons and keys do.
//
//   address ─▶ task, model, language ─▶ form ─▶ request ─▶ answer ─▶ drawing
//                                         └──▶ the same as curl and Python

import { Refusal, answer, events } from "./api.js";
import { converse, drawChat } from "./chat.js";
import { curl, library, server } from "./code.js";
import { copyButton } from "./copy.js";
import { fill, h } from "./dom.js";
import { drawForm, firstValues, setValue, translated, within } from "./form.js";
import { watchModels } from "./models.js";
import { LANGUAGES, appearance, firstLanguage, keepLanguage, key, setAppearance, setKey } from "./preferences.js";
import { drawModels, drawShell, drawTasks, notice } from "./shell.js";
import { TASKS, does } from "./tasks.js";
import { language, number, setLanguage, t } from "./texts.js";

const $ = (id) => document.getElementById(id);
const MODIFIER = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘ Enter" : "Ctrl + Enter";

/**
 * `kept`: for each task what was typed (`values`), said in its chat, and found last (`ask`, `found`, `seconds` or
 * `error`), so that nothing is lost by looking elsewhere. `running`: what ends the request that runs; `ended`: when it
 * has.
 */
const state = { models: [], tasks: [], task: null, model: null, kept: new Map(), running: null, ended: null };

const fits = (task) => state.models.filter((model) => does(model, task));
const kept = () => state.kept.get(state.task);
const request = () => TASKS[state.task].ask({ ...kept().values, said: kept().said }, state.model);

// ── the address ──────────────────────────────────────────────────────────────

const asked = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

/** The address of a view, to be shared. */
function view(task, model = null) {
  const parts = { task, ...(model ? { model: model.id } : {}), lang: language() };
  return `#${new URLSearchParams(parts)}`;
}

function readAddress() {
  const { lang, task, model } = asked();
  if (lang !== language() && LANGUAGES.includes(lang)) changeLanguage(lang);
  if (state.tasks.length) choose(task ?? state.task, model);
}

// ── what is shown ────────────────────────────────────────────────────────────

/** Shows a task on a model; others where there are none such, which the page says. */
function choose(name, wished = null) {
  const task = state.tasks.includes(name) ? name : state.tasks[0];
  const models = fits(task);
  const model =
    models.find((each) => each.id === wished) ??
    (task === state.task && models.find((each) => each.id === state.model?.id)) ??
    null;
  const first = model || models[0];
  if (name && task !== name) notice("choice", t("models.no-task", { task: name in TASKS ? t(`task.${name}`) : name }));
  else if (wished && !model) notice("choice", t("models.no-model", { name: wished }));
  else notice("choice", null);
  if (task === state.task && first.id === state.model?.id) return;
  stop();
  const mask = state.model?.mask_token;
  Object.assign(state, { task, model: first });
  if (!state.kept.has(task))
    state.kept.set(task, { values: firstValues(TASKS[task], task, first.mask_token), said: [] });
  if (mask && first.mask_token && mask !== first.mask_token && "text" in kept().values) {
    kept().values.text = kept().values.text.replaceAll(mask, first.mask_token);
  }
  kept().values = within(kept().values, first.limits);
  forget();
  history.replaceState(null, "", view(task, first));
  draw();
}

/** An answer belongs to the model that gave it. */
function forget() {
  if (kept().found && kept().ask.model !== state.model.id)
    for (const name of ["ask", "found", "seconds", "error"]) delete kept()[name];
}

function draw() {
  drawShell();
  $("run").textContent = t(TASKS[state.task]?.chat ? "form.send" : "form.run");
  $("keys").textContent = t("form.keys", { run: MODIFIER });
  fill(
    $("code-copy"),
    copyButton(() => $("code").textContent),
  );
  $("main").hidden = !state.task;
  drawTasks(state, view);
  if (!state.task) return;
  drawModels(state, fits(state.task));
  drawFields();
  arrange();
  drawResult();
  drawCode();
}

function drawFields() {
  const { values } = kept();
  const shown = { task: TASKS[state.task], name: state.task, values, mask: state.model.mask_token };
  drawForm($("fields"), shown, (changed) => {
    Object.assign(values, changed);
    drawCode();
  });
}

/** A conversation stands above its next message, other answers under what they answer. */
function arrange() {
  const chat = Boolean(TASKS[state.task].chat);
  $("clear").hidden = !chat || !kept().said.length;
  if (chat) $("main").insertBefore($("result"), $("form"));
  else $("main").insertBefore($("result"), $("key"));
  $("result-title").textContent = t(chat ? "chat.log" : "result.title");
}

function drawResult() {
  const { said, ask, found, seconds, error } = kept();
  fill($("error"), error ? refused(error) : null);
  $("status").textContent = seconds === undefined ? "" : t("result.done", { seconds: number(seconds, 2) });
  if (TASKS[state.task].chat) return void drawChat($("drawing"), said);
  if (found === undefined) return void fill($("drawing"), error ? null : h("p.quiet", {}, t("result.empty")));
  try {
    fill($("drawing"), TASKS[state.task].draw(found, ask));
  } catch (problem) {
    console.error(problem);
    fill($("drawing"));
    fill($("error"), refused(new Refusal("page")));
  }
}

function drawCode() {
  const way = document.querySelector("input[name=way]:checked").value;
  const makers = { curl, library, server };
  $("code").textContent = makers[way](request(), state.model);
}

// ── errors ───────────────────────────────────────────────────────────────────

function refused(error) {
  const words = error.kind === "key" && key() ? "error.key-again" : `error.${error.kind}`;
  const own = error.kind === "server" ? null : h("p", {}, t(words));
  const wait = error.wait ? h("p", {}, t("error.wait", { seconds: number(error.wait) })) : null;
  const says = error.message ? h("p.server-says", { lang: "en" }, error.message) : null;
  const status = error.status ? h("p.quiet", {}, t("error.status", { status: error.status })) : null;
  return h("div.refused", {}, h("h3", {}, t("error.title")), own, wait, says, status);
}

function askForKey(error = null) {
  $("key").hidden = !(error?.kind === "key" || key());
  $("key-forget").hidden = !key();
  if (error?.kind === "key") $("key-field").focus();
}

// ── asking ───────────────────────────────────────────────────────────────────

function stop() {
  state.running?.abort();
}

/** Asks what the form says, once what ran before has ended. */
async function run() {
  stop();
  await state.ended?.catch(() => {});
  state.ended = ask();
}

/** Asks and shows what comes; what is typed stays, whatever comes. */
async function ask() {
  const task = TASKS[state.task];
  const mine = kept();
  const made = { ...request(), model: state.model.id };
  if (task.chat && !mine.values.message.trim()) return void $("field-message").focus();
  const control = new AbortController();
  state.running = control;
  for (const name of ["found", "seconds", "error"]) delete mine[name];
  mine.ask = made;
  busy(true);
  const began = performance.now();
  try {
    if (task.chat) await talk(made, mine, control.signal);
    else if (task.stream) await write(task, made, mine, control.signal);
    else mine.found = await (task.run ?? answer)(made, control.signal);
    mine.seconds = (performance.now() - began) / 1000;
  } catch (error) {
    if (error.name !== "AbortError") mine.error = error instanceof Refusal ? error : new Refusal("page", String(error));
  }
  state.running = null;
  busy(false);
  if (kept() !== mine) return; // another task is shown by now
  arrange();
  drawResult();
  drawCode();
  if (control.signal.aborted) $("status").textContent = t("result.stopped");
  if (mine.error) askForKey(mine.error);
}

/** A text that comes in pieces. */
async function write(task, ask, mine, signal) {
  let ended = false;
  for await (const event of events(ask, signal)) {
    mine.found = (mine.found ?? "") + task.piece(event);
    ended ||= task.last(event);
    if (kept() === mine) fill($("drawing"), task.draw(mine.found, ask));
  }
  if (!ended) throw new Refusal("cut");
}

/** The next turn of a conversation. A message without any answer goes back into its field. */
async function talk(ask, mine, signal) {
  const [field] = TASKS.chat.fields;
  const message = mine.values.message;
  if (message.trim()) mine.said.push({ role: "user", content: message });
  mine.values.message = "";
  setValue($("fields"), field, "");
  drawCode();
  try {
    await converse(ask, mine.said, $("drawing"), signal);
  } finally {
    if (mine.said.at(-1)?.role === "user") {
      mine.said.pop();
      mine.values.message ||= message;
      if (kept() === mine) setValue($("fields"), field, mine.values.message);
    }
  }
}

function busy(now) {
  if (!now && document.activeElement === $("stop")) $("run").focus();
  $("stop").hidden = !now;
  if (now) fill($("error"));
  $("result").setAttribute("aria-busy", String(now));
  if (now) $("status").textContent = t("result.running");
}

// ── language and appearance ──────────────────────────────────────────────────

function changeLanguage(name) {
  setLanguage(name);
  for (const [task, each] of state.kept) {
    each.values = translated(each.values, TASKS[task], task, state.model?.mask_token);
  }
  if (state.task) history.replaceState(null, "", view(state.task, state.model));
  draw();
}

// ── begin ────────────────────────────────────────────────────────────────────

function listen() {
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  $("stop").addEventListener("click", stop);
  $("clear").addEventListener("click", () => {
    stop();
    kept().said.length = 0;
    for (const name of ["seconds", "error"]) delete kept()[name];
    draw();
    $("field-message").focus();
  });
  $("model").addEventListener("change", (event) => choose(state.task, event.target.value));
  $("task-choice").addEventListener("change", (event) => choose(event.target.value));
  $("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address says which view is shown
    $("task-title").focus();
  });
  $("appearance").value = appearance();
  $("appearance").addEventListener("change", (event) => {
    setAppearance(event.target.value);
    if (state.task) drawResult();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener(
    "change",
    () => state.task && !state.running && drawResult(),
  );
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      keepLanguage(button.dataset.language);
      changeLanguage(button.dataset.language);
    });
  }
  for (const way of document.querySelectorAll("input[name=way]")) way.addEventListener("change", drawCode);
  $("key").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey($("key-field").value);
  });
  $("key-forget").addEventListener("click", () => useKey(""));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.running) stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && state.task && !event.target.closest("#key")) {
      event.preventDefault();
      run();
    }
  });
  addEventListener("hashchange", readAddress);
}

function useKey(value) {
  setKey(value);
  $("key-field").value = "";
  if (state.task) {
    delete kept().error;
    drawResult();
    drawCode();
  }
  askForKey();
  watch();
}

/** Takes the models as they come; the first one that fits the address is shown. */
function heard({ models, error, settled }) {
  if (error) {
    if (error.kind === "key") {
      $("key").hidden = false;
      $("key-forget").hidden = !key();
      $("main").hidden = false;
      $("main").classList.add("waiting");
    }
    return;
  }
  $("main").classList.remove("waiting");
  if (JSON.stringify(models) === JSON.stringify(state.models)) return;
  state.models = models;
  state.tasks = Object.keys(TASKS).filter((task) => fits(task).length);
  const { task, model } = asked();
  const waits =
    !settled && task && !(state.tasks.includes(task) && (!model || fits(task).some((each) => each.id === model)));
  if (state.task) {
    state.model = models.find((each) => each.id === state.model.id) ?? state.model;
    drawTasks(state, view);
    drawModels(state, fits(state.task));
  } else if (state.tasks.length && !waits) {
    choose(task, model);
  } else {
    drawTasks(state, view);
  }
  askForKey();
}

const watch = watchModels(heard);

setAppearance(appearance());
setLanguage(firstLanguage(asked().lang));
listen();
draw();
watch();
