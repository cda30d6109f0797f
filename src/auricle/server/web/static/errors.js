// What went wrong, in a sentence for the person in front of the page.

import { about } from "./format.js";

/** Return { title, detail } for an ApiError; the server's own words are the detail. */
export function explain(error) {
  const detail = sentence(error.message ?? String(error));
  const wait = error.retryAfter ?? error.estimated;
  switch (error.status) {
    case 0:
      return { title: "No answer", detail };
    case 401:
      return { title: "A token is needed", detail };
    case 403:
      return { title: "Not allowed with this token", detail };
    case 404:
      return { title: "Not found", detail };
    case 413:
      return { title: "Too large for this server", detail };
    case 429:
      return { title: "Too many requests", detail: wait ? `${detail} Try again in ${about(wait)}.` : detail };
    case 503:
      return { title: "Not ready yet", detail };
    default:
      return { title: error.status >= 500 ? "The server failed" : "The server refused this", detail };
  }
}

/** Whether it is worth waiting: the seconds to wait for a model that is loading, else null. */
export function secondsToWait(error) {
  if (error.status !== 503) return null;
  const wait = error.retryAfter ?? error.estimated ?? 5;
  return Math.min(Math.max(wait, 1), 120);
}

/** The text with a capital and a full stop; names of files and parameters keep their letters. */
function sentence(text) {
  const trimmed = text.trim();
  if (!trimmed) return "It gave no reason.";
  const begun = /^[a-z]+[\s,;:]/.test(trimmed) ? trimmed[0].toUpperCase() + trimmed.slice(1) : trimmed;
  return begun + (/[.!?…]$/.test(trimmed) ? "" : ".");
}
