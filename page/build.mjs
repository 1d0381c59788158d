// Bundle the page into one template, which the exporter fills with a title and a model.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const here = (name) => new URL(name, import.meta.url).pathname;
const OUT = process.argv[2] ?? here("../src/aurelius/export/templates/page.html");

async function bundled(file) {
  const options = { bundle: true, minify: true, write: false, charset: "utf8", legalComments: "none" };
  const format = file.endsWith(".js") ? { format: "iife", target: "es2023" } : {};
  const result = await build({ entryPoints: [here(file)], ...options, ...format });
  return result.outputFiles[0].text.trim().replaceAll("</script", "<\\/script");
}

const [app, worker, style] = await Promise.all(["src/app.js", "src/worker.js", "src/style.css"].map(bundled));
const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const policy = [
  "default-src 'none'",
  `script-src ${hash(app)} blob:`,
  "worker-src blob:",
  `style-src ${hash(style)}`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
let page = readFileSync(here("src/page.html"), "utf8");
for (const [name, value] of Object.entries({ policy, app, worker, style }))
  page = page.replace(`{{${name}}}`, () => value);
writeFileSync(OUT, page);
