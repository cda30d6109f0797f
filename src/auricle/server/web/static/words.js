// Words within the text of their segment, and words within time. No elements here, so it is easily tested.

/**
 * Divide a segment's text: [{ text, word }], `word` being the timed word that is written there or null for what
 * stands between. Each character of the text is in one part; words that are not found in it are joined by spaces.
 */
export function parts(text, words) {
  const found = [];
  let at = 0;
  for (const word of words) {
    const spelled = word.word.trim();
    if (!spelled) continue;
    const start = text.indexOf(spelled, at);
    if (start < 0) return words.flatMap((one, i) => [...(i ? [{ text: " ", word: null }] : []), { text: one.word.trim(), word: one }]);
    if (start > at) found.push({ text: text.slice(at, start), word: null });
    found.push({ text: spelled, word });
    at = start + spelled.length;
  }
  if (at < text.length) found.push({ text: text.slice(at), word: null });
  return found;
}

/** Give every segment its own words, where the server listed them for the whole recording only. */
export function withWords(segments, words = []) {
  if (!words.length || segments.some((segment) => segment.words?.length)) return segments;
  return segments.map((segment, i) => {
    const next = segments[i + 1]?.start ?? Infinity;
    return { ...segment, words: words.filter(({ start }) => (i === 0 || start >= segment.start) && start < next) };
  });
}

const HOLD_S = 0.25; // a word stays marked this long after its end, so that pauses do not flicker

/** The index of the word that is heard at a time, or -1; `words` are in the order of their starts. */
export function wordAt(words, time) {
  let low = 0;
  let high = words.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].start <= time) low = middle + 1;
    else high = middle;
  }
  const index = low - 1;
  return index >= 0 && time <= words[index].end + HOLD_S ? index : -1;
}

/** How doubtful a word is: 0 not at all, 1, or 2. A word without a confidence is not. */
export function doubt(word) {
  const { confidence } = word;
  if (confidence === null || confidence === undefined) return 0;
  return confidence < 0.5 ? 2 : confidence < 0.75 ? 1 : 0;
}
