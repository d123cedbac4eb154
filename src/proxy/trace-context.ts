/** Random bytes of one `traceparent`, and of how many that are had at once. */
const TRACE_BYTES = 24;
const TRACES = 64;

/** Makes `traceparent` values of random bytes: a new trace each, not sampled (Trace Context 3.2). */
export function createTraceparents(random: (bytes: number) => Uint8Array): () => string {
  let hex = '';
  let at = 0;
  return () => {
    if (at === hex.length) {
      const { buffer, byteOffset, byteLength } = random(TRACE_BYTES * TRACES);
      hex = Buffer.from(buffer, byteOffset, byteLength).toString('hex');
      at = 0;
    }
    const from = at;
    at += 2 * TRACE_BYTES;
    return `00-${hex.slice(from, from + 32)}-${hex.slice(from + 32, at)}-00`;
  };
}
