// A second of silence as a WAV file: what a model is woken with before its time is taken.

const RATE = 16000;

export function silence() {
  const view = new DataView(new ArrayBuffer(44 + 2 * RATE));
  const write = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, view.byteLength - 8, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // plain samples
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  write(36, "data");
  view.setUint32(40, 2 * RATE, true);
  return new File([view.buffer], "silence.wav", { type: "audio/wav" });
}
