// The page: what is shown, and what is asked of the worker.
import { fromLink, toLink, words } from "./words.js";

const $ = (id) => document.getElementById(id);
const MOST_BITS = 10; // of the strongest colour

const settings = JSON.parse($("model").dataset.settings);
const state = { tokens: [], opening: 0, ended: false, writing: false, seed: null, number: 0, history: [], chosen: null };
let worker;

// Asking the worker

function ask(type, request = {}) {
  worker.postMessage({ type, number: ++state.number, ...request });
}

function start() {
  usable(false); // a browser may have kept the state that they had before a reload
  if (typeof Worker !== "function" || typeof DecompressionStream !== "function")
    return say("This browser cannot run the model: it lacks Web Workers or DecompressionStream. Please use a newer one.");
  const url = URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" }));
  try {
    worker = new Worker(url);
  } catch (error) {
    return say(`The model could not be started: ${error.message}`);
  }
  worker.onmessage = ({ data }) => data.number === state.number && ANSWERS[data.type](data);
  worker.onerror = (event) => say(`The model could not be started: ${event.message ?? "the browser refused it"}`);
  say("Unpacking the model …");
  ask("open", { model: $("model").textContent });
}

function usable(yes) {
  for (const button of [$("tell"), $("score-form").querySelector("button")]) button.disabled = !yes;
}

const ANSWERS = {
  ready() {
    usable(true);
    say("");
    window.onhashchange = openLink;
    openLink();
  },
  begun({ tokens }) {
    state.tokens = tokens.map((token, i) => ({ ...state.tokens[i], ...token }));
    if (state.opening === null) state.opening = tokens.length;
    render();
  },
  token(token) {
    state.tokens.push(token);
    append();
  },
  done({ ended }) {
    Object.assign(state, { writing: false, ended: true });
    if (!ended) cutAtSentence();
    const count = storyText().split(/\s+/).filter(Boolean).length;
    const seed = state.seed === null ? "" : `, seed ${state.seed}`;
    say(
      ended
        ? `The story is finished: ${count} ${count === 1 ? "word" : "words"}${seed}.`
        : `The story has reached the greatest length that this model can read, ${settings.context} tokens${seed}.`,
    );
    render();
  },
  replayed({ tokens }) {
    Object.assign(state, { tokens, writing: false });
    say("This story was opened from a link.");
    showOpening();
    render();
  },
  inspected: showInside,
  scored({ bitsPerByte, bytes, whole }) {
    const part = whole ? "" : ` (of its first ${bytes.toLocaleString("en")} bytes: that is all the model can see)`;
    $("score").textContent = `${bitsPerByte.toFixed(3)} bits per byte${part}. The lower, the easier to predict; random letters need 4.7.`;
    say("");
  },
  failed({ message }) {
    if (state.writing && state.history.length) Object.assign(state, state.history.pop());
    state.writing = false;
    closeInside();
    say(message);
    render();
  },
};

// Writing

function tell(event) {
  event.preventDefault();
  remember();
  if (location.hash) history.replaceState(null, "", "#"); // it was of another story
  const given = $("seed").value;
  const seed = given === "" ? anySeed() : Number(given);
  Object.assign(state, { tokens: [], opening: null, ended: false, seed });
  write({ prompt: $("prompt").value, seed });
}

function anySeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** Keep the story as it is for Undo. */
function remember() {
  const { tokens, opening, ended, seed } = state;
  if (tokens.length) state.history.push({ tokens, opening, ended, seed });
}

function write(request) {
  state.writing = true;
  closeInside();
  say("Writing …");
  ask("write", { sampling: sampling(), ...request });
  render();
}

function stop() {
  ask("stop");
  state.writing = false;
  say("Stopped.");
  render();
}

/** Go on after the tokens that are shown; what comes of ids that are not known yet is worked out first. */
function goOn(ids = state.tokens.map((token) => token.id), known = ids.length, ended = false) {
  state.seed = null;
  write({ ids, known, ended, seed: anySeed() });
}

function choose(start, alternative) {
  remember();
  state.tokens = state.tokens.slice(0, start);
  const before = state.tokens.map((token) => token.id);
  goOn([...before, ...(alternative.ends ? [] : alternative.ids)], start, alternative.ends);
}

function undo() {
  ask("stop");
  Object.assign(state, state.history.pop(), { writing: false });
  closeInside();
  say("Back to the story as it was.");
  showOpening();
  render();
}

/** Let the box say how the story that is shown begins. */
function showOpening() {
  $("prompt").value = state.tokens.slice(0, state.opening).map((token) => token.piece).join("").trim();
}

/** A story that the context has cut stops at the end of a sentence. */
function cutAtSentence() {
  const end = state.tokens.findLastIndex((token) => /[.!?…]["'”’)]*\s*$/.test(token.piece));
  if (end >= state.opening) state.tokens = state.tokens.slice(0, end + 1);
}

function storyText() {
  return state.tokens.map((token) => token.piece).join("").trim();
}

function sampling() {
  return Object.fromEntries(["temperature", "minP", "topP", "topK"].map((name) => [name, Number($(name).value)]));
}

// Showing

function say(text) {
  $("status").textContent = text;
}

function render() {
  const focused = document.activeElement;
  const shown = words(state.tokens);
  $("story").replaceChildren(...shown.flatMap(nodes));
  focusable($("story").querySelector("[role=button]"));
  const some = state.tokens.length > 0;
  $("story").dataset.tokens = state.tokens.length;
  const full = state.tokens.length + settings.prefix >= settings.context;
  $("stop").hidden = !state.writing;
  $("continue").hidden = state.writing || !some || state.ended || full;
  $("undo").hidden = state.history.length === 0;
  for (const id of ["link", "save", "colours", "hint"]) $(id).hidden = state.writing || !some;
  if (!focused.isConnected || focused.closest("[hidden]")) // a keyboard goes on from where it was
    (state.writing ? $("stop") : $("story").querySelector("[tabindex='0']"))?.focus({ preventScroll: true });
}

/** Return a word's element and, outside of it, the whitespace that follows. */
function nodes(word) {
  const text = word.text.trimEnd();
  return [span(word, text || word.text), ...(text ? [word.text.slice(text.length)] : [])];
}

function span(word, text) {
  const element = document.createElement("span");
  element.textContent = text;
  element.dataset.start = word.start;
  if (word.start < state.opening) {
    element.className = "given";
    return element;
  }
  element.className = "word";
  element.setAttribute("role", "button");
  element.setAttribute("aria-pressed", String(word.start === state.chosen));
  element.tabIndex = -1;
  element.style.setProperty("--surprise", Math.min(100, (100 * word.bits) / MOST_BITS));
  return element;
}

/** Show one more token: the last word is drawn again, because the token may belong to it. */
function append() {
  const last = $("story").querySelector(".word:last-of-type");
  const from = last ? Number(last.dataset.start) : state.opening;
  while (last && last.nextSibling) last.nextSibling.remove();
  last?.remove();
  for (const word of words(state.tokens.slice(from))) {
    const shown = nodes({ ...word, start: from + word.start });
    if (from + word.start === state.tokens.length - 1) shown[0].classList.add("new");
    $("story").append(...shown);
  }
}

/** Of all words, one is reached by Tab; the arrow keys go on from it. */
function focusable(element) {
  for (const each of $("story").querySelectorAll("[tabindex='0']")) each.tabIndex = -1;
  if (element) element.tabIndex = 0;
}

function lookInside(element) {
  if (state.writing) return;
  state.chosen = Number(element.dataset.start);
  focusable(element);
  press(element);
  const word = words(state.tokens).find(({ start }) => start === state.chosen);
  $("inside").hidden = false;
  $("inside-heading").textContent = `“${word.text.trim() || "new line"}”`;
  const probability = 2 ** -word.bits;
  $("inside-surprise").textContent = surprise(probability);
  $("alternatives").replaceChildren();
  $("attention").replaceChildren();
  $("attention-text").textContent = "Looking …";
  const ids = state.tokens.slice(0, state.chosen).map((token) => token.id);
  ask("inspect", { ids, word: word.ids, probability, alternatives: word.token.alternatives, opening: state.opening });
  element.scrollIntoView({ block: "nearest" });
}

function surprise(probability) {
  return `The model gave this word ${percentage(probability)}: ${(-Math.log2(probability)).toFixed(1)} bits of surprise.`;
}

function percentage(share) {
  if (share < 0.0005) return "less than 0.1%";
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;
}

function press(element) {
  for (const each of $("story").querySelectorAll("[aria-pressed]"))
    each.setAttribute("aria-pressed", String(each === element));
}

function closeInside() {
  state.chosen = null;
  $("inside").hidden = true;
  press(null);
}

function leaveInside() {
  const word = $("story").querySelector("[aria-pressed=true]");
  closeInside();
  word?.focus();
}

function showInside({ alternatives, attention }) {
  const start = state.chosen;
  const now = state.tokens[start].id;
  const byText = new Map(); // a word may be spelt with its space or without
  for (const alternative of alternatives) {
    const text = alternative.ends ? "(the story ends)" : alternative.word.replaceAll("\n", "⏎").trim() || "(space)";
    const known = byText.get(text);
    if (known) {
      known.probability += alternative.probability;
      if (alternative.ids[0] === now) known.ids = alternative.ids;
    } else byText.set(text, { ...alternative, text });
  }
  const likeliest = [...byText.values()].sort((a, b) => b.probability - a.probability);
  const own = likeliest.find(({ ids }) => ids[0] === now);
  if (own) $("inside-surprise").textContent = surprise(own.probability);
  $("alternatives").replaceChildren(
    ...likeliest.map((alternative) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.style.setProperty("--share", 100 * alternative.probability);
      const percent = document.createElement("span");
      percent.className = "percent";
      percent.textContent = percentage(alternative.probability);
      button.append(alternative.text, percent);
      if (alternative === own) button.setAttribute("aria-current", "true");
      else button.onclick = () => choose(start, alternative);
      item.append(button);
      return item;
    }),
  );
  showAttention(attention);
}

const PARTS = { sink: settings.sinkName, opening: "the opening", rest: "the story so far" };

function showAttention(rows) {
  const percent = (part) =>
    Math.round((100 * rows.flat().reduce((sum, head) => sum + head[part], 0)) / rows.flat().length);
  $("attention-text").replaceChildren(
    ...Object.entries(PARTS).flatMap(([part, name]) => {
      const entry = document.createElement("span");
      const key = document.createElement("i");
      key.className = `key ${part}`;
      entry.className = "entry";
      entry.append(key, `${name} ${percent(part)}%`);
      return [entry, " "];
    }),
  );
  const table = document.createElement("table");
  const caption = table.createCaption();
  caption.className = "hidden";
  caption.textContent = "Attention by layer (rows) and head (columns)";
  rows.forEach((heads, layer) => {
    const row = table.insertRow();
    const title = document.createElement("th");
    title.scope = "row";
    title.textContent = `layer ${layer + 1}`;
    row.append(title);
    heads.forEach((head, number) => {
      const cell = row.insertCell();
      const bar = document.createElement("div");
      bar.className = "bar";
      bar.setAttribute("role", "img");
      const parts = Object.entries(PARTS).map(([part, name]) => `${name} ${Math.round(100 * head[part])}%`);
      bar.title = `Head ${number + 1}: ${parts.join(", ")}`;
      bar.setAttribute("aria-label", bar.title);
      for (const part of ["sink", "opening"]) {
        const piece = document.createElement("i");
        piece.className = part;
        piece.style.setProperty("--share", 100 * head[part]);
        bar.append(piece);
      }
      cell.append(bar);
    });
  });
  $("attention").replaceChildren(table);
}

// Sharing

function openLink() {
  if (location.hash.length < 2) return;
  const found = fromLink(location.hash.slice(1), settings.model);
  if (!found) return say("This link is damaged, or was made with a different model.");
  remember();
  Object.assign(state, { ...found, tokens: [], seed: null, writing: true });
  closeInside();
  say("Reading the story of the link …");
  ask("replay", { ids: found.ids });
  render();
}

async function copyLink() {
  const ids = state.tokens.map((token) => token.id);
  const fragment = `#${toLink({ ids, opening: state.opening, ended: state.ended }, settings.model)}`;
  const where = location.protocol === "file:" ? " To open it in another copy of this page, add everything from # on to that copy's address." : "";
  try {
    history.replaceState(null, "", fragment);
    await navigator.clipboard.writeText(location.href);
    say(`Copied. The link shows this story again.${where}`);
  } catch {
    say(`The link is in the address bar now. It shows this story again.${where}`);
  }
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${storyText()}\n`], { type: "text/plain" }));
  link.download = "story.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Listening

$("form").onsubmit = tell;
$("stop").onclick = stop;
$("continue").onclick = () => goOn();
$("undo").onclick = undo;
$("link").onclick = copyLink;
$("save").onclick = save;
$("surprise").onchange = () => $("story").classList.toggle("coloured", $("surprise").checked);
$("story").onclick = ({ target }) => target.classList.contains("word") && lookInside(target);
$("inside").onkeydown = ({ key }) => key === "Escape" && leaveInside();
$("close").onclick = leaveInside;
$("story").onkeydown = (event) => {
  const all = [...$("story").querySelectorAll("[role=button]")];
  const at = all.indexOf(event.target);
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (at >= 0 && step && all[at + step]) {
    focusable(all[at + step]);
    all[at + step].focus();
  } else if (at >= 0 && (event.key === "Enter" || event.key === " ")) {
    lookInside(event.target);
    if (!state.writing) $("inside-heading").focus();
  } else return;
  event.preventDefault();
};
$("score-form").onsubmit = (event) => {
  event.preventDefault();
  if (!$("score-text").value.trim()) return void ($("score").textContent = "Type or paste some text first.");
  if (state.writing) stop();
  closeInside();
  $("score").textContent = "";
  say("Measuring …");
  ask("score", { text: $("score-text").value });
};
for (const name of ["temperature", "minP", "topP", "topK"]) {
  const wanted = settings.sampling[name];
  $(name).value = wanted;
  if (Number($(name).value) !== wanted) {
    // The model's own value is between the steps of the slider, or beyond its end.
    Object.assign($(name), { step: "any", max: Math.max($(name).max, wanted), min: Math.min($(name).min, wanted) });
    $(name).value = wanted;
  }
  const output = document.querySelector(`output[for=${name}]`);
  const show = () => output && (output.textContent = Number($(name).value).toFixed(2));
  $(name).oninput = show;
  show();
}
$("form").addEventListener("invalid", () => ($("settings").open = true), true);
$("surprise").onchange();
$("sink-name").textContent = settings.sinkName;
start();
