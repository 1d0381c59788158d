// The Llama of aurelius/inference/engine.py: one token at a time, on typed arrays.
//
// D = d_model, M = d_mlp, H query heads, K key/value heads, G = H / K, E = head_dim, T positions.

export class Llama {
  /** Lay out an unpacked model (see model.js). */
  constructor({ header, tensor }) {
    const shape = (this.shape = header.shape);
    this.headDim = shape.dModel / shape.heads;
    this.embedding = tensor("model.embed_tokens.weight");
    this.norm = tensor("model.norm.weight");
    this.vocabulary = this.embedding.length / shape.dModel;
    const caches = shape.kvHeads * shape.context * this.headDim;
    this.layers = Array.from({ length: shape.layers }, (_, number) => {
      const weight = (part) => tensor(`model.layers.${number}.${part}.weight`);
      return {
        attentionNorm: weight("input_layernorm"),
        mlpNorm: weight("post_attention_layernorm"),
        ...Object.fromEntries(["q", "k", "v", "o"].map((name) => [name, weight(`self_attn.${name}_proj`)])),
        ...Object.fromEntries(["gate", "up", "down"].map((name) => [name, weight(`mlp.${name}_proj`)])),
        keys: new Float32Array(caches),
        values: new Float32Array(caches),
      };
    });
    const { dModel, dMlp } = shape;
    const room = (length) => new Float32Array(length);
    this.x = room(dModel);
    this.normalised = room(dModel);
    this.added = room(dModel);
    this.queries = room(dModel);
    this.key = room(shape.kvHeads * this.headDim);
    this.value = room(shape.kvHeads * this.headDim);
    this.attended = room(dModel);
    this.gate = room(dMlp);
    this.up = room(dMlp);
    this.scores = room(shape.context);
  }

  /**
   * Read the token at a position, after those before it; return the logits of what follows.
   *
   * `watch(layer, head, probabilities, length)` is shown the attention of each head.
   */
  forward(token, position, watch) {
    const { dModel, dMlp, layers, epsilon } = this.shape;
    const { x, normalised, added, gate, up } = this;
    x.set(this.embedding.subarray(token * dModel, (token + 1) * dModel));
    for (let number = 0; number < layers; number++) {
      const layer = this.layers[number];
      normalise(x, layer.attentionNorm, epsilon, normalised);
      this.attend(layer, position, watch && ((...seen) => watch(number, ...seen)));
      product(layer.o, this.attended, added);
      for (let i = 0; i < dModel; i++) x[i] += added[i];
      normalise(x, layer.mlpNorm, epsilon, normalised);
      product(layer.gate, normalised, gate);
      product(layer.up, normalised, up);
      for (let i = 0; i < dMlp; i++) gate[i] = (gate[i] / (1 + Math.exp(-gate[i]))) * up[i];
      product(layer.down, gate, added);
      for (let i = 0; i < dModel; i++) x[i] += added[i];
    }
    normalise(x, this.norm, epsilon, normalised);
    const logits = new Float32Array(this.vocabulary);
    product(this.embedding, normalised, logits);
    return logits;
  }

  attend(layer, position, watch) {
    const { heads, kvHeads, context, theta } = this.shape;
    const { headDim: E, queries, key, value, scores, attended } = this;
    product(layer.q, this.normalised, queries);
    product(layer.k, this.normalised, key);
    product(layer.v, this.normalised, value);
    turn(queries, position, E, theta);
    turn(key, position, E, theta);
    const group = heads / kvHeads;
    for (let j = 0; j < kvHeads; j++) {
      const start = j * context * E;
      layer.keys.set(key.subarray(j * E, (j + 1) * E), start + position * E);
      layer.values.set(value.subarray(j * E, (j + 1) * E), start + position * E);
      for (let head = j * group; head < (j + 1) * group; head++) {
        let highest = -Infinity;
        for (let t = 0; t <= position; t++) {
          let score = 0;
          for (let e = 0; e < E; e++) score += queries[head * E + e] * layer.keys[start + t * E + e];
          scores[t] = score / Math.sqrt(E);
          if (scores[t] > highest) highest = scores[t];
        }
        let total = 0;
        for (let t = 0; t <= position; t++) total += scores[t] = Math.exp(scores[t] - highest);
        const out = attended.subarray(head * E, (head + 1) * E).fill(0);
        for (let t = 0; t <= position; t++) {
          const share = (scores[t] /= total);
          for (let e = 0; e < E; e++) out[e] += share * layer.values[start + t * E + e];
        }
        watch?.(head, scores, position + 1);
      }
    }
  }
}

/** RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467). */
function normalise(x, weight, epsilon, out) {
  let squares = 0;
  for (let i = 0; i < x.length; i++) squares += x[i] * x[i];
  const scale = 1 / Math.sqrt(squares / x.length + epsilon);
  for (let i = 0; i < x.length; i++) out[i] = x[i] * scale * weight[i];
}

/** Multiply a matrix [out.length, x.length] by x; four rows at a time, so that x is read less often. */
function product(matrix, x, out) {
  const columns = x.length;
  let row = 0;
  for (; row + 4 <= out.length; row += 4) {
    const a = row * columns;
    const b = a + columns;
    const c = b + columns;
    const d = c + columns;
    let p = 0;
    let q = 0;
    let r = 0;
    let s = 0;
    for (let i = 0; i < columns; i++) {
      const value = x[i];
      p += matrix[a + i] * value;
      q += matrix[b + i] * value;
      r += matrix[c + i] * value;
      s += matrix[d + i] * value;
    }
    out[row] = p;
    out[row + 1] = q;
    out[row + 2] = r;
    out[row + 3] = s;
  }
  for (; row < out.length; row++) {
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += matrix[row * columns + i] * x[i];
    out[row] = sum;
  }
}

/** Rotary position embedding, halves of each head (Su et al. 2021, arXiv 2104.09864). */
function turn(vectors, position, headDim, theta) {
  const half = headDim / 2;
  for (let i = 0; i < half; i++) {
    const angle = position / theta ** ((2 * i) / headDim);
    const cos = Math.cos(angle);
    const sin = Math.sin(angle);
    for (let low = i; low < vectors.length; low += headDim) {
      const a = vectors[low];
      const b = vectors[low + half];
      vectors[low] = a * cos - b * sin;
      vectors[low + half] = b * cos + a * sin;
    }
  }
}
