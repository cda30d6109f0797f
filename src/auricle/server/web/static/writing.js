// Texts from the server, piece by piece, and what is asked for by program in the same way.

import { ApiError, ROOT, call } from "./api.js";
import { eventData } from "./sse.js";

const SERVER = ROOT.href.replace(/\/$/, "");
const ROUTES = { chat: "v1/chat/completions", text: "v1/completions" };

/** The body of a request; `prompt` is a list of messages or a text. */
export function requestBody(model, prompt, options) {
  const asked = Array.isArray(prompt) ? { messages: prompt } : { prompt };
  return { model, ...asked, ...options };
}

/** Yield { text } for each piece, then { reason, usage }. */
export async function* written(model, prompt, options, signal) {
  const route = Array.isArray(prompt) ? ROUTES.chat : ROUTES.text;
  const body = { ...requestBody(model, prompt, options), stream: true, stream_options: { include_usage: true } };
  const headers = { "Content-Type": "application/json" };
  const response = await call(route, { method: "POST", headers, body: JSON.stringify(body), signal });
  let reason = null;
  try {
    for await (const data of eventData(response.body)) {
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(500, event.error.message, { code: event.error.code });
      const [choice] = event.choices;
      reason = choice?.finish_reason ?? reason;
      const text = choice ? (choice.delta?.content ?? choice.text) : "";
      if (text) yield { text };
      if (event.usage) yield { reason, usage: event.usage };
    }
  } catch (error) {
    if (error instanceof ApiError || signal.aborted) throw error;
    throw new ApiError(0, "the connection broke before the text was complete");
  }
}

/** A word of a POSIX shell. */
const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const quoted = JSON.stringify;

function pythonArguments(values) {
  return Object.entries(values).map(([name, value]) => `    ${name}=${quoted(value)},`).join("\n");
}

/** [[name, source text]] for a request. */
export function writingSnippets({ model, prompt, options, hasToken }) {
  const isChat = Array.isArray(prompt);
  const key = hasToken ? `os.environ["AURICLE_TOKEN"]` : `"none"`;
  const imports = hasToken ? "import os\n\n" : "";
  const asked = isChat ? { messages: prompt } : { prompt };
  const path = isChat ? "chat.completions" : "completions";
  const told = isChat ? "choices[0].message.content" : "choices[0].text";
  const body = requestBody(model, prompt, options);
  const curl = [
    `curl ${SERVER}/${isChat ? ROUTES.chat : ROUTES.text}`,
    ...(hasToken ? [`-H "Authorization: Bearer $AURICLE_TOKEN"`] : []),
    "-H 'Content-Type: application/json'",
    `-d ${shell(quoted(body))}`,
  ].join(" \\\n  ");
  const python = `${imports}from openai import OpenAI

client = OpenAI(base_url=${quoted(`${SERVER}/v1`)}, api_key=${key})
answer = client.${path}.create(
    model=${quoted(model)},
${pythonArguments({ ...asked, ...options })}
)
print(answer.${told})`;
  const renamed = Object.fromEntries(Object.entries(options).map(([name, value]) => [name === "max_tokens" && !isChat ? "max_new_tokens" : name, value]));
  const token = hasToken ? ", token=os.environ[\"AURICLE_TOKEN\"]" : "";
  const hub = `${imports}from huggingface_hub import InferenceClient

client = InferenceClient(${quoted(`${SERVER}/models/${model}`)}${token})
${isChat ? "answer = client.chat_completion" : "text = client.text_generation"}(
    ${quoted(prompt)},
${pythonArguments(renamed)}
)
print(${isChat ? `answer.${told}` : "text"})`;
  const headers = hasToken ? "\n    Authorization: `Bearer ${process.env.AURICLE_TOKEN}`," : "";
  const javascript = `const response = await fetch(${quoted(`${SERVER}/${isChat ? ROUTES.chat : ROUTES.text}`)}, {
  method: "POST",
  headers: {
    "Content-Type": "application/json",${headers}
  },
  body: JSON.stringify(${quoted(body)}),
});
if (!response.ok) throw new Error(await response.text());
console.log((await response.json()).${told});`;
  return [
    ["curl", curl],
    ["Python", python],
    ["huggingface_hub", hub],
    ["JavaScript", javascript],
  ];
}
