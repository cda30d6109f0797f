// Server-sent events out of a fetch response, as they arrive; the "data" fields alone, since the API uses no others.

/** Yield the data of every event; lines may be cut anywhere, and end in any of the three ways that HTML allows. */
export async function* eventData(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest += value ?? "";
      // A carriage return at the very end may be half of a line's end: it waits for what follows.
      const lines = rest.split(done ? /\r\n|\n|\r/ : /\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield data.join("\n");
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        }
      }
      if (done) return; // an event without its empty line was cut off, and does not count
    }
  } finally {
    await reader.cancel().catch(() => {}); // the stream may have ended by an error that the reader has already thrown
  }
}
