// One transcription from the first byte to the last word: waiting for a model that is loading included.

import { transcribe } from "./api.js";
import { secondsToWait } from "./errors.js";

const MAX_WAITS = 60;

/**
 * Transcribe, and call `on.event(event)` for every event, `on.waiting(seconds, error)` before each new attempt.
 * Resolves to { done, seconds }; throws ApiError, or the signal's reason when it is aborted.
 */
export async function transcribeWithPatience(file, model, { options, useCache, signal, on }) {
  return withPatience(
    async () => {
      const started = performance.now();
      let done = null;
      for await (const event of transcribe(file, model, { options, useCache, signal })) {
        if (event.type === "transcript.text.done") done = event;
        on.event(event);
      }
      return { done, seconds: (performance.now() - started) / 1000 };
    },
    signal,
    on.waiting,
  );
}

/** Do `work()`, anew where the model is still loading; `waiting(seconds, error)` is called before each new attempt. */
export async function withPatience(work, signal, waiting) {
  for (let waits = 0; ; waits += 1) {
    try {
      return await work();
    } catch (error) {
      const wait = secondsToWait(error);
      if (wait === null || waits >= MAX_WAITS) throw error;
      waiting(wait, error);
      await sleep(wait * 1000, signal);
    }
  }
}

/** Wait, or reject when the signal is aborted. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) reject(signal.reason);
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
