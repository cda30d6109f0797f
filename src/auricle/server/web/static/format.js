// Numbers and names as people read them.

/** 83.4 → "1:23", 3683 → "1:01:23"; with tenths where digits is 1. */
export function clock(seconds, digits = 0) {
  const factor = 10 ** digits;
  const whole = Math.max(0, digits ? Math.round(seconds * factor) / factor : Math.floor(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** The same for a screen reader: "1 minute 23 seconds". */
export function spokenTime(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [
    [Math.floor(whole / 3600), "hour"],
    [Math.floor((whole % 3600) / 60), "minute"],
    [whole % 60, "second"],
  ];
  const told = parts.filter(([count, unit]) => count || (unit === "second" && whole < 1));
  return told.map(([count, unit]) => `${count} ${unit}${count === 1 ? "" : "s"}`).join(" ");
}

/** Bytes as "18 MB"; decimal units, as file managers count. */
export function bytes(size) {
  if (!Number.isFinite(size) || size <= 0) return "";
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(size) / 3));
  const value = size / 1000 ** step;
  return `${value >= 10 || step === 0 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

/** A duration in whole words: "12 s", "3 min". */
export function about(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.ceil(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function percent(fraction, digits = 1) {
  return `${(fraction * 100).toFixed(digits)} %`;
}

const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

/** The English name of a language code; what is no code stays as it is. */
export function languageName(code) {
  try {
    return names.of(code) ?? code;
  } catch {
    return code;
  }
}

const TASKS = {
  "automatic-speech-recognition": "Speech recognition",
  "speech-translation": "Speech translation",
  "voice-activity-detection": "Voice detection",
  "audio-classification": "Audio classification",
  "text-generation": "Text generation",
  "image-classification": "Image classification",
  "visual-question-answering": "Visual question answering",
};

export function taskName(tag) {
  const words = tag.replaceAll("-", " ");
  return TASKS[tag] ?? words[0].toUpperCase() + words.slice(1);
}

export const SPEECH = "automatic-speech-recognition";

const STATES = { ready: "Ready", loading: "Loading", absent: "Not loaded", failed: "Failed to load" };

/** The state of a model, from what the catalogue says about it; without a size its files are not here yet. */
export function stateName({ state, size }) {
  if (state === "absent" && !size) return "Not fetched";
  return STATES[state] ?? state ?? "Unknown";
}
