import type { NatsBinary } from '../fakes/nats-binary.ts';
import { Callers, monotonic } from './callers.ts';
import { judge } from './checker.ts';
import { type FaultKind, NATS_FAULTS, REPLICA_FAULTS } from './fault-kinds.ts';
import { Fleet } from './fleet.ts';
import { GROUPS, GROUPS_YAML } from './groups.ts';
import type { HistoryLine } from './history.ts';
import { Nemesis } from './nemesis.ts';

/** What is played. */
export interface PlayParts {
  readonly binary: Pick<NatsBinary, 'path'>;
  readonly faults: number;
  readonly seed: number;
  readonly nats: 1 | 3;
  readonly only: 'all' | 'replica' | 'nats';
  readonly kinds?: readonly string[] | undefined;
  readonly write?: ((line: HistoryLine) => void) | undefined;
  readonly say: (text: string) => void;
}

/** What came of it. */
export interface PlayReport {
  /** Each a sentence; empty: all that was promised was kept. */
  readonly failures: readonly string[];
  readonly text: readonly string[];
  readonly lines: readonly HistoryLine[];
}

const EACH_GROUP = 12;
const TTL_MS = 20_000;

/** Starts a fleet, lets callers ask, hurts it, lets it heal, and judges. */
export async function play(parts: PlayParts): Promise<PlayReport> {
  const lines: HistoryLine[] = [];
  const write = (line: HistoryLine): void => {
    lines.push(line);
    parts.write?.(line);
  };
  const random = dice(parts.seed);
  const fleet = await Fleet.start({ binary: parts.binary, nats: parts.nats, replicas: 3, groups: GROUPS_YAML });
  const callers = new Callers({
    urls: fleet.replicas.map(({ url }) => url),
    groups: GROUPS,
    write,
    random: dice(parts.seed + 1),
    eachGroup: EACH_GROUP,
    ttlMs: TTL_MS,
  });
  try {
    await fleet.decided(GROUPS.map(({ name }) => name));
    callers.start();
    await sleep(2_000);
    const start = monotonic();
    const progress = (count: number, kind: FaultKind, target: string): void =>
      parts.say(`${((monotonic() - start) / 1e6).toFixed(1).padStart(6)} s  fault ${count} of ${parts.faults}: ${kind} ${target}; ${lines.length} lines`);
    const nemesis = new Nemesis({ fleet, write, random, kinds: kindsOf(parts), progress });
    await nemesis.run(parts.faults);
    await sleep(3_000);
    await callers.stop();
    return report(lines, parts);
  } finally {
    await fleet.clean();
  }
}

function kindsOf({ only, nats, kinds }: PlayParts): readonly FaultKind[] {
  if (kinds !== undefined) return kinds as readonly FaultKind[];
  const ofNats = NATS_FAULTS.filter((kind) => nats === 3 || kind !== 'nats-leader');
  return only === 'replica' ? REPLICA_FAULTS : only === 'nats' ? ofNats : [...REPLICA_FAULTS, ...ofNats];
}

function report(lines: readonly HistoryLine[], { only }: PlayParts): PlayReport {
  const verdict = judge(GROUPS, lines);
  const failures = [...verdict.violations, ...verdict.inversions];
  const gaps = [...verdict.gaps].map(([name, gap]) => `${name} ${(gap / 1e6).toFixed(2)}`);
  const text = [
    `${verdict.faults} faults, ${verdict.admitted} admitted, ${verdict.refused} refused, ${verdict.unknown} unknown`,
    `longest gaps in seconds (${only}): ${gaps.join(', ')}`,
    ...failures.slice(0, 20).map((failure) => `FAILED ${failure}`),
    failures.length === 0 ? 'nothing was over, doubled or out of line' : `${failures.length} failures`,
  ];
  return { failures, text, lines };
}

/** mulberry32: the same numbers for the same seed. */
function dice(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}
