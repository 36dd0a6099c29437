// One card for each way of reading the picture: with every token, and with those that a method keeps.

import { drawKept, drawScores, drawWhole, ranks } from "/page/draw.js";

/** The card of the unpruned model. */
export const WHOLE = "none";

const cards = new Map();

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The names whose cards are there, in order. */
export function arrange(names) {
  const list = document.getElementById("cards");
  for (const [name, card] of cards) {
    if (!names.includes(name)) {
      card.remove();
      cards.delete(name);
    }
  }
  for (const name of names) {
    if (!cards.has(name)) {
      const card = document.getElementById("card").content.firstElementChild.cloneNode(true);
      card.dataset.method = name;
      card.querySelector("h3").textContent = name === WHOLE ? "Every token" : name;
      card.setAttribute("aria-label", card.querySelector("h3").textContent);
      cards.set(name, card);
    }
    list.append(cards.get(name));
  }
}

function figure(title, label, draw) {
  const made = element("figure");
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  draw(canvas);
  made.append(canvas, element("figcaption", "", title));
  return made;
}

function tag(text, title) {
  const made = element("span", "tag", text);
  made.title = title;
  return made;
}

/** Shows the unpruned picture. */
export function showWhole(picture, found) {
  const card = cards.get(WHOLE);
  if (!card) return;
  card.querySelector(".count").textContent = `${found.total} tokens`;
  const parts = found.grid.map((raster) => `${raster.rows} × ${raster.cols}`).join(" and ");
  card.querySelector(".figures").replaceChildren(
    figure("Picture", "The picture", (canvas) => drawWhole(canvas, picture, [])),
    figure(`${parts} tokens`, `The raster of its ${found.total} visual tokens`, (canvas) => drawWhole(canvas, picture, found.grid)),
  );
}

/** Shows what a method keeps. */
export function showMethod(name, picture, found, chosen) {
  const card = cards.get(name);
  if (!card) return;
  const title = card.querySelector("h3");
  title.textContent = name;
  if (chosen.merged) title.append(" ", tag("merges", "Kept tokens may be made of several; a ring shows where one stands."));
  if (chosen.inside) title.append(" ", tag("inside", "It acts between the layers of the language model."));
  const figures = card.querySelector(".figures");
  const count = card.querySelector(".count");
  if (chosen.error) {
    count.textContent = "";
    figures.replaceChildren(element("p", "problem", chosen.error));
    return;
  }
  const share = ((100 * chosen.kept) / found.total).toFixed(chosen.kept * 10 < found.total ? 1 : 0);
  const average = chosen.inside ? " on average" : "";
  count.textContent = `${chosen.kept} of ${found.total} tokens (${share} %)${average}`;
  const shares = chosen.scores ? ranks(chosen.scores) : null;
  const made = [];
  let first = 0;
  found.grid.forEach((raster, number) => {
    const n = raster.rows * raster.cols;
    // Several merged tokens may stand in one place.
    const places = chosen.indices.filter((i) => i >= first && i < first + n).map((i) => i - first);
    const own = new Set(places);
    const part = found.grid.length > 1 ? `, ${raster.rows} × ${raster.cols}` : "";
    const label = `${places.length} of ${n} tokens kept by ${name}${part}; the rest is dimmed`;
    made.push(figure(`Kept${part}`, label, (canvas) => drawKept(canvas, picture, raster, own, chosen.merged)));
    if (shares) {
      const scored = `Scores of ${n} tokens by ${name}${part}, dark is low and yellow is high`;
      const own_shares = shares.slice(first, first + n);
      made.push(figure(`Scores${part}`, scored, (canvas) => drawScores(canvas, picture, raster, own_shares)));
    } else if (number === 0) {
      const none = element("figure");
      none.append(element("div", "none", "This method has no score for each token."), element("figcaption", "", "Scores"));
      made.push(none);
    }
    first += n;
  });
  figures.replaceChildren(...made);
}

/** Begins a turn in a card; gives what shows its answer. */
export function beginTurn(name, question) {
  const turn = element("li");
  const answer = element("p", "a streaming");
  turn.append(element("p", "q", question), answer);
  cards.get(name).querySelector(".turns").append(turn);
  return {
    text: (text) => (answer.textContent = text),
    end: (warnings) => {
      answer.classList.remove("streaming");
      warnings.forEach((warning) => turn.append(element("p", "warn", warning)));
    },
    fail: (message) => {
      answer.classList.remove("streaming");
      answer.remove();
      turn.append(element("p", "problem", message));
    },
    differs: () => {
      answer.classList.add("differs");
      answer.title = "Not what the model answers with every token";
    },
  };
}

/** Takes all turns and counts away. */
export function clearTurns() {
  for (const card of cards.values()) {
    card.querySelector(".turns").replaceChildren();
    card.querySelector(".stats").replaceChildren();
  }
}

const ms = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en")) + " ms";

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) (value /= 1024), unit++;
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Shows counts and times of the latest answers, with bars against the largest among the cards. */
export function showUsage(usages) {
  const all = [...usages.values()];
  const most = (value) => Math.max(0, ...all.map(value));
  const stages = ["encode", "select", "prefill", "decode"];
  const slowest = most((usage) => Math.max(...stages.map((stage) => usage.time_ms[stage])));
  const known = (usage) => usage.images.length > 0 && usage.images.every((image) => image.cached);
  // Times share one scale, so that a stage is as long as it looks.
  const stage = (title, name) => [title, (usage) => usage.time_ms[name], (usage) => ms(usage.time_ms[name]), slowest];
  const rows = [
    ["Tokens read", (usage) => usage.prompt_tokens, (usage) => usage.prompt_tokens.toLocaleString("en"), most((usage) => usage.prompt_tokens)],
    ["KV cache", (usage) => usage.kv_bytes, (usage) => bytes(usage.kv_bytes), most((usage) => usage.kv_bytes)],
    ["Encode", (usage) => (known(usage) ? 0 : usage.time_ms.encode), (usage) => (known(usage) ? "done before" : ms(usage.time_ms.encode)), slowest],
    stage("Select", "select"),
    stage("Prefill", "prefill"),
    stage("Decode", "decode"),
  ];
  for (const [name, usage] of usages) {
    const made = rows.flatMap(([title, value, written, longest]) => {
      const bar = element("dd", "bar");
      bar.setAttribute("aria-hidden", "true");
      const length = element("i");
      length.style.width = longest > 0 ? `${(100 * value(usage)) / longest}%` : "0";
      bar.append(length);
      return [element("dt", "", title), bar, element("dd", "", written(usage))];
    });
    cards.get(name)?.querySelector(".stats").replaceChildren(...made);
  }
}
