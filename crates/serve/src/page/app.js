// The page: what is chosen, and what follows from it.

import * as api from "/page/api.js";
import * as cards from "/page/cards.js";

const $ = (id) => document.getElementById(id);
const MOST_METHODS = 4;
const LARGEST_FILE = 6e6;
const LONGEST_SIDE = 2048;

const state = {
  models: [],
  methods: [],
  picture: null, // { image, url, sample }
  total: 144,
  tokens: 48,
  share: [1, 3],
  conversations: new Map(), // for each card its messages
  usages: new Map(),
  asking: null,
  selecting: null,
};

// What the address says, and what is written into it.

function fromAddress() {
  const given = new URLSearchParams(location.search);
  const tokens = given.get("tokens");
  if (/^\d+$/.test(tokens ?? "") && tokens > 0) [state.tokens, state.share] = [Number(tokens), null];
  if (given.get("q")) $("question").value = given.get("q");
  return {
    model: given.get("model"),
    methods: given.get("methods")?.split(",").filter(Boolean),
    sample: given.get("sample"),
  };
}

function toAddress() {
  const told = new URLSearchParams({ model: $("model").value, methods: state.methods.join(","), tokens: state.tokens });
  if (state.picture?.sample) told.set("sample", state.picture.sample);
  const question = $("question").value.trim();
  if (question) told.set("q", question);
  history.replaceState(null, "", `?${told}`);
}

// Telling.

function notice(message) {
  $("notice").textContent = message ?? "";
  $("notice").hidden = !message;
}

function refused(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) askForKey();
  notice(error.status === undefined ? "The server cannot be reached." : error.message);
}

function askForKey() {
  if (!$("key-field").hidden) return;
  $("key-field").hidden = false;
  $("key").focus();
}

// Models and methods.

const model = () => state.models.find((known) => known.id === $("model").value);

async function loadModels(wish) {
  try {
    state.models = await api.models();
  } catch (error) {
    return refused(error);
  }
  notice();
  const options = state.models.map((known) => new Option(known.ready ? known.id : `${known.id} (loading)`, known.id));
  $("model").replaceChildren(...options);
  if (state.models.some((known) => known.id === wish?.model)) $("model").value = wish.model;
  if (!model()?.ready) {
    notice("The model is being read.");
    return setTimeout(() => loadModels(wish), 1000);
  }
  offerMethods(wish?.methods);
  refresh();
}

function offerMethods(wanted) {
  const known = model().diffprune.methods;
  const names = new Set(known.map((method) => method.name));
  const fallback = [model().diffprune.default_pruner, "random"];
  const full = (name) => (name === "cls" ? "cls-attention" : name);
  const chosen = (wanted ?? (state.methods.length ? state.methods : fallback)).map(full).filter((name) => names.has(name));
  state.methods = [...new Set(chosen)].slice(0, MOST_METHODS);
  const plain = known.filter((method) => !method.name.endsWith("-per-view"));
  const group = (label, methods) => {
    const made = document.createElement("optgroup");
    made.label = label;
    made.append(...methods.map((method) => new Option(`${method.name} – ${method.about}`, method.name)));
    return made;
  };
  const views = known.filter((method) => method.name.endsWith("-per-view"));
  $("add").replaceChildren(
    new Option("Choose a method…", ""),
    group("Before the language model", plain.filter((method) => !method.inside)),
    group("Inside the language model", plain.filter((method) => method.inside)),
    group("Each view by itself", views),
  );
  showMethods();
}

function showMethods() {
  const chips = state.methods.map((name) => {
    const item = document.createElement("li");
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = name;
    chip.setAttribute("aria-label", `Remove ${name}`);
    chip.addEventListener("click", () => {
      state.methods = state.methods.filter((other) => other !== name);
      newConversation();
      showMethods();
      refresh();
      $("add").focus();
    });
    item.append(chip);
    return item;
  });
  $("chosen").replaceChildren(...chips);
  $("add").disabled = $("add-method").disabled = state.methods.length >= MOST_METHODS;
  cards.arrange([cards.WHOLE, ...state.methods]);
}

function addMethod() {
  const name = $("add").value;
  $("add").value = "";
  if (!name || state.methods.includes(name)) return $("add").focus();
  state.methods.push(name);
  $("status").textContent = `${name} is compared too.`;
  newConversation();
  showMethods();
  refresh();
}

// The picture.

async function usePicture(url, sample, name) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return notice("This file is no picture that a browser can show. Choose a PNG, JPEG, WebP, GIF or BMP file.");
  }
  notice();
  state.picture = { image, url, sample };
  $("preview").src = url;
  $("preview").alt = name;
  $("preview").hidden = false;
  $("drop").classList.add("full");
  $("drop-text").textContent = "Drop, paste or choose another one";
  for (const button of document.querySelectorAll("[data-sample]")) {
    button.setAttribute("aria-pressed", String(button.dataset.sample === sample));
  }
  $("status").textContent = `The picture is: ${name}.`;
  newConversation();
  refresh();
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** A file as the server takes it: large ones are scaled down here. */
async function useFile(file, name) {
  if (!file) return;
  let url = await dataUrl(file);
  if (file.size > LARGEST_FILE) {
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (bitmap) {
      const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
      canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      url = canvas.toDataURL("image/jpeg", 0.92);
    }
  }
  await usePicture(url, null, name || file.name);
}

async function useSample(sample) {
  const response = await fetch(`/page/${sample}.png`);
  await usePicture(await dataUrl(await response.blob()), sample, `Sample picture: ${sample}`);
}

// The budget.

function showBudget() {
  $("budget").max = state.total;
  $("budget").value = state.tokens;
  const share = ((100 * state.tokens) / state.total).toFixed(0);
  const text = $("budget-text");
  text.textContent = `${state.tokens} of ${state.total} `;
  const small = document.createElement("small");
  small.textContent = `${share} % stay`;
  text.append(small);
  $("budget").setAttribute("aria-valuetext", `${state.tokens} of ${state.total} tokens, ${share} percent`);
  for (const button of document.querySelectorAll("[data-share]")) {
    button.setAttribute("aria-pressed", String(state.tokens === shareOf(button.dataset.share.split("/").map(Number))));
  }
}

const shareOf = ([part, whole]) => Math.max(1, Math.round((state.total * part) / whole));

function setTokens(tokens, share) {
  [state.tokens, state.share] = [tokens, share];
  newConversation();
  showBudget();
  refresh();
}

// What methods keep.

let timer;
function refresh() {
  toAddress();
  clearTimeout(timer);
  timer = setTimeout(select, 120);
}

async function select() {
  if (!state.picture || !model()?.ready) return;
  state.selecting?.abort();
  const selecting = (state.selecting = new AbortController());
  const question = $("question").value.trim();
  const picture = state.picture;
  const body = {
    model: model().id, image_url: { url: picture.url }, methods: state.methods, visual_tokens: state.tokens,
    ...(question && { question }),
  };
  try {
    const found = await api.select(body, selecting.signal);
    const total = found.total !== state.total;
    state.total = found.total;
    const wanted = state.share ? shareOf(state.share) : Math.min(state.tokens, found.total);
    const other = total && wanted !== state.tokens;
    state.tokens = wanted;
    showBudget();
    if (other) return refresh();
    notice();
    cards.showWhole(picture.image, found);
    for (const chosen of found.methods) {
      if (state.methods.includes(chosen.method)) cards.showMethod(chosen.method, picture.image, found, chosen);
    }
    document.body.dataset.selected = `${state.tokens}/${found.total}`;
  } catch (error) {
    refused(error);
  }
}

// Questions.

function newConversation() {
  state.asking?.abort();
  state.conversations.clear();
  state.usages.clear();
  cards.clearTurns();
  $("clear").hidden = true;
}

async function ask() {
  const question = $("question").value.trim();
  if (!question || !state.picture || state.asking) return $("question").focus();
  toAddress();
  const asking = (state.asking = new AbortController());
  $("ask").disabled = true;
  $("stop").hidden = false;
  $("status").textContent = "Asking.";
  if (matchMedia("(max-width: 860px)").matches) $("cards").scrollIntoView();
  const names = [cards.WHOLE, ...state.methods];
  const told = await Promise.all(names.map((name) => askOne(name, question, asking.signal)));
  const whole = told[0];
  told.slice(1).forEach((answer) => {
    if (whole && answer && answer.text !== whole.text) answer.turn.differs();
  });
  cards.showUsage(state.usages);
  const said = told.map((answer, i) => answer && `${names[i] === cards.WHOLE ? "Every token" : names[i]}: ${answer.text}`);
  $("status").textContent = said.filter(Boolean).join(". ");
  if (state.asking === asking) state.asking = null;
  $("ask").disabled = false;
  $("stop").hidden = true;
  $("clear").hidden = state.conversations.size === 0;
  if (document.activeElement === $("question")) $("question").select();
  refresh();
}

async function askOne(name, question, signal) {
  const turn = cards.beginTurn(name, question);
  const before = state.conversations.get(name) ?? [];
  const image = { type: "image_url", image_url: { url: state.picture.url } };
  const content = before.length ? question : [image, { type: "text", text: question }];
  const messages = [...before, { role: "user", content }];
  const choice = name === cards.WHOLE ? { visual_tokens: "all" } : { visual_tokens: state.tokens, pruner: name };
  try {
    const body = { model: model().id, messages, max_tokens: 128, ...choice };
    const outcome = await api.ask(body, turn.text, signal);
    turn.text(outcome.text || "(nothing)");
    turn.end(outcome.warnings);
    state.conversations.set(name, [...messages, { role: "assistant", content: outcome.text }]);
    state.usages.set(name, outcome.usage);
    return { text: outcome.text, turn };
  } catch (error) {
    turn.fail(error.name === "AbortError" ? "Stopped." : error.message || "The server cannot be reached.");
    if (error.status === 401) askForKey();
    return null;
  }
}

// Wires.

$("controls").addEventListener("submit", (event) => (event.preventDefault(), ask()));
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) event.preventDefault(), ask();
});
$("question").addEventListener("change", refresh);
$("stop").addEventListener("click", () => state.asking?.abort());
$("clear").addEventListener("click", () => (newConversation(), $("question").focus()));
$("model").addEventListener("change", () => {
  newConversation();
  offerMethods();
  refresh();
});
$("add-method").addEventListener("click", addMethod);
// Arrows and letters pass over methods that are not meant; only this takes one.
$("add").addEventListener("keydown", (event) => {
  if (event.key === "Enter") event.preventDefault(), addMethod();
});
$("budget").addEventListener("input", () => setTokens(Number($("budget").value), null));
for (const button of document.querySelectorAll("[data-share]")) {
  button.addEventListener("click", () => {
    const share = button.dataset.share.split("/").map(Number);
    setTokens(shareOf(share), share);
  });
}
for (const button of document.querySelectorAll("[data-sample]")) {
  button.addEventListener("click", () => useSample(button.dataset.sample));
}
$("file").addEventListener("change", () => useFile($("file").files[0]));
addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
  // The clipboard calls all of them image.png.
  if (file) event.preventDefault(), useFile(file, "The pasted picture");
});
for (const [kind, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
  addEventListener(kind, (event) => {
    // Words are dropped into the question, as everywhere. What leaves the page does not say what it is.
    const isFile = event.dataTransfer?.types.includes("Files");
    if (kind === "dragleave" || isFile) $("drop").classList.toggle("over", over);
    if (isFile) event.preventDefault();
    if (kind === "drop" && isFile) useFile(event.dataTransfer.files[0]);
  });
}
$("key").addEventListener("change", () => {
  api.key.value = $("key").value;
  loadModels(given);
});
$("share").addEventListener("click", async () => {
  toAddress();
  // Browsers give pages without TLS no clipboard, but on loopback.
  const done = await (navigator.clipboard?.writeText(location.href).then(() => true, () => false) ?? false);
  $("share").textContent = done ? "Copied" : "It is in the address bar";
  setTimeout(() => ($("share").textContent = "Copy link"), 2000);
});

const given = fromAddress();
showBudget();
await loadModels(given);
await useSample(["sign", "shapes", "busy"].includes(given.sample) ? given.sample : "sign");
