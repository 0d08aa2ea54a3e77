/**
 * The nearest valid word for a mistyped one.
 *
 * @module
 */

/**
 * The candidate most like `word`, else the only one that it is a part of, as `timeout` is of `idle_timeout` and
 * `max_size` of `max_message_size`; `undefined` when none is near enough to be meant. Letter case, `-` and `_` count
 * little.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const all = [...candidates];
  return nearestBySpelling(word, all) ?? onlyOneWithPart(word, all);
}

function nearestBySpelling(word: string, candidates: readonly string[]): string | undefined {
  const plain = simplify(word);
  let best: string | undefined;
  let bestDistance = Infinity;
  for (const candidate of candidates) {
    const distance = editDistance(plain, simplify(candidate));
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return bestDistance <= Math.max(1, Math.floor(plain.length / 3)) ? best : undefined;
}

function onlyOneWithPart(word: string, candidates: readonly string[]): string | undefined {
  const plain = simplify(word);
  if (plain.length < 4) return undefined;
  const [only, ...others] = candidates.filter((candidate) => {
    const whole = simplify(candidate);
    const words = whole.split("_");
    return whole.includes(plain) || plain.split("_").every((part) => words.includes(part));
  });
  return others.length === 0 ? only : undefined;
}

function simplify(word: string): string {
  // The input is bounded so that a broken file cannot make this quadratic in its size.
  return word.slice(0, 64).toLowerCase().replaceAll("-", "_");
}

/** Optimal string alignment: insertions, deletions, replacements and swapped neighbours. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min((row[j - 1] ?? 0) + 1, (last[j] ?? 0) + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(cost);
    }
    [beforeLast, last] = [last, row];
  }
  return last[b.length] ?? 0;
}
