// The shape of a recording for the waveform, without ever blocking the page.

const DECODED_BYTES = 96 * 2 ** 20; // larger files than this are not decoded here: a browser holds all of it in memory
const DECODED_S = 45 * 60;
const RATE = 8000; // hertz; enough for a drawing

function inWorker(message, transfer = []) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("peaks-worker.js", import.meta.url), { type: "module" });
    const finish = (settle) => (value) => {
      worker.terminate();
      settle(value);
    };
    worker.onmessage = ({ data }) => finish(data.error ? reject : resolve)(data.error ? new Error(data.error) : data);
    worker.onerror = finish(reject);
    worker.postMessage(message, transfer);
  });
}

/**
 * Resolve to { peaks, duration }: at most 1600 values from 0 to 1, and seconds; each null where it cannot be known,
 * as for formats that this browser does not decode. `seconds` is the duration, if a player knows it already.
 */
export async function findPeaks(file, seconds) {
  const direct = await inWorker({ file });
  if (direct.peaks) return { peaks: evened(direct.peaks), duration: direct.duration };
  if (file.size > DECODED_BYTES || seconds > DECODED_S) return { peaks: null, duration: null };
  let audio;
  try {
    audio = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
  } catch {
    return { peaks: null, duration: null }; // the server may well know the format
  }
  const samples = audio.getChannelData(0).slice();
  const { peaks } = await inWorker({ samples }, [samples.buffer]);
  return { peaks: evened(peaks), duration: audio.duration };
}

/** Scale so that quiet recordings can be seen, too: the loudest hundredth reaches the top. */
function evened(peaks) {
  const top = Float32Array.from(peaks).sort()[Math.floor((peaks.length - 1) * 0.99)] || 1;
  return peaks.map((peak) => Math.min(1, peak / top));
}
