// How a prompt ends, as in aurelius/inference/prompt_end.py: its last word is complete, what follows is open.
import { logSoftmax } from "./sampling.js";
import { joined } from "./text.js";

const REMAINING = 1e-3; // the search ends when unfinished sequences have this share of the probability
const MOST_SEQUENCES = 64;
// The whitespace of aurelius/tokenizer/suffix_bpe.py.
const SPACE =
  "\\u0009-\\u000D\\u001C-\\u001F\\u0020\\u0085\\u00A0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000\\uFEFF";
const SPACES_AT_END = new RegExp(`[${SPACE}]*$`);
const LAST_WORD = new RegExp(`([\\p{L}\\p{M}\\p{N}']+|[^\\p{L}\\p{M}\\p{N}${SPACE}']+)$`, "u");
const IN_WORD = /[\p{L}\p{M}\p{N}']/u;

/** Return the ids before a prompt's last word, the word and the whitespace typed after it; null if none. */
export function endOf(text, prompt, ids) {
  if (!text.suffixSpace) return null;
  const typed = SPACES_AT_END.exec(prompt)[0];
  const found = LAST_WORD.exec(prompt.slice(0, prompt.length - typed.length));
  if (!found) return null;
  const word = found[0];
  const bytes = new TextEncoder().encode(word).length;
  // The ids spell the word and, where it was normalised, a space.
  let count = 0;
  let spelt = "";
  while (count < ids.length && new TextEncoder().encode(spelt.replace(SPACES_AT_END, "")).length < bytes) {
    count++;
    spelt = new TextDecoder().decode(joined(ids.slice(-count).map((id) => text.bytes[id])));
  }
  if (spelt.replace(SPACES_AT_END, "") !== word) return null;
  return { before: ids.slice(0, ids.length - count), word, typed };
}

/** Return the ways to spell the end of a prompt: [{ ids, logWeight, bare }]. */
export function findPaths(reader, text, end, suppressed) {
  const encoder = new TextEncoder();
  const target = encoder.encode(end.word + end.typed);
  const wordLength = encoder.encode(end.word).length;
  const found = [];
  let waiting = [{ ids: [], length: 0, logWeight: 0 }];
  for (let looked = 0; waiting.length && looked < MOST_SEQUENCES; looked++) {
    const left = waiting.reduce((sum, each) => sum + Math.exp(each.logWeight), 0);
    const total = found.reduce((sum, each) => sum + Math.exp(each.logWeight), 0);
    if (found.length && left <= REMAINING * total) break;
    const next = waiting.reduce((best, each) => (each.logWeight > best.logWeight ? each : best));
    waiting = waiting.filter((each) => each !== next);
    const logits = reader.logitsAfter([...text.prefix, ...end.before, ...next.ids]).slice();
    for (const id of suppressed) logits[id] = -Infinity;
    const scores = logSoftmax(logits);
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
  return found;
}

/** Return the tokens that would make a bare word longer. */
export function lengthening(text, word) {
  const letters = IN_WORD.test([...word].at(-1));
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const ids = [];
  text.bytes.forEach((bytes, id) => {
    if (!bytes.length) return;
    try {
      const [first] = decoder.decode(bytes);
      if (!SPACES_AT_END.exec(first)[0] && IN_WORD.test(first) === letters) ids.push(id);
    } catch {
      ids.push(id); // part of a character of another script, most likely a letter
    }
  });
  return ids;
}
