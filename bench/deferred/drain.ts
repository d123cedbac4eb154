/**
 * A whole life in the store of LMDB: requests of 1 kB are accepted from 256 callers, then drained (load, arm, end each) by 256 attempts at once and by
 * 1,024, and swept away. A request waits for one commit to be accepted and for two, one after the other, to be drained: with as many at once it
 * can drain half as fast as it accepts. How fast each is beside accepting in the same round.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatchedStore } from '../../src/deferred/batched-store.ts';
import { type LmdbDeferredStore, openLmdbDeferred } from '../../src/deferred/stores/lmdb.ts';
import { median, short, spread, table } from '../lib/figures.ts';
import { progress } from '../lib/pinned.ts';
import { endWrite, submitWrite } from './requests.ts';

const REQUESTS = 20_000;
const ACCEPTED_AT_ONCE = 256;
const DRAINED_AT_ONCE = [256, 1_024];
const BODY = new Uint8Array(1_000).fill(65);

interface Phase {
  readonly perSecond: number;
  readonly cpuMicros: number;
}

/** Figures as Markdown. */
export async function drainTable({ rounds }: { readonly rounds: number }): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const store = await openLmdbDeferred(folder, { holder: { pid: process.pid, address: '' }, takeOver: false }, { bytesMax: 2 ** 40 });
  await store.open(
    () => {},
    () => {},
  );
  const found = new Map<string, { readonly phase: Phase; readonly accepted: number }[]>();
  try {
    const life = new Life(store);
    for (let round = 0; round <= rounds; round++) {
      for (const atOnce of DRAINED_AT_ONCE) {
        const phases = await life.round(atOnce);
        progress(`  ${[...phases].map(([name, { perSecond, cpuMicros }]) => `${name}: ${Math.round(perSecond)}/s, ${short(cpuMicros)} us`).join('; ')}`);
        // The first one warms up.
        if (round === 0) continue;
        const accepted = phases.get('accepted, 256 at once')?.perSecond ?? Number.NaN;
        for (const [name, phase] of phases) found.set(name, [...(found.get(name) ?? []), { phase, accepted }]);
      }
    }
  } finally {
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  }
  const rows = [...found].map(([name, all]) => {
    const ratio = spread(all.map(({ phase, accepted }) => phase.perSecond / accepted));
    const beside = `${short(ratio.median)} (${short(ratio.low)}-${short(ratio.high)}; ${short(ratio.least)}-${short(ratio.most)})`;
    return [name, String(Math.round(median(all.map(({ phase }) => phase.perSecond)))), beside, short(median(all.map(({ phase }) => phase.cpuMicros)))];
  });
  return table(['LMDB store', 'a second', 'beside accepted (95 %; range)', 'CPU us, all threads'], rows);
}

/** Requests of a store, round after round. */
class Life {
  readonly #store: LmdbDeferredStore;
  readonly #batched: BatchedStore;
  #next = 1;

  constructor(store: LmdbDeferredStore) {
    this.#store = store;
    this.#batched = new BatchedStore(store);
  }

  async round(atOnce: number): Promise<ReadonlyMap<string, Phase>> {
    const from = this.#next;
    this.#next += REQUESTS;
    const accepted = await timed(() => each(from, ACCEPTED_AT_ONCE, (sequence) => this.#batched.write(submitWrite(sequence, BODY))));
    const drained = await timed(() => each(from, atOnce, (sequence) => this.#drain(sequence)));
    const swept = await timed(async () => {
      for (let more = true; more; ) more = await this.#store.sweep(0);
    });
    return new Map([
      ['accepted, 256 at once', accepted],
      [`drained, ${atOnce} at once`, drained],
      ['swept', swept],
    ]);
  }

  async #drain(sequence: number): Promise<void> {
    await this.#store.load(sequence);
    await this.#batched.write({ kind: 'arm', flight: { sequence, attempt: 1 } });
    await this.#batched.write(endWrite(sequence));
  }
}

async function timed(work: () => Promise<void>): Promise<Phase> {
  const cpu = process.cpuUsage();
  const began = performance.now();
  await work();
  const perSecond = (REQUESTS / (performance.now() - began)) * 1_000;
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond, cpuMicros: (user + system) / REQUESTS };
}

/** Does it for each request, so many at once. */
async function each(from: number, atOnce: number, work: (sequence: number) => Promise<unknown>): Promise<void> {
  let at = from;
  const worker = async (): Promise<void> => {
    while (at < from + REQUESTS) await work(at++);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
