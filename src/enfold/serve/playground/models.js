// The server's models: asked for until all are loaded, and again where the server doesn't answer.

import { failures, models } from "./api.js";
import { key } from "./preferences.js";
import { notice } from "./shell.js";
import { list, t } from "./texts.js";

const SOON_MS = 1000;
const LATER_MS = 3000;

/**
 * A function that begins to ask, anew where it has begun before.
 * @param {(news: {models?: object[], error?: Error, settled?: boolean}) => void} heard told of every answer; `settled`
 *   where none will change any more
 */
export function watchModels(heard) {
  let timer = null;
  let turn = 0;
  const ask = async () => {
    clearTimeout(timer);
    const mine = ++turn;
    const again = (after) => (timer = setTimeout(ask, after));
    let found;
    try {
      found = await models();
    } catch (error) {
      if (mine !== turn) return;
      const told = { network: "models.unreachable", key: key() ? "error.key-again" : "error.key" }[error.kind];
      notice("models", told ? t(told) : error.message);
      if (error.kind !== "key") again(LATER_MS);
      return void heard({ error });
    }
    if (mine !== turn) return;
    const loading = found.filter((model) => model.state === "loading");
    const settled = !loading.length;
    notice("models", settled ? null : t("models.loading", { names: list(loading.map((model) => model.id)) }));
    await tellFailures(found);
    heard({ models: found, settled });
    if (!settled) again(SOON_MS);
    else if (!found.some((model) => model.tasks?.length)) notice("models", t("models.none"));
  };
  notice("models", t("models.asking"));
  return ask;
}

async function tellFailures(found) {
  const failed = found.filter((model) => model.state === "failed");
  const errors = failed.length ? await failures() : {};
  notice(
    "failed",
    failed.map((model) => t("models.failed", { name: model.id, error: errors[model.id] ?? "" })).join(" ") || null,
  );
}
