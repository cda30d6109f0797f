// The microphone: a recording as a File, its level while it runs, and its samples for whoever wants them live.

const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
const ENDINGS = { "audio/webm": "webm", "audio/mp4": "m4a", "audio/ogg": "ogg" };
const FLOOR_DB = -60; // what the meter shows as silence

/** Why this browser cannot record here, or null. */
export function whyNoMicrophone() {
  if (navigator.mediaDevices?.getUserMedia && window.MediaRecorder) return null;
  if (!window.isSecureContext) {
    return "Browsers lend the microphone only to https:// addresses and to localhost. Open this page by one of these, or choose a file.";
  }
  return "This browser cannot record. Choose a file instead.";
}

/** What a failure of getUserMedia means, in words. */
export function explainMicrophone(error) {
  const told = {
    NotAllowedError: "The browser was not allowed to use the microphone. Allow it in the browser's address bar, then record again.",
    NotFoundError: "No microphone was found. Connect one, or choose a file.",
    NotReadableError: "Another program is using the microphone.",
  };
  return told[error.name] ?? `The microphone cannot be used: ${error.message}`;
}

export class Recorder {
  /** Start recording; throws what getUserMedia throws. */
  static async start() {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false } });
    const context = new AudioContext();
    return new Recorder(stream, context);
  }

  constructor(stream, context) {
    this.stream = stream;
    this.context = context;
    this.startedAt = performance.now();
    this.source = context.createMediaStreamSource(stream);
    this.analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.source.connect(this.analyser);
    this.samples = new Float32Array(this.analyser.fftSize);
    this.parts = [];
    const type = TYPES.find((known) => MediaRecorder.isTypeSupported(known));
    this.recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
    this.recorder.addEventListener("dataavailable", (event) => this.parts.push(event.data));
    this.recorder.start(1000);
  }

  get seconds() {
    return (performance.now() - this.startedAt) / 1000;
  }

  /** The loudness of this moment from 0 (silence) to 1 (as loud as can be). */
  level() {
    this.analyser.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, sample) => sum + sample * sample, 0) / this.samples.length;
    const decibels = 10 * Math.log10(power + 1e-12);
    return Math.min(1, Math.max(0, 1 - decibels / FLOOR_DB));
  }

  /** Call `onBlock` with float samples at `context.sampleRate`, from now until the recording stops. */
  async listen(onBlock) {
    await this.context.audioWorklet.addModule(new URL("pcm-worklet.js", import.meta.url));
    const node = new AudioWorkletNode(this.context, "pcm", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    node.port.onmessage = (event) => onBlock(event.data);
    this.source.connect(node);
  }

  /** End it; resolves to the recording as a File. */
  async stop() {
    const ended = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
    this.recorder.stop();
    await ended;
    this.release();
    const type = (this.recorder.mimeType || "audio/webm").split(";")[0];
    return new File(this.parts, `recording.${ENDINGS[type] ?? "webm"}`, { type });
  }

  /** Let go of the microphone, whatever was recorded. */
  release() {
    for (const track of this.stream.getTracks()) track.stop();
    if (this.context.state !== "closed") this.context.close();
  }
}
