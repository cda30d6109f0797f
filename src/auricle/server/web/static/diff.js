// Word-level difference of two texts: Myers' O(ND) in linear space, so that hours of speech fit in memory.
// Source: E. Myers, "An O(ND) Difference Algorithm and Its Variations", Algorithmica 1 (1986), section 4b.

/** The words of a text, each with what it is compared by: no capitals and no punctuation around it. */
export function words(text) {
  return text
    .split(/\s+/)
    .filter(Boolean)
    .map((written) => ({ written, key: written.toLowerCase().normalize("NFKC").replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "") || written }));
}

/**
 * What turns `a` into `b`: [{ kind: "same" | "replaced" | "missing" | "added", a: [words], b: [words] }], neighbours
 * of one kind joined. "missing" is only in a, "added" only in b, and "replaced" has both.
 */
export function diffWords(a, b) {
  const kept = matches(a, b);
  const found = [];
  let i = 0;
  let j = 0;
  for (const [x, y] of [...kept, [a.length, b.length]]) {
    if (x > i || y > j) {
      const kind = x === i ? "added" : y === j ? "missing" : "replaced";
      found.push({ kind, a: a.slice(i, x), b: b.slice(j, y) });
    }
    if (x < a.length && y < b.length) {
      const last = found.at(-1);
      if (last?.kind === "same") {
        last.a.push(a[x]);
        last.b.push(b[y]);
      } else {
        found.push({ kind: "same", a: [a[x]], b: [b[y]] });
      }
    }
    i = x + 1;
    j = y + 1;
  }
  return found;
}

/** The fewest words to replace, leave out or add that make `b` of `a`, and their share of all words of `a`. */
export function wordErrors(a, b) {
  let most = 0; // the difference that is shown keeps most words; with fewer kept, fewer changes may do
  for (const part of diffWords(a, b)) {
    if (part.kind !== "same") most += Math.max(part.a.length, part.b.length);
  }
  const errors = most && distance(a, b, most);
  return { errors, rate: a.length ? errors / a.length : errors ? Infinity : 0 };
}

/** Levenshtein's distance, which is known to be at most `most`: nothing further from the diagonal is looked at. */
function distance(a, b, most) {
  const FAR = most + 1;
  let before = Int32Array.from({ length: b.length + 1 }, (_, j) => Math.min(j, FAR));
  let row = new Int32Array(b.length + 1);
  for (let i = 1; i <= a.length; i += 1) {
    row.fill(FAR);
    if (i <= most) row[0] = i;
    const { key } = a[i - 1];
    for (let j = Math.max(1, i - most); j <= Math.min(b.length, i + most); j += 1) {
      const replaced = before[j - 1] + (key === b[j - 1].key ? 0 : 1);
      row[j] = Math.min(replaced, before[j] + 1, row[j - 1] + 1);
    }
    [before, row] = [row, before];
  }
  return before[b.length];
}

/** Pairs of indices of a longest common subsequence, in order. */
export function matches(a, b) {
  const left = a.map((word) => word.key);
  const right = b.map((word) => word.key);
  const found = [];
  // A stack in place of recursion: stretches still to be compared, the first one on top.
  const open = [[0, left.length, 0, right.length]];
  while (open.length) {
    let [fromA, toA, fromB, toB] = open.pop();
    while (fromA < toA && fromB < toB && left[fromA] === right[fromB]) found.push([fromA++, fromB++]);
    const tail = [];
    while (fromA < toA && fromB < toB && left[toA - 1] === right[toB - 1]) tail.push([--toA, --toB]);
    if (tail.length) {
      const [x, y] = tail.at(-1);
      open.push([x, x + tail.length, y, y + tail.length]);
    }
    if (fromA === toA || fromB === toB) continue;
    const [x, y] = middle(left, right, fromA, toA, fromB, toB);
    open.push([x, toA, y, toB], [fromA, x, fromB, y]);
  }
  return found;
}

/** A point that a shortest edit of the stretch goes through; it divides the stretch, whose ends differ. */
function middle(a, b, fromA, toA, fromB, toB) {
  const n = toA - fromA;
  const m = toB - fromB;
  const delta = n - m;
  const isOdd = delta % 2 !== 0;
  const limit = Math.ceil((n + m) / 2);
  const ahead = new Int32Array(2 * limit + 2);
  const back = new Int32Array(2 * limit + 2);
  const at = (k) => k + limit;
  for (let d = 0; d <= limit; d += 1) {
    for (let k = -d; k <= d; k += 2) {
      let x = k === -d || (k !== d && ahead[at(k - 1)] < ahead[at(k + 1)]) ? ahead[at(k + 1)] : ahead[at(k - 1)] + 1;
      let y = x - k;
      while (x < n && y < m && y >= 0 && a[fromA + x] === b[fromB + y]) {
        x += 1;
        y += 1;
      }
      ahead[at(k)] = x;
      const mirrored = delta - k;
      if (isOdd && Math.abs(mirrored) <= d - 1 && x + back[at(mirrored)] >= n) return [fromA + x, fromB + y];
    }
    for (let k = -d; k <= d; k += 2) {
      let x = k === -d || (k !== d && back[at(k - 1)] < back[at(k + 1)]) ? back[at(k + 1)] : back[at(k - 1)] + 1;
      let y = x - k;
      while (x < n && y < m && y >= 0 && a[toA - x - 1] === b[toB - y - 1]) {
        x += 1;
        y += 1;
      }
      back[at(k)] = x;
      const mirrored = delta - k;
      if (!isOdd && Math.abs(mirrored) <= d && x + ahead[at(mirrored)] >= n) return [toA - x, toB - y];
    }
  }
  throw new Error("no edit path"); // n + m edits always suffice
}
