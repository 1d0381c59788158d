// transformers.js: computes a task file (see ../runtime.py).
import { readFileSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { AutoModelForCausalLM, AutoTokenizer, Tensor, env } from "@huggingface/transformers";

const task = JSON.parse(readFileSync(process.argv[2], "utf8"));
env.allowRemoteModels = false;
env.localModelPath = dirname(task.model);
const name = basename(task.model);
const tokenizer = await AutoTokenizer.from_pretrained(name);
const session_options = { intraOpNumThreads: task.threads };
const model = await AutoModelForCausalLM.from_pretrained(name, { dtype: task.dtype, device: "cpu", session_options });

const integers = (rows) => new Tensor("int64", BigInt64Array.from(rows, BigInt), [1, rows.length]);
const inputs = (tokens) => ({ input_ids: integers(tokens), attention_mask: integers(tokens.map(() => 1)) });

const ids = task.texts.map((text) => Array.from(tokenizer(text).input_ids.data, Number));
for (const [n, tokens] of task.sequences.entries()) {
  const { logits } = await model(inputs(tokens));
  writeFileSync(`${task.out}/logits-${n}.f32`, Buffer.from(logits.data.slice().buffer));
}
const greedy = [];
const started = performance.now();
for (const opening of task.openings) {
  const output = await model.generate({ ...inputs(opening), do_sample: false, max_new_tokens: task.max_new_tokens });
  greedy.push(Array.from(output.data, Number).slice(opening.length));
}
const seconds = (performance.now() - started) / 1000;
writeFileSync(`${task.out}/answers.json`, JSON.stringify({ version: env.version, ids, greedy, seconds }));
