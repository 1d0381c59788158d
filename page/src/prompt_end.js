// How a prompt ends, as in aurelius/inference/prompt_end.py: its last word is complete, what follows is open.
import { logSoftmax } from "./sampling.js";
import { joined } from "./text.js";

const REMAINING = 1e-3; // the search ends when unfinished sequences have this share of the probability
const MOST_SEQUENCES = 64;
// The whitespace of aurelius/tokenizer/suffix_bpe.py.
const SPACE =
  "\\u0009-\\u000D\\u001C-\\u001F\\u0020\\u0085\\u00A0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000\\uFEFF";
const SPACES_AT_END = new RegExp(`[${SPACE}]*$`);

/** Return the ids before a prompt's last word, the word and the whitespace typed after it; null if none. */
export function endOf(text, prompt, ids) {
  if (!text.suffixSpace) return null;
  const last = text.words(prompt).at(-1) ?? "";
  const word = last.replace(SPACES_AT_END, "");
  const wanted = new TextEncoder().encode(last);
  let first = ids.length;
  for (let left = wanted.length; first > 0 && left > 0; ) left -= text.bytes[ids[--first]].length;
  const spelt = joined(ids.slice(first).map((id) => text.bytes[id]));
  if (!word || String(spelt) !== String(wanted)) return null;
  return { before: ids.slice(0, first), word, typed: SPACES_AT_END.exec(prompt)[0] };
}

/** Return the ways to spell the end of a prompt: [{ ids, logWeight, bare }]. */
export function findPaths(reader, text, end, suppressed) {
  const encoder = new TextEncoder();
  const target = encoder.encode(end.word + end.typed);
  const wordLength = encoder.encode(end.word).length;
  const before = [...text.prefix, ...end.before];
  const most = reader.llama.shape.context - before.length; // ids that the model can still read
  const found = [];
  const waiting = [{ ids: [], length: 0, logWeight: 0 }];
  let looked = 0;

  function lookInto(next) {
    looked++;
    waiting.splice(waiting.indexOf(next), 1);
    const logits = reader.logitsAfter([...before, ...next.ids]).slice();
    for (const id of suppressed) logits[id] = -Infinity;
    const scores = logSoftmax(logits);
    if (next.ids.length + 1 >= most) return; // the story needs room
    text.bytes.forEach((bytes, id) => {
      if (!bytes.length) return;
      const common = Math.min(bytes.length, target.length - next.length);
      for (let i = 0; i < common; i++) if (bytes[i] !== target[next.length + i]) return;
      const path = { ids: [...next.ids, id], length: next.length + bytes.length, logWeight: next.logWeight + scores[id] };
      if (path.length < target.length) waiting.push(path);
      else if (!new TextDecoder().decode(bytes.slice(common)).replace(SPACES_AT_END, ""))
        found.push({ ...path, bare: path.length === wordLength });
    });
  }

  // As in training, first: it is found even if the word is a rare one.
  const usual = text.encode(end.word + end.typed);
  for (let length = 0; length < usual.length; length++) {
    const next = waiting.find((each) => String(each.ids) === String(usual.slice(0, length)));
    if (next) lookInto(next);
  }
  while (waiting.length && looked < MOST_SEQUENCES) {
    const likelihood = (paths) => paths.reduce((sum, each) => sum + Math.exp(each.logWeight), 0);
    if (found.length && likelihood(waiting) <= REMAINING * likelihood(found)) break;
    lookInto(waiting.reduce((best, each) => (each.logWeight > best.logWeight ? each : best)));
  }
  return found;
}

/** Return the tokens that would make a bare word longer. */
export function lengthening(text, word) {
  const last = [...word].at(-1);
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const ids = [];
  text.bytes.forEach((bytes, id) => {
    if (!bytes.length) return;
    try {
      const [first] = text.split(last + decoder.decode(bytes));
      if (first.replace(SPACES_AT_END, "").length > last.length) ids.push(id);
    } catch {
      ids.push(id); // part of a character of another script, most likely a letter
    }
  });
  return ids;
}
