// Elements without markup from text: whatever is data becomes a text node or an attribute, never HTML.

/**
 * An element.
 * @param {string} kind as "p", or "p.note.quiet" with classes.
 * @param {object} [attributes] "on…" are listeners, `value`, `checked` and `selected` are properties; null and false
 *   are left out.
 * @param {...(Node|string|number|null|Array)} children
 */
export function h(kind, attributes = {}, ...children) {
  const [name, ...classes] = kind.split(".");
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (["value", "checked", "selected"].includes(key)) made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  add(made, children);
  return made;
}

function add(parent, children) {
  for (const child of children) {
    if (Array.isArray(child)) add(parent, child);
    else if (child !== null && child !== undefined && child !== false) parent.append(child);
  }
}

/** Puts new children in the place of all that an element has. */
export function fill(parent, ...children) {
  parent.replaceChildren();
  add(parent, children);
  return parent;
}

/** A share from 0 to 1 that the style sheet reads as --share; the policy of the page allows no style attributes. */
export function share(element, value) {
  element.style.setProperty("--share", String(Math.max(0, Math.min(1, value))));
  return element;
}

/** Characters as Python counts them: places in answers count code points, not JavaScript's halves of pairs. */
export function characters(text) {
  const points = Array.from(text);
  return { length: points.length, slice: (start, stop) => points.slice(start, stop).join("") };
}
