// Every call to the server. Addresses are relative to where this file lies, so a proxy may put the server anywhere.

import { eventData } from "./sse.js";
import { askForToken, storedToken } from "./token.js";

export const ROOT = new URL("../", import.meta.url);

/** The address of a path such as "api/models". */
export function address(path) {
  return new URL(path, ROOT);
}

export class ApiError extends Error {
  /** `status` 0: no answer at all. `retryAfter` and `estimated` are seconds, or null. */
  constructor(status, message, { retryAfter = null, estimated = null, code = "" } = {}) {
    super(message);
    this.name = "ApiError";
    Object.assign(this, { status, retryAfter, estimated, code });
  }
}

/** Call the server with the token, if there is one; where it asks for one, ask the user, once for each answer 401. */
export async function call(path, options = {}) {
  for (;;) {
    const headers = new Headers(options.headers);
    const token = storedToken();
    if (token) headers.set("Authorization", `Bearer ${token}`);
    let response;
    try {
      response = await fetch(address(path), { ...options, headers });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError(0, "the server does not answer; is it still running?");
    }
    if (response.ok) return response;
    const error = await failure(response);
    if (response.status !== 401 || !(await askForToken(token ? error.message : ""))) throw error;
  }
}

async function failure(response) {
  const body = await response.json().catch(() => ({}));
  return fromBody(response.status, body, response.headers.get("retry-after"));
}

function fromBody(status, body, retryAfter) {
  const told = body?.error ?? body?.detail;
  const message = typeof told === "string" ? told : (told?.message ?? `the server answered ${status}`);
  const estimated = body?.estimated_time ?? told?.estimated_time;
  const seconds = retryAfter === null ? NaN : Number(retryAfter);
  return new ApiError(status, message, {
    retryAfter: Number.isFinite(seconds) ? seconds : null,
    estimated: Number.isFinite(estimated) ? estimated : null,
    code: told?.code ?? "",
  });
}

export async function getJson(path, signal) {
  return (await call(path, { signal, headers: { Accept: "application/json" } })).json();
}

/** An id within a path: its slashes stay. */
export function idPath(id) {
  return id.split("/").map(encodeURIComponent).join("/");
}

export const listModels = (signal) => getJson("api/models", signal);
export const describeModel = (id, signal) => getJson(`api/models/${idPath(id)}`, signal);
export const listSamples = (signal) => getJson("api/samples", signal);
export const readLeaderboard = (signal) => getJson("api/leaderboard", signal);

/** The fields of a transcription request beside the file, as pairs; snippets.js shows the same ones. */
export function requestFields(model, options = {}) {
  const fields = [["model", model]];
  if (options.language) fields.push(["language", options.language]);
  if (options.task) fields.push(["task", options.task]);
  if (options.prompt) fields.push(["prompt", options.prompt]);
  if (options.hotwords) fields.push(["hotwords", options.hotwords]);
  if (options.punctuate) fields.push(["punctuate", options.punctuate]);
  if (options.speakers) fields.push(["speakers", options.speakers]);
  return fields;
}

export const ROUTE = "v1/audio/transcriptions";

/** Transcribe a file; yields {type: "answered"} and then the stream's events, the last of which is "transcript.text.done". */
export async function* transcribe(file, model, { options = {}, useCache = true, signal } = {}) {
  const form = new FormData();
  for (const [name, value] of requestFields(model, options)) form.append(name, value);
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "segment");
  if (options.timestamps !== "segment") form.append("timestamp_granularities[]", "word");
  form.append("stream", "true");
  form.append("file", file, file.name || "recording");
  const headers = useCache ? {} : { "x-use-cache": "false" };
  const response = await call(ROUTE, { method: "POST", body: form, headers, signal });
  yield { type: "answered" };
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    yield { ...(await response.json()), type: "transcript.text.done" };
    return;
  }
  yield* checked(eventData(response.body), signal);
}

// A stream that has begun has no status of its own: its errors have the names that OpenAI's API gives them.
const STATUSES = {
  invalid_request_error: 400,
  authentication_error: 401,
  permission_error: 403,
  not_found_error: 404,
  rate_limit_error: 429,
  overloaded_error: 503,
};

async function* checked(events, signal) {
  let isDone = false;
  try {
    for await (const data of events) {
      if (data === "[DONE]") break;
      const event = JSON.parse(data);
      if (event.error) throw fromBody(STATUSES[event.error.type] ?? 500, event, null);
      isDone ||= event.type === "transcript.text.done";
      yield event;
    }
  } catch (error) {
    if (error instanceof ApiError || signal?.aborted) throw error;
    throw new ApiError(0, "the connection broke before the text was complete");
  }
  if (!isDone) throw new ApiError(0, "the server ended before the text was complete");
}

/** A transcript as the text of a file in a format such as "srt", by the server's rules. */
export async function exportAs(form, transcript) {
  const response = await call(`api/export/${form}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(transcript),
  });
  return response.text();
}

/** A sample as a File, as if the user had chosen it. */
export async function fetchSample(sample) {
  const blob = await (await call(sample.url)).blob();
  return new File([blob], sample.file, { type: blob.type });
}
