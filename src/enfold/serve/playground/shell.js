// What stands around a task: words of the page, the list of tasks, the choice of models, notices.

import { fill, h } from "./dom.js";
import { GROUPS, TASKS } from "./tasks.js";
import { language, number, size, t } from "./texts.js";

const $ = (id) => document.getElementById(id);

/** Puts the words of the page's language where its markup says which. */
export function drawShell() {
  document.title = t("page.title");
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = t(each.dataset.text);
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", t(each.dataset.label));
  for (const each of document.querySelectorAll("[data-language]")) {
    each.setAttribute("aria-pressed", String(each.dataset.language === language()));
  }
}

/** The tasks that some model does, as links for wide pages and as a choice for narrow ones. */
export function drawTasks({ tasks, task: current }, view) {
  const groups = GROUPS.map((group) => [group, tasks.filter((task) => TASKS[task].group === group)]).filter(
    ([, each]) => each.length,
  );
  const focused = $("tasks").contains(document.activeElement);
  fill(
    $("tasks"),
    groups.map(([group, each]) => [
      h("h2", { id: `group-${group}` }, t(`group.${group}`)),
      h(
        "ul",
        { "aria-labelledby": `group-${group}` },
        each.map((task) =>
          h(
            "li",
            {},
            h("a", { href: view(task), "aria-current": task === current ? "page" : null }, t(`task.${task}`)),
          ),
        ),
      ),
    ]),
  );
  if (focused) $("tasks").querySelector("[aria-current]")?.focus();
  fill(
    $("task-choice"),
    groups.map(([group, each]) =>
      h(
        "optgroup",
        { label: t(`group.${group}`) },
        each.map((task) => h("option", { value: task, selected: task === current }, t(`task.${task}`))),
      ),
    ),
  );
  if (current) {
    $("task-title").textContent = t(`task.${current}`);
    $("task-says").textContent = t(`says.${current}`);
  }
}

/** The models that do the task, and what is known of the chosen one. */
export function drawModels({ model: current }, models) {
  fill(
    $("model"),
    models.map((model) => h("option", { value: model.id, selected: model.id === current.id }, model.id)),
  );
  const facts = [
    current.class,
    current.parameters && t("model.parameters", { count: size(current.parameters) }),
    current.hidden_size && t("model.width", { count: number(current.hidden_size) }),
    current.max_length && current.max_length < 1e9 && t("model.length", { count: number(current.max_length) }),
    current.license,
    current.state === "asleep" && t("model.asleep"),
  ];
  $("model-facts").textContent = facts.filter(Boolean).join(" · ");
}

/** A line above everything, by what it is about; none where there is nothing to say. */
export function notice(about, text) {
  const place = $("notices");
  const line = [...place.children].find((each) => each.dataset.about === about);
  if (!text) line?.remove();
  else if (!line) place.append(h("p", { "data-about": about }, text));
  else if (line.textContent !== text) line.textContent = text;
}
