/** Levenshtein distance: insertions, deletions and substitutions; O(|a| |b|) time, O(|b|) memory. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/**
 * The word that a person most likely meant: nearest by edit distance, ignoring case, and no further than about a third of its
 * length; a word that begins with the other counts as near (`staleness` for `stalenessMs`). Undefined where none is near.
 */
export function nearestWord(word: string, known: readonly string[]): string | undefined {
  const lower = word.toLowerCase();
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const other = candidate.toLowerCase();
    const isPrefix = lower.length >= 4 && (other.startsWith(lower) || lower.startsWith(other));
    const distance = isPrefix ? 1 : editDistance(lower, other);
    if (distance <= Math.max(1, Math.floor(Math.max(lower.length, other.length) / 3)) && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}
