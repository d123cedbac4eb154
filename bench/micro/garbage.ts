/**
 * Garbage of admission: GC microseconds a request by the number of groups, each group a tree of its own with a slot that is always
 * free. What a long-lived object of a tree still refers to after a request is copied by scavenges and promoted, so that this
 * figure grows with the groups. `node bench/micro/garbage.ts`
 */
import { spawnSync } from 'node:child_process';
import { PerformanceObserver, performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type AdmissionRequest, type GroupSettings, NO_HANDLE } from '../../src/admission/admission.ts';
import { LocalAdmission } from '../../src/admission/local-admission.ts';
import { MemoryRegisters } from '../../src/coordination/registers/memory.ts';
import { openSingleNodeCoordinator } from '../../src/coordination/single-node.ts';
import { Gate } from '../../src/core/gate/gate.ts';
import { ONE_REQUEST } from '../../src/core/group.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { createLedger } from '../../src/ledger/log-ledger.ts';
import { MemoryStore } from '../../src/ledger/stores/memory.ts';
import { createRandom } from '../../src/platform/random.ts';
import { createSystemClock } from '../../src/platform/system-clock.ts';
import { short, spread, table, threadMs } from '../lib/figures.ts';
import { progress } from '../lib/pinned.ts';

const WARM = 100_000;
const REQUESTS = 400_000;
/** Requests in one turn of the event loop, each with a state that its answer ends. */
const TOGETHER = 64;
const STATE_WORDS = 100;
const GROUPS: readonly number[] = [1, 1_000, 10_000];

/** What one run came to, in microseconds a request. */
interface Run {
  readonly gcMicros: number;
  readonly cpuMicros: number;
}

const clock = createSystemClock({ sources: { monotonic: process.hrtime.bigint, wall: Date.now, boot: '' }, record: undefined, unref: true });

function settingsOf(name: string): GroupSettings {
  return {
    spec: {
      name,
      limits: [{ name: 'rate', unit: 'requests', scope: 'group', keys: new Map(), quota: { kind: 'rate', permits: 1e6, per: SECOND, burst: 1e6 } }],
      parent: undefined,
      enforce: true,
      settleMax: 10,
      backlog: { requests: 1_000, bytes: 1e9, perKey: 1_000, keys: 1_000, wait: undefined, onFull: 'leastUrgent' },
      aging: undefined,
      fairness: { by: 'key', weights: new Map() },
    },
    wait: { default: MINUTE, max: MINUTE },
    lease: { default: MINUTE, max: MINUTE },
    priority: { classes: new Map(), default: 0 },
    pushback: { scope: 'key', max: MINUTE },
    costs: new Map(),
    refusal: undefined,
    unreachable: 'closed',
  };
}

async function open(groups: number): Promise<LocalAdmission> {
  const coordinator = await openSingleNodeCoordinator({ registers: new MemoryRegisters(), clock, session: 'bench' });
  const place = coordinator.place('');
  if (place.at !== 'here') throw new Error('the term was lost');
  const { term, from } = place.leaderLease;
  const admission = new LocalAdmission({
    clock,
    coordinator,
    ledger: createLedger({ store: new MemoryStore({ bytes: 1e9 }), clock, term, from }),
    settings: Array.from({ length: groups }, (_, at) => settingsOf(`g${at}`)),
    onGateEvent: () => {},
    onEvent: () => {},
    random: createRandom(),
    bounds: { before: 10_000, requests: 1_000, sessions: 1_000, settled: 1_000 },
    gate: (parts) => new Gate(parts),
    recording: false,
    defer: (run) => void setImmediate(run),
  });
  await admission.start();
  return admission;
}

/** Sends `count` requests over all groups in turn; returns how many were admitted. */
async function send(admission: LocalAdmission, groups: number, count: number): Promise<number> {
  let admitted = 0;
  for (let at = 0; at < count; at++) {
    // As much as a call of a front end has hanging on its callback.
    const state = { words: new Array<number>(STATE_WORDS).fill(at), held: NO_HANDLE };
    const ask: AdmissionRequest = {
      group: `g${at % groups}`,
      key: '',
      priority: undefined,
      priorityClass: undefined,
      costs: ONE_REQUEST,
      wait: SECOND,
      lease: undefined,
      holder: '',
      requestId: undefined,
      caller: '',
      session: undefined,
      bytes: 0,
    };
    state.held = admission.acquire(ask, (outcome) => {
      if (outcome.kind === 'admitted' && state.words.length === STATE_WORDS) admitted++;
    });
    state.held.delivered();
    if (at % TOGETHER === 0) await nextTurn();
  }
  return admitted;
}

async function runOf(groups: number): Promise<Run> {
  const admission = await open(groups);
  const until = performance.now() + 2_500;
  // The horizon of the rates (1 s) has to pass first.
  while (performance.now() < until) await send(admission, groups, WARM / 10);
  await send(admission, groups, WARM);
  let gcMs = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) gcMs += duration;
  });
  await nextTurn();
  observer.observe({ entryTypes: ['gc'] });
  const began = threadMs();
  const admitted = await send(admission, groups, REQUESTS);
  const cpuMs = threadMs() - began;
  await nextTurn();
  observer.disconnect();
  if (admitted !== REQUESTS) throw new Error(`only ${admitted} of ${REQUESTS} were admitted`);
  return { gcMicros: (gcMs / REQUESTS) * 1_000, cpuMicros: (cpuMs / REQUESTS) * 1_000 };
}

/** Each number of groups in processes of their own, in turn; a table in Markdown. */
export function garbageTable(rounds: number): string {
  const found = new Map<number, Run[]>(GROUPS.map((groups) => [groups, []]));
  for (let round = 0; round < rounds; round++) {
    for (const groups of GROUPS) {
      const { stdout, stderr, status } = spawnSync(process.execPath, ['--single-threaded-gc', import.meta.filename, 'one', String(groups)], {
        encoding: 'utf8',
      });
      if (status !== 0) throw new Error(`${groups} groups: ${stderr}`);
      const run = JSON.parse(stdout) as Run;
      found.get(groups)?.push(run);
      progress(`  round ${round + 1}/${rounds} ${groups} groups: GC ${short(run.gcMicros)} us, CPU ${short(run.cpuMicros)} us a request`);
    }
  }
  return table(
    ['groups', 'GC us/request, median (range)', 'CPU us/request, median (range)'],
    [...found].map(([groups, runs]) => {
      const [gc, cpu] = [spread(runs.map(({ gcMicros }) => gcMicros)), spread(runs.map(({ cpuMicros }) => cpuMicros))];
      const shown = ({ median, least, most }: typeof gc): string => `${short(median)} (${short(least)}-${short(most)})`;
      return [String(groups), shown(gc), shown(cpu)];
    }),
  );
}

if (process.argv[2] === 'one' && process.argv[1] === import.meta.filename) process.stdout.write(JSON.stringify(await runOf(Number(process.argv[3]))));
