// Runs one task of @huggingface/inference and prints what came of it as JSON.
// node inference.mjs inference-new|inference-old '{"url", "file", "type"?, "as"?, "retry"?, "token"?}'
import { readFileSync } from "node:fs";

const [name, given] = process.argv.slice(2);
const client = await import(name);
const { url, file, type, as, retry, token, useCache } = JSON.parse(given);
const bytes = readFileSync(file);
const data =
  as === "buffer" ? bytes :
  as === "array buffer" ? bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) :
  new Blob([bytes], type ? { type } : {});
const Client = client.InferenceClient ?? client.HfInference;
const options = {};
if (retry === false) options.retry_on_error = false;
if (useCache === false) options.use_cache = false;
try {
  // The old one looks an endpoint's model up at the Hub unless the address stands for it.
  const asked = name === "inference-old" ? { data, model: url } : { data, endpointUrl: url };
  const result = await new Client(token, options).automaticSpeechRecognition(asked);
  console.log(JSON.stringify({ result }));
} catch (error) {
  console.log(JSON.stringify({ error: error.message, status: error.httpResponse?.status }));
}
