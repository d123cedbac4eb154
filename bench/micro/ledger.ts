/**
 * Durable writes a second on this machine's disk: appends of one lease each to one tree's ledger over LMDB, one by one and
 * with many in flight. `node bench/micro/ledger.ts`
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Instant } from '../../src/core/time.ts';
import type { LedgerRecord, TreeLedger } from '../../src/ledger/ledger.ts';
import { createLedger } from '../../src/ledger/log-ledger.ts';
import { LmdbStore } from '../../src/ledger/stores/lmdb.ts';
import { LmdbFile } from '../../src/storage/lmdb.ts';

/** What one run found. */
export interface AppendRates {
  readonly inFlight: number;
  readonly trees: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of this process, in microseconds for each append. */
  readonly cpuMicros: number;
}

function lease(serial: number): LedgerRecord {
  const at = 1_800_000_000_000_000 as Instant;
  return {
    kind: 'grant',
    lease: {
      group: 'llm',
      key: `tenant-${serial % 100}`,
      term: 1n,
      serial,
      tag: { high: serial, low: 7 },
      costs: { requests: 1 },
      grantedAt: at,
      expiresAt: at,
      duration: 30_000_000,
      holder: 'bench',
      aggregate: false,
    },
  };
}

/** `appends` in all, from `inFlight` callers who each wait for theirs, over `trees` chains. */
export async function appendRates(inFlight: number, appends: number, trees = 1): Promise<AppendRates> {
  const path = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const file = new LmdbFile(path);
  const ledger = createLedger({ store: new LmdbStore(file, { bytes: 1e10 }), clock: { now: () => 0 as Instant, at: () => () => {} }, term: 1n });
  const opened = await Promise.all(Array.from({ length: trees }, (_, index) => ledger.tree(`tree-${index}`)));
  const took: number[] = [];
  let left = appends;
  const caller = async (tree: TreeLedger): Promise<void> => {
    while (left-- > 0) {
      const began = performance.now();
      await tree.append([lease(left)]);
      took.push(performance.now() - began);
    }
  };
  const cpu = process.cpuUsage();
  const began = performance.now();
  await Promise.all(Array.from({ length: inFlight }, (_, index) => caller(opened[index % trees] as TreeLedger)));
  const seconds = (performance.now() - began) / 1_000;
  const { user, system } = process.cpuUsage(cpu);
  await ledger.close();
  await file.close();
  rmSync(path, { recursive: true });
  took.sort((a, b) => a - b);
  const at = (part: number): number => Number((took[Math.floor(took.length * part)] ?? 0).toFixed(2));
  return { inFlight, trees, perSecond: Math.round(appends / seconds), p50Ms: at(0.5), p99Ms: at(0.99), cpuMicros: Math.round((user + system) / appends) };
}

if (import.meta.main) {
  for (const [inFlight, appends, trees] of [
    [1, 2_000, 1],
    [100, 40_000, 1],
    [1_000, 200_000, 1],
    [1_000, 200_000, 64],
  ] as const) {
    process.stdout.write(`${JSON.stringify(await appendRates(inFlight, appends, trees))}\n`);
  }
}
