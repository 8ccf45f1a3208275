// Numbers as stripes: one colour above zero, another below, stronger the further away.

import { h } from "../dom.js";

/** A picture of numbers, as wide as there are of them and stretched by the style sheet. */
export function stripes(values, most, describe) {
  const canvas = h("canvas.stripes", { width: values.length, height: 1, role: "img", "aria-label": describe });
  const style = getComputedStyle(document.documentElement);
  const [above, below] = ["--above", "--below"].map((name) => style.getPropertyValue(name));
  const context = canvas.getContext("2d");
  values.forEach((value, place) => {
    context.fillStyle = value < 0 ? below : above;
    context.globalAlpha = Math.min(1, Math.abs(value) / (most || 1));
    context.fillRect(place, 0, 1, 1);
  });
  return canvas;
}

/** Numbers that a few outliers don't fade: the value that 98 of 100 stay under. */
export function strength(values) {
  const sizes = values.map(Math.abs).sort((one, other) => one - other);
  return sizes[Math.floor(0.98 * (sizes.length - 1))] || 1;
}

export const norm = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
