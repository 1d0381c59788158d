// A story, token by token; what else could have come; and what the model looked at.
import { endOf, findPaths, lengthening } from "./prompt_end.js";
import { candidates, draw, largest, logSoftmax } from "./sampling.js";

const ALTERNATIVES = 10;
const WORD_TOKENS = 8; // that an alternative is completed by, at most

/** Reads ids; positions that it has read before are not computed again. */
export class Reader {
  constructor(llama) {
    this.llama = llama;
    this.ids = [];
  }

  /** Return the logits after ids; `watch` is shown the attention of the last position. */
  logitsAfter(ids, watch) {
    let same = 0;
    while (same < this.ids.length && same < ids.length - 1 && this.ids[same] === ids[same]) same++;
    let logits;
    for (let position = same; position < ids.length; position++)
      logits = this.llama.forward(ids[position], position, position === ids.length - 1 ? watch : undefined);
    this.ids = ids.slice();
    return logits;
  }
}

export class Writer {
  constructor(llama, text, suppressed) {
    this.reader = new Reader(llama);
    this.text = text;
    this.suppressed = suppressed;
    this.context = llama.shape.context;
  }

  /** Encode a prompt; draw how its last word is spelt. Return { ids, blocked }. */
  begin(prompt, sampling, random) {
    const ids = this.text.encode(prompt);
    if (this.text.prefix.length + ids.length >= this.context)
      throw new Error(`That opening is too long: it has ${ids.length} tokens, and the model can read ${this.context}. Shorten it.`);
    const end = endOf(this.text, prompt, ids);
    const paths = end ? findPaths(this.reader, this.text, end, this.suppressed) : [];
    if (!paths.length) return { ids, blocked: [] };
    const weights = Float64Array.from(paths, (path) => path.logWeight);
    const path = paths[draw(candidates(weights, sampling), random)];
    return { ids: [...end.before, ...path.ids], blocked: path.bare ? lengthening(this.text, end.word) : [] };
  }

  /** Yield tokens { id, bits, alternatives } after ids until the model ends, or the context does. */
  *write(ids, sampling, random, blocked = []) {
    const all = [...this.text.prefix, ...ids];
    while (all.length < this.context) {
      const scores = this.scoresAfter(all);
      const allowed = Float64Array.from(scores);
      for (const id of blocked) allowed[id] = -Infinity;
      blocked = [];
      const id = draw(candidates(allowed, sampling), random);
      yield { id, ...described(scores, id) };
      if (id === this.text.end) return;
      all.push(id);
    }
  }

  /** Yield for ids of a given text, `from` one of them on, what `write` yields for one that it draws. */
  *replay(ids, from = 0) {
    const all = [...this.text.prefix, ...ids.slice(0, from)];
    for (const id of ids.slice(from)) {
      if (all.length >= this.context) return;
      yield { id, ...described(this.scoresAfter(all), id) };
      all.push(id);
    }
  }

  /** Return the attention of the position that predicts what follows ids: [layer][head] { sink, opening, rest }. */
  attention(ids, openingLength) {
    const rows = [];
    const first = this.text.prefix.length;
    const watch = (layer, head, shares, length) => {
      const sum = (from, to) => {
        let total = 0;
        for (let t = from; t < Math.min(to, length); t++) total += shares[t];
        return total;
      };
      rows[layer] ??= [];
      const opening = first + openingLength;
      rows[layer][head] = { sink: sum(0, first), opening: sum(first, opening), rest: sum(opening, length) };
    };
    this.reader.logitsAfter([...this.text.prefix, ...ids], watch);
    return rows;
  }

  /** Return a token and the likeliest ones after it, up to the end of the word, and how likely those are. */
  completed(ids, id) {
    const word = [id];
    let share = 1;
    const before = ids.slice(-8);
    const pieces = (more) => this.text.pieces([...before, ...word, ...more], false).slice(before.length);
    const whole = () => /\s$/.test(pieces([]).join(""));
    while (id !== this.text.end && word.length < WORD_TOKENS && !whole()) {
      const scores = this.scoresAfter([...this.text.prefix, ...ids, ...word]);
      const next = scores.indexOf(Math.max(...scores));
      const piece = pieces([next]).at(-1);
      if (next === this.text.end || !/^[\p{L}\p{M}\p{N}']/u.test(piece)) break;
      word.push(next);
      share *= Math.exp(scores[next]);
    }
    return { ids: word, share };
  }

  scoresAfter(ids) {
    const logits = this.reader.logitsAfter(ids).slice();
    for (const id of this.suppressed) logits[id] = -Infinity;
    return logSoftmax(logits);
  }
}

/** Return how surprising a token is, in bits, and the likeliest [token, probability]. */
function described(scores, id) {
  return {
    bits: -scores[id] / Math.LN2,
    alternatives: largest(scores, ALTERNATIVES).map((token) => [token, Math.exp(scores[token])]),
  };
}
