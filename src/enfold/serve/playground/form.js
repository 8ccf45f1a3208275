// The fields of a task: made from its entry, read as values, filled from examples.

import { EXAMPLES } from "./examples.js";
import { fill, h } from "./dom.js";
import { LANGUAGES } from "./preferences.js";
import { language, t } from "./texts.js";

const MASK = "[MASK]"; // as examples write it; each model has its own

/** Values that a task begins with: its fields' own, then those of its first example. */
export function firstValues(task, name, mask) {
  const own = Object.fromEntries(task.fields.map((field) => [field.name, begin(field.first)]));
  return { ...own, ...exampleValues(name, 0, mask) };
}

/** The same values where they keep to the server's limits, `name: most`. */
export const within = (values, limits = {}) =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, value > (limits[name] ?? Infinity) ? limits[name] : value]),
  );

const begin = (first) => (first === undefined ? "" : typeof first === "object" ? first[language()] : first);

function exampleValues(name, index, mask) {
  return masked(EXAMPLES[name][language()][index].values, mask);
}

const masked = (values, mask) =>
  Object.fromEntries(
    Object.entries(values).map(([key, value]) => [
      key,
      typeof value === "string" && mask ? value.replaceAll(MASK, mask) : value,
    ]),
  );

/** Values for another language: an example that nobody has changed is shown in that language, the rest stays. */
export function translated(values, task, name, mask) {
  const made = { ...values };
  const places = EXAMPLES[name].en.map((_, index) => index);
  const untouched = places.find((index) =>
    LANGUAGES.some((each) => same(masked(EXAMPLES[name][each][index].values, mask), values)),
  );
  if (untouched !== undefined) Object.assign(made, exampleValues(name, untouched, mask));
  for (const { name: field, first } of task.fields) {
    if (typeof first === "object" && Object.values(first).includes(values[field])) made[field] = first[language()];
  }
  return made;
}

const same = (example, values) => Object.entries(example).every(([key, value]) => values[key] === value);

/**
 * Draws the fields into a form.
 * @param {HTMLElement} place
 * @param {object} shown `task`, its `name`, `values`, the model's `mask`
 * @param {(values: object) => void} changed told of every change
 */
export function drawForm(place, { task, name, values, mask }, changed) {
  const read = () => Object.fromEntries(task.fields.map((field) => [field.name, valueOf(place, field)]));
  const control = (field) => {
    const id = `field-${field.name}`;
    const words = t(field.label ?? `field.${field.name}`, { mask: mask ?? MASK });
    const input = inputOf(field, id, values[field.name], () => changed(read()));
    return field.kind === "check"
      ? h("div.field.check", {}, input, h("label", { for: id }, words))
      : h(field.main ? "div.field" : "div.field.option", {}, h("label", { for: id }, words), input);
  };
  const options = task.fields.filter((field) => !field.main).map(control);
  fill(
    place,
    examples(name, mask, (chosen) => {
      for (const field of task.fields) if (field.name in chosen) setValue(place, field, chosen[field.name]);
      changed(read());
    }),
    task.fields.filter((field) => field.main).map(control),
    options.length ? h("div.options", {}, options) : null,
  );
}

function examples(name, mask, pick) {
  const buttons = EXAMPLES[name][language()].map((example) =>
    h("button.example", { type: "button", onclick: () => pick(masked(example.values, mask)) }, example.name),
  );
  return h(
    "div.examples",
    { role: "group", "aria-labelledby": "examples-title" },
    h("span.quiet", { id: "examples-title" }, t("form.examples")),
    buttons,
  );
}

function inputOf(field, id, value, oninput) {
  const common = { id, oninput };
  switch (field.kind) {
    case "area":
      return h("textarea", { ...common, rows: field.rows, value, spellcheck: "false" });
    case "choice":
      return h(
        "select",
        { ...common },
        field.choices.map((each) => h("option", { value: each, selected: each === value }, t(`choice.${each}`))),
      );
    case "check":
      return h("input", { ...common, type: "checkbox", checked: Boolean(value) });
    case "number": {
      const { min, max, step } = field;
      return h("input", {
        ...common,
        type: "number",
        min,
        max,
        step,
        value,
        placeholder: field.hint ? t(field.hint) : null,
      });
    }
    default:
      return h("input", {
        ...common,
        type: "text",
        value,
        placeholder: field.hint ? t(field.hint) : null,
        autocomplete: "off",
      });
  }
}

const inputFor = (place, field) => place.querySelector(`#field-${field.name}`);

function valueOf(place, field) {
  const input = inputFor(place, field);
  return field.kind === "check" ? input.checked : input.value;
}

/** Puts a value into a field. */
export function setValue(place, field, value) {
  const input = inputFor(place, field);
  if (field.kind === "check") input.checked = Boolean(value);
  else input.value = value;
}
