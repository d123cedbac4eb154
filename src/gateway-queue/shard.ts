/** The largest shard id that a client can name: an unsigned number of 32 bits. */
const SHARD_MAX = 2 ** 32 - 1;

/** Characters of a wrong value that a log line shows. */
const SHOWN_MAX = 40;

/** The shard of a request, or what is wrong with it; `shard` undefined: it names none. */
export type ShardRead = { readonly shard: number | undefined } | { readonly wrong: string };

/** Reads `shard` of a query (form-urlencoded, without '?'). A value that is no number from 0 to 4294967295 or stands twice is wrong. */
export function readShard(query: string): ShardRead {
  if (query === '') return { shard: undefined };
  const values = new URLSearchParams(query).getAll('shard');
  const [text] = values;
  if (text === undefined) return { shard: undefined };
  if (values.length > 1) return { wrong: `shard stands ${values.length} times` };
  const shard = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return shard <= SHARD_MAX ? { shard } : { wrong: `shard ${JSON.stringify(text.slice(0, SHOWN_MAX))} is no number from 0 to ${SHARD_MAX}` };
}
