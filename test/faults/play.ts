import { setTimeout as wait } from 'node:timers/promises';
import type { NatsBinary } from '../support/fakes/nats-binary.ts';
import { seeded } from '../support/seeded.ts';
import { Callers, monotonic } from './callers.ts';
import { judge, type Verdict } from './checker.ts';
import type { FaultKind } from './fault-kinds.ts';
import { Fleet } from './fleet.ts';
import { GROUPS, GROUPS_YAML } from './groups.ts';
import { type HistoryLine, parseHistory } from './history.ts';
import { NatsWatch } from './nats-watch.ts';
import { Nemesis } from './nemesis.ts';
import { Probes } from './probes.ts';
import { watchLags, watchStalls } from './stalls.ts';

/** What is played. */
export interface PlayOptions {
  readonly binary: Pick<NatsBinary, 'path'>;
  readonly faults: number;
  readonly seed: number;
  readonly nats: 1 | 3;
  readonly kinds: readonly FaultKind[];
  /** The file that replicas run in the place of `src/main.ts`: they are broken on purpose. */
  readonly main?: string | undefined;
  readonly faketime?: string | undefined;
  /** A folder for the replicas' logs. */
  readonly logs?: string | undefined;
  /** Callers who wait in each group at once; default 12. */
  readonly eachGroup?: number;
  /** How long callers wait; default 20 s. */
  readonly ttlMs?: number;
  /** How much of the usual quiet there is after each fault; default 1, all. */
  readonly quiet?: number;
  readonly write?: ((line: HistoryLine) => void) | undefined;
  readonly say?: (text: string) => void;
  /** Aborted: no more faults are begun. */
  readonly signal?: AbortSignal;
  /** After this no more faults are begun, and the run failed; default 20 s for each, and a minute. */
  readonly msMax?: number;
}

/** Where wall clocks can be set, they differ from the start, in seconds. */
const WALLS = [0, 600, -600];

/** What came of it. */
export interface PlayReport extends Verdict {
  /** Faults that were begun before time was over. */
  readonly begun: number;
}

/** Starts a fleet, lets callers ask, hurts it, lets it heal, and judges what the callers saw. */
export async function play(parts: PlayOptions): Promise<PlayReport> {
  const { binary, faults, seed, nats, kinds, main, faketime, logs, eachGroup = 12, ttlMs = 20_000, quiet = 1, say = () => {} } = parts;
  const lines: string[] = [];
  let asks = 0;
  const write = (line: HistoryLine): void => {
    lines.push(JSON.stringify(line));
    if (line.op === 'ask') asks++;
    parts.write?.(line);
  };
  write({ op: 'groups', groups: GROUPS });
  const fleet = await Fleet.start({ binary, nats, replicas: 3, groups: GROUPS_YAML, main, faketime, walls: WALLS, logs });
  const urls = fleet.replicas.map(({ url }) => url);
  const callers = new Callers({ urls, groups: GROUPS, write, random: seeded(seed + 1), eachGroup, ttlMs });
  const probes = new Probes({ urls, write });
  const stalls = watchStalls(write);
  const lags = watchLags(
    fleet.replicas.map(({ healthPort }) => `http://127.0.0.1:${healthPort}`),
    write,
  );
  const deadline = AbortSignal.timeout(parts.msMax ?? 60_000 + faults * 20_000);
  const signal = AbortSignal.any([deadline, ...(parts.signal === undefined ? [] : [parts.signal])]);
  let watch: NatsWatch | undefined;
  let begun = 0;
  try {
    await fleet.decided(GROUPS.map(({ name }) => name));
    watch = await NatsWatch.open(fleet.nats);
    callers.start();
    await wait(2_000);
    const start = monotonic();
    const progress = (count: number, kind: FaultKind, target: string): void => {
      begun++;
      say(`${((monotonic() - start) / 1e6).toFixed(1).padStart(6)} s  fault ${count} of ${faults}: ${kind} ${target}; ${asks} asks answered`);
    };
    await new Nemesis({ fleet, watch, probes, walls: faketime !== undefined, write, random: seeded(seed), kinds, progress, quiet, signal }).run(faults);
    await Promise.all([callers.stop(), probes.settled()]);
  } finally {
    await Promise.all([stalls.close(), lags.close(), probes.close(), watch?.close(), fleet.clean()]);
  }
  return { ...judge(parseHistory(lines.join('\n'))), begun };
}
