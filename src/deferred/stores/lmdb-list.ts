import type { RequestEnd, RequestRow } from '../request.ts';
import { matches } from '../request-view.ts';
import type { EndedFilter, EndedInOrder, EndedPage } from '../store.ts';
import type { LmdbState } from './lmdb-batch.ts';
import { deadKey, decodeDeadEntry, numberIn, numberKey, numbersKey, type Tables } from './lmdb-tables.ts';
import { leastFrom, withoutBody } from './memory.ts';

/** Looked at for one page at most. */
const LOOKED_AT_MAX = 10_000;
const SLICE = 256;

/** Lists ended requests. The token is the key of the last one that was looked at. */
export function listEnded(tables: Tables, filter: EndedFilter, size: number, token: string): Promise<EndedPage> {
  const after = token === '' ? undefined : Buffer.concat([Buffer.from(token, 'hex'), Buffer.of(0)]);
  if (filter.state === 'dead' && filter.group !== undefined) {
    const start = after ?? deadKey(filter.group, filter.since ?? 0, 0);
    const end = deadKey(filter.group, filter.until ?? Number.MAX_SAFE_INTEGER, 0);
    return list(tables, 'dead', { start, end }, size, (key) => deadLetter(tables, filter, key));
  }
  return list(tables, 'done', { start: after ?? numbersKey(0, 0), end: undefined }, size, (key) => {
    const record = numberIn(key, 1) === 0 ? tables.end(numberIn(key, 0), true) : undefined;
    return record !== undefined && matches(filter, record.row, record.end) ? record : undefined;
  });
}

/** Ended requests from a sequence on: those that the sweep has seen are in `ends`, the others in memory. `done` has each. */
export function endedFrom({ tables, ended }: LmdbState, sequence: number, limit: number): EndedInOrder {
  const swept = tables.keys('ends', numberKey(sequence), undefined, limit).map((key) => numberIn(key, 0));
  const sweptTo = swept.length < limit ? Number.POSITIVE_INFINITY : (swept.at(-1) as number);
  const unswept = leastFrom(ended.unswept.keys(), sequence, limit);
  const { sequences, upTo } = leastFrom(new Set([...swept, ...unswept.sequences]), sequence, limit);
  const whole = Math.min(sweptTo, unswept.upTo, upTo);
  const requests: Ended[] = [];
  for (const each of sequences) {
    if (each > whole) break;
    const number = ended.unswept.get(each)?.number ?? tables.endIndex(each)?.number;
    const record = number === undefined ? undefined : tables.end(number, true);
    if (record !== undefined) requests.push({ row: record.row, end: withoutBody(record.end) });
  }
  return { requests, upTo: whole };
}

type Ended = { readonly row: RequestRow; readonly end: RequestEnd };

async function list(
  tables: Tables,
  table: 'dead' | 'done',
  range: { readonly start: Uint8Array; readonly end: Uint8Array | undefined },
  size: number,
  look: (key: Uint8Array) => Ended | undefined,
): Promise<EndedPage> {
  const requests: Ended[] = [];
  let from = range.start;
  for (let looked = 0; ; ) {
    tables.refresh();
    const keys = tables.keys(table, from, range.end, SLICE);
    for (const [index, key] of keys.entries()) {
      const found = look(key);
      if (found !== undefined) requests.push({ row: found.row, end: withoutBody(found.end) });
      looked++;
      const last = index === keys.length - 1 && keys.length < SLICE;
      if (!last && (requests.length >= size || looked >= LOOKED_AT_MAX)) return { requests, next: Buffer.from(key).toString('hex') };
    }
    const last = keys.at(-1);
    if (last === undefined || keys.length < SLICE) return { requests, next: '' };
    from = Buffer.concat([last, Buffer.of(0)]);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function deadLetter(tables: Tables, filter: EndedFilter, key: Uint8Array): Ended | undefined {
  const entry = tables.get('dead', key);
  if (entry === undefined) return undefined;
  const { number, key: requestKey, error } = decodeDeadEntry(entry);
  if (filter.key !== undefined && requestKey !== filter.key) return undefined;
  if (filter.error !== undefined && error !== filter.error) return undefined;
  const record = tables.end(number, true);
  return record !== undefined && matches(filter, record.row, record.end) ? record : undefined;
}
