// The same request in other languages, filled in. What is shown here is run by the tests.

import { ROOT, ROUTE, idPath, requestFields } from "./api.js";

const SERVER = ROOT.href.replace(/\/$/, "");

/** A word of a POSIX shell. */
function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A file as curl's -F takes it: names with its own marks are quoted its way. */
function curlFile(name) {
  return /[;,"\\]/.test(name) ? `file=@"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"` : `file=@${name}`;
}

/** A string of Python or JavaScript: JSON's are strings of both. */
const quoted = JSON.stringify;

function granularity({ timestamps }) {
  return timestamps === "segment" ? "segment" : "word";
}

/** Parameters as the Hub's API has them. */
function parameters(options) {
  const known = { return_timestamps: granularity(options) };
  const generation = {};
  if (options.language) generation.language = options.language;
  if (options.task) generation.task = options.task;
  if (options.prompt) generation.initial_prompt = options.prompt;
  if (options.hotwords) known.hotwords = hotwordList(options.hotwords);
  if (options.punctuate) known.punctuate = true;
  if (options.speakers) known.speakers = JSON.parse(options.speakers);
  return Object.keys(generation).length ? { ...known, generate_kwargs: generation } : known;
}

export function hotwordList(text) {
  return text.split(",").map((word) => word.trim()).filter(Boolean);
}

/** A JSON value as a Python literal. */
function python(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, one]) => `${quoted(key)}: ${python(one)}`).join(", ")}}`;
  return quoted(value);
}

function curl({ model, options, file, hasToken }) {
  const fields = requestFields(model, options).map(([name, value]) => {
    const isPlain = ["model", "language", "task", "punctuate", "speakers"].includes(name);
    return `${isPlain ? "-F" : "--form-string"} ${shell(`${name}=${value}`)}`;
  });
  const lines = [
    `curl ${shell(`${SERVER}/${ROUTE}`)}`,
    ...(hasToken ? [`-H "Authorization: Bearer $AURICLE_TOKEN"`] : []),
    `-F ${shell(curlFile(file))}`,
    ...fields,
    "-F response_format=verbose_json",
    `-F ${shell(`timestamp_granularities[]=${granularity(options)}`)}`,
  ];
  return lines.join(" \\\n  ");
}

function requests({ model, options, file, hasToken }) {
  const known = parameters(options);
  const isFlat = Object.values(known).every((value) => typeof value !== "object");
  const imports = [...(isFlat ? [] : ["import base64"]), ...(hasToken ? ["import os"] : [])].map((line) => `${line}\n`).join("");
  const body = isFlat
    ? `        params=${python(known)},
        data=recording,`
    : `        json={
            "inputs": base64.b64encode(recording.read()).decode(),
            "parameters": ${python(known)},
        },`;
  const headers = hasToken ? `\n        headers={"Authorization": f"Bearer {os.environ['AURICLE_TOKEN']}"},` : "";
  return `${imports}${imports && "\n"}import requests

with open(${quoted(file)}, "rb") as recording:
    response = requests.post(
        ${quoted(`${SERVER}/models/${idPath(model)}`)},${headers}
${body}
    )
response.raise_for_status()
print(response.json()["text"])`;
}

function hub({ model, options, file, hasToken }) {
  const token = hasToken ? `, token=os.environ["AURICLE_TOKEN"]` : "";
  return `${hasToken ? "import os\n\n" : ""}from huggingface_hub import InferenceClient

client = InferenceClient(${quoted(`${SERVER}/models/${idPath(model)}`)}${token})
output = client.automatic_speech_recognition(
    ${quoted(file)},
    extra_body=${python(parameters(options))},
)
print(output.text)`;
}

function javascript({ model, options, file, hasToken }) {
  const fields = requestFields(model, options).map(([name, value]) => `form.append(${quoted(name)}, ${quoted(value)});`);
  const headers = hasToken ? "\n  headers: { Authorization: `Bearer ${process.env.AURICLE_TOKEN}` }," : "";
  return `import { readFile } from "node:fs/promises";

// In a browser, a File of an <input type="file"> takes the place of this Blob.
const recording = new Blob([await readFile(${quoted(file)})]);
const form = new FormData();
form.append("file", recording, ${quoted(file)});
${fields.join("\n")}

const response = await fetch(${quoted(`${SERVER}/${ROUTE}`)}, {
  method: "POST",${headers}
  body: form,
});
if (!response.ok) throw new Error(await response.text());
console.log((await response.json()).text);`;
}

/** [[name, source text]] for a request: { model, options, file: its name, hasToken }. */
export function snippets(request) {
  return [
    ["curl", curl(request)],
    ["Python", requests(request)],
    ["huggingface_hub", hub(request)],
    ["JavaScript", javascript(request)],
  ];
}
