/** The same whole numbers below 2^32 for the same seed (mulberry32). */
function bits(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** Numbers from 0 to 1, the same each time for a seed. */
export function seeded(seed: number): () => number {
  const next = bits(seed);
  return () => next() / 2 ** 32;
}

/** Whole numbers below `max`, the same each time for a seed. */
export function seededBelow(seed: number): (max: number) => number {
  const next = bits(seed);
  return (max) => next() % max;
}
