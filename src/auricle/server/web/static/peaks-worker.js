// Loudness over time, off the page's thread: of samples that were decoded, or straight out of a WAV file of any length.

const BINS = 1600;
const BYTES_A_BIN = 32768; // what is read of each bin of a WAV file: a day of audio is then no more than 50 MB

onmessage = async ({ data }) => {
  try {
    postMessage(data.file ? await ofWav(data.file) : ofSamples(data.samples));
  } catch (error) {
    postMessage({ error: String(error) });
  }
};

function ofSamples(samples) {
  const bins = Math.min(BINS, Math.max(1, samples.length));
  const peaks = new Float32Array(bins);
  for (let bin = 0; bin < bins; bin += 1) {
    const end = Math.floor(((bin + 1) * samples.length) / bins);
    for (let i = Math.floor((bin * samples.length) / bins); i < end; i += 1) {
      const size = Math.abs(samples[i]);
      if (size > peaks[bin]) peaks[bin] = size;
    }
  }
  return { peaks };
}

/** Peaks and duration of a WAV file with plain samples; null for any other file. */
async function ofWav(file) {
  const form = await wavForm(file);
  if (!form) return { peaks: null };
  const { start, length, frame, rate, read } = form;
  const frames = Math.floor(length / frame);
  const bins = Math.min(BINS, Math.max(1, frames));
  const peaks = new Float32Array(bins);
  for (let bin = 0; bin < bins; bin += 1) {
    const first = Math.floor((bin * frames) / bins);
    const count = Math.floor(((bin + 1) * frames) / bins) - first;
    const size = Math.min(count * frame, BYTES_A_BIN - (BYTES_A_BIN % frame));
    const view = new DataView(await file.slice(start + first * frame, start + first * frame + size).arrayBuffer());
    for (let at = 0; at + frame <= view.byteLength; at += frame) {
      const loudness = Math.abs(read(view, at));
      if (loudness > peaks[bin]) peaks[bin] = loudness;
    }
  }
  return { peaks, duration: frames / rate };
}

const READERS = {
  "1/8": (view, at) => (view.getUint8(at) - 128) / 128,
  "1/16": (view, at) => view.getInt16(at, true) / 32768,
  "1/24": (view, at) => ((view.getInt16(at + 1, true) << 8) | view.getUint8(at)) / 8388608,
  "1/32": (view, at) => view.getInt32(at, true) / 2147483648,
  "3/32": (view, at) => view.getFloat32(at, true),
};

async function wavForm(file) {
  const head = new DataView(await file.slice(0, 65536).arrayBuffer());
  const name = (at) => (at + 4 <= head.byteLength ? String.fromCharCode(...new Uint8Array(head.buffer, at, 4)) : "");
  if (name(0) !== "RIFF" || name(8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= head.byteLength; ) {
    const size = head.getUint32(at + 4, true);
    if (name(at) === "fmt ") format = readFormat(head, at + 8);
    if (name(at) === "data") return format && { ...format, start: at + 8, length: Math.min(size, file.size - at - 8) };
    at += 8 + size + (size % 2);
  }
  return null;
}

function readFormat(head, at) {
  const extensible = head.getUint16(at, true) === 0xfffe;
  const kind = extensible ? head.getUint16(at + 24, true) : head.getUint16(at, true);
  const read = READERS[`${kind}/${head.getUint16(at + 14, true)}`];
  return read ? { read, rate: head.getUint32(at + 4, true), frame: head.getUint16(at + 12, true) } : null;
}
