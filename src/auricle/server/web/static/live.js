// Captions while somebody speaks: samples go to the websocket /live, text that is final and text that may change come back.

import { address } from "./api.js";
import { storedToken } from "./token.js";

const CLOSE_S = 10; // how long the last words may take
const NORMAL = 1000; // the code of a websocket that was closed on purpose

export class LiveCaptions {
  /** `onText(final, pending)` gets the whole text so far; `onFailure(message)` is called at most once. */
  constructor({ model, sampleRate, language, onText, onFailure }) {
    this.final = "";
    this.hasFailed = false;
    this.isEnded = false;
    this.onText = onText;
    this.onFailure = onFailure;
    const url = address("live");
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("model", model);
    // Browsers cannot give a websocket headers; the server takes the token out of the query before it logs anything.
    const token = storedToken();
    if (token) url.searchParams.set("token", token);
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.opened = new Promise((resolve) => this.socket.addEventListener("open", resolve, { once: true }));
    this.closed = new Promise((resolve) => this.socket.addEventListener("close", resolve, { once: true }));
    this.opened.then(() => this.socket.send(JSON.stringify({ sample_rate: sampleRate, format: "s16le", ...(language && { language }) })));
    this.socket.addEventListener("message", (event) => this.#receive(JSON.parse(event.data)));
    this.socket.addEventListener("close", ({ code, reason }) => {
      if (code !== NORMAL && !this.isEnded) this.#fail(reason || "the connection for live captions broke");
    });
  }

  /** Send float samples, as 16-bit integers. */
  send(samples) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const block = new Int16Array(samples.length);
    for (let i = 0; i < samples.length; i += 1) block[i] = Math.max(-1, Math.min(1, samples[i])) * 32767;
    this.socket.send(block.buffer);
  }

  /** Say that nothing more comes, and wait for the last words. */
  async end() {
    this.isEnded = true;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "end" }));
    await Promise.race([this.closed, new Promise((resolve) => setTimeout(resolve, CLOSE_S * 1000))]);
    this.socket.close();
  }

  #receive(message) {
    if (message.type === "update") {
      this.final += message.final ?? "";
      this.onText(this.final, message.pending ?? "");
    } else if (message.type === "done") {
      this.onText(message.text ?? this.final, "");
      this.socket.close();
    } else if (message.type === "error") {
      this.#fail(message.error?.message ?? message.error ?? message.message ?? "live captions failed");
    }
  }

  #fail(message) {
    if (this.hasFailed) return;
    this.hasFailed = true;
    this.onFailure(message);
  }
}
