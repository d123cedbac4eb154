import { CorruptRecord } from '../../storage/checksum.ts';
import { type Counters, decodeHead } from './lmdb-codec.ts';
import { decoded, type Entry, numberIn, type Tables } from './lmdb-tables.ts';

/** Up to this many heads, all of them are read when the store is opened; above, only where the numbers of entries do not fit. */
const ALWAYS_READ = 10_000;
const NAMED_MAX = 10;
const SLICE = 4_096;

/** The store of deferred requests is not whole: it names what is missing. */
export class DamagedRequests extends Error {
  override readonly name = 'DamagedRequests';

  readonly #what: readonly string[];

  constructor(what: readonly string[], { folder, ...options }: ErrorOptions & { readonly folder?: string | undefined } = {}) {
    const named = what.slice(0, NAMED_MAX).join('; ');
    const more = what.length > NAMED_MAX ? `; and ${what.length - NAMED_MAX} more` : '';
    super(
      `The store of deferred requests${folder === undefined ? '' : ` in ${folder}`} is damaged: ${named}${more}. Nothing was changed. Put a copy of its folder back, or move the folder away to ` +
        'start with an empty one, which forgets the requests in it.',
      options,
    );
    this.#what = what;
  }

  /** The same, of a folder that is known. */
  in(folder: string | undefined): DamagedRequests {
    return new DamagedRequests(this.#what, { cause: this.cause, folder });
  }
}

/** The heads and bodies that must exist according to the rows. */
export interface Expected {
  /** Sequences of rows and of dead letters, called only when it is needed. */
  readonly sequences: () => Promise<Set<number>>;
  readonly heads: number;
  readonly counted: Pick<Counters, 'heads' | 'packed' | 'packs' | 'pieces'>;
  /** Bodies without a row that the store knows of. */
  readonly orphans: ReadonlySet<number>;
}

/**
 * Compares rows, heads and pieces: by their numbers, which costs nothing, and one by one where these differ or are small.
 * Rejects with {@link DamagedRequests}.
 */
export async function checkWhole(tables: Tables, expected: Expected): Promise<void> {
  const { heads, packed, packs } = expected.counted;
  const pieces = tables.file.entries('body');
  const fits = heads === expected.heads && tables.file.entries('head') === heads - packed && tables.file.entries('heads') === packs;
  if (fits && expected.orphans.size === 0 && pieces === expected.counted.pieces && heads > ALWAYS_READ) return;
  const faults = await compare(tables, await expected.sequences(), expected.orphans);
  if (faults.length > 0) throw new DamagedRequests(faults);
}

async function compare(tables: Tables, rows: Set<number>, orphans: ReadonlySet<number>): Promise<readonly string[]> {
  const faults: string[] = [];
  const bodies = new Map<number, number>();
  const look = (sequence: number, read: () => Pick<Entry, 'record' | 'bytes'> | undefined): void => {
    if (!rows.delete(sequence)) faults.push(`head ${sequence} has no row`);
    const entry = read();
    if (entry === undefined) return;
    const { place } = decoded(entry, decodeHead);
    if (place.pieces > 0) bodies.set(place.body, place.pieces);
  };
  for await (const keys of keySlices(tables, 'head')) {
    for (const key of keys) named(faults, () => look(numberIn(key, 0), () => tables.get('head', key)));
  }
  for await (const keys of keySlices(tables, 'heads')) {
    for (const key of keys) {
      named(faults, () => {
        const [pack] = tables.packs('heads', key, 1);
        for (const { sequence, bytes } of pack?.values() ?? []) look(sequence, () => ({ record: `head ${sequence}`, bytes }));
      });
    }
  }
  for (const sequence of [...rows].sort((a, b) => a - b)) faults.push(`the row of request ${sequence} has no head`);
  // Whether a damaged head has a body is not known.
  if (faults.length > 0) return faults;
  const found = new Map<number, number>();
  for await (const keys of keySlices(tables, 'body')) {
    for (const key of keys) {
      const body = numberIn(key, 0);
      if (!bodies.has(body) && !orphans.has(body)) faults.push(`piece ${numberIn(key, 1)} of body ${body} has no row`);
      found.set(body, (found.get(body) ?? 0) + 1);
    }
  }
  for (const [body, pieces] of bodies) {
    if (found.get(body) !== pieces) faults.push(`body ${body} has ${found.get(body) ?? 0} of its ${pieces} pieces`);
  }
  return faults;
}

/** What is damaged is named, and the rest looked at. */
function named(faults: string[], look: () => void): void {
  try {
    look();
  } catch (cause) {
    if (!(cause instanceof CorruptRecord)) throw cause;
    faults.push(`${cause.record} does not fit its checksum`);
  }
}

async function* keySlices(tables: Tables, table: 'head' | 'heads' | 'body'): AsyncIterable<readonly Uint8Array[]> {
  for (let from: Uint8Array = Buffer.alloc(0); ; ) {
    const keys = tables.keys(table, from, undefined, SLICE);
    if (keys.length > 0) yield keys;
    const last = keys.at(-1);
    if (last === undefined || keys.length < SLICE) return;
    from = Buffer.concat([last, Buffer.of(0)]);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
