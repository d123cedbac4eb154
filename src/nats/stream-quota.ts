import type { StreamClient } from './stream-client.ts';

/** Age at which the known size of a stream is requested again. */
const FRESH_MS = 2000;

interface Known {
  bytes: number;
  bytesMax: number;
  /** When it was requested, on the clock of `performance.now`. */
  at: number;
  /** Written, or about to be, since it was requested. */
  since: number;
  asking: Promise<void> | undefined;
}

/**
 * How full the streams of a log are, as far as one of several writers can know: what the servers reported last, and what this
 * process has written since. The bound that no writer passes is the server's own (`max_bytes`, discard new).
 */
export class StreamQuota {
  readonly #records: Pick<StreamClient, 'size'>;
  readonly #streams: ReadonlyMap<string, Known>;
  readonly #bytes: number;
  readonly #relief: number;

  /** `bytes`: over all streams; `relief`: beyond them, for what makes room. */
  constructor(deps: { readonly records: Pick<StreamClient, 'size'>; readonly streams: readonly string[]; readonly bytes: number; readonly relief: number }) {
    this.#records = deps.records;
    const unknown = (): Known => ({ bytes: 0, bytesMax: Number.POSITIVE_INFINITY, at: Number.NEGATIVE_INFINITY, since: 0, asking: undefined });
    this.#streams = new Map(deps.streams.map((stream) => [stream, unknown()]));
    this.#bytes = deps.bytes;
    this.#relief = deps.relief;
  }

  /** Takes room for a record, if there is some. A ninth of each stream is left to `relief`. */
  async take(stream: string, size: number, relief: boolean): Promise<boolean> {
    const known = this.#streams.get(stream);
    if (known === undefined) throw new RangeError(`${stream} is not a stream of this log.`);
    if (!this.#fits(known, size, relief)) await Promise.all([...this.#streams.keys()].map((each) => this.#ask(each)));
    else if (performance.now() - known.at > FRESH_MS) void this.#ask(stream);
    if (!this.#fits(known, size, relief)) return false;
    known.since += size;
    return true;
  }

  /** What is known no longer holds: something was purged, or may or may not have been written. */
  changed(stream: string): void {
    const known = this.#streams.get(stream);
    if (known !== undefined) known.at = Number.NEGATIVE_INFINITY;
  }

  /** Whether a record of this size would find room; takes none. */
  has(stream: string, size: number): boolean {
    const known = this.#streams.get(stream);
    return known === undefined || this.#fits(known, size, false);
  }

  /** How full a stream is, as far as it is known. */
  known(stream: string): { readonly bytes: number; readonly bytesMax: number } {
    const { bytes, since, bytesMax } = this.#streams.get(stream) ?? { bytes: 0, since: 0, bytesMax: 0 };
    return { bytes: bytes + since, bytesMax };
  }

  /** Requests how full a stream is, unless that is known. */
  async refresh(stream: string): Promise<void> {
    await this.#ask(stream);
  }

  #fits(known: Known, size: number, relief: boolean): boolean {
    let sum = size;
    for (const each of this.#streams.values()) sum += each.bytes + each.since;
    if (sum > this.#bytes + (relief ? this.#relief : 0)) return false;
    return relief || known.bytes + known.since + size <= (known.bytesMax * 8) / 9;
  }

  /** Requests the sizes if they may have changed. A failure changes nothing. */
  #ask(stream: string): Promise<void> {
    const known = this.#streams.get(stream);
    if (known === undefined) return Promise.resolve();
    if (known.asking === undefined && performance.now() - known.at <= FRESH_MS) return Promise.resolve();
    known.asking ??= this.#askNow(stream, known).finally(() => {
      known.asking = undefined;
    });
    return known.asking;
  }

  async #askNow(stream: string, known: Known): Promise<void> {
    known.at = performance.now();
    const before = known.since;
    try {
      const { bytes, bytesMax } = await this.#records.size(stream);
      known.bytes = bytes;
      known.bytesMax = bytesMax;
      known.since -= before;
    } catch {
      known.at = Number.NEGATIVE_INFINITY;
    }
  }
}
