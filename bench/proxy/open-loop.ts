/**
 * The load of the forwarding benches as an open loop: each request is due at an instant of its own, whether or not those before
 * it are answered, and its latency counts from then. Between two it sleeps in the kernel, for timers of whole milliseconds would
 * send in bursts; what comes in meanwhile is seen up to a tenth of a millisecond late, on every way alike.
 * `node bench/proxy/open-loop.ts PLAN` (JSON of `Plan`); answers JSON of `PhaseFigures[]`.
 */
import { performance } from 'node:perf_hooks';
import { quantile } from '../lib/figures.ts';
import { Connection } from './open-loop-connection.ts';
import type { Latencies, Phase, PhaseFigures, Plan } from './plan.ts';

const plan = JSON.parse(process.argv[2] ?? '') as Plan;
const request = Buffer.concat([
  Buffer.from(
    `POST ${plan.path} HTTP/1.1\r\nHost: 127.0.0.1:${plan.port}\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\nContent-Type: application/octet-stream\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\nContent-Length: ${plan.bytes}\r\n\r\n`,
  ),
  Buffer.alloc(plan.bytes, 'x'),
]);
/** After the last request, for its answer. */
const LAST_MS = 3_000;
const BIN_MS = 100;
/** Of one sleep, at most; the kernel adds 0.05. */
const SLEEP_MS = 0.05;
const never = new Int32Array(new SharedArrayBuffer(4));

/** What is known of one request. */
interface Sent {
  readonly due: number;
  readonly sent: number;
  done: number;
  /** -1: not answered; 0: broken; -2: not sent. */
  status: number;
  retryAfter: boolean;
}

const all: Sent[][] = plan.phases.map(() => []);
const began: number[] = [];
const free: Connection[] = [];
let open = 0;

function connection(kept: boolean): Connection {
  open++;
  return new Connection(
    plan.port,
    (each) => (kept ? free.push(each) : each.end()),
    () => {
      open--;
    },
  );
}

function send(phase: number, due: number, kept = true): void {
  const each: Sent = { due, sent: performance.now(), done: 0, status: -1, retryAfter: false };
  all[phase]?.push(each);
  let by = kept ? free.shift() : undefined;
  while (by?.gone === true) by = free.shift();
  if (by === undefined && open >= plan.connectionsMax) each.status = -2;
  else {
    (by ?? connection(kept)).ask(request, (status, retryAfter) => {
      each.done = performance.now();
      each.status = status;
      each.retryAfter = retryAfter;
    });
  }
}

/** Sends what a phase asks for, each at its instant. */
function runPhase(at: number, { perSecond, seconds, storm }: Phase): Promise<void> {
  const start = performance.now();
  began.push(Date.now());
  const count = Math.round(perSecond * seconds);
  let next = 0;
  let storms = 0;
  return new Promise((done) => {
    const turn = (): void => {
      const now = performance.now();
      while (storm > 0 && storms < seconds && start + storms * 1_000 <= now) {
        for (let each = 0; each < storm; each++) send(at, start + storms * 1_000, false);
        storms++;
      }
      for (let due = start + (next * 1_000) / perSecond; next < count && due <= now; due = start + (next * 1_000) / perSecond) {
        send(at, due);
        next++;
      }
      if (now - start >= seconds * 1_000) return done();
      const idle = next < count ? start + (next * 1_000) / perSecond - performance.now() : 1;
      if (idle > 0) Atomics.wait(never, 0, 0, Math.min(idle, SLEEP_MS));
      setImmediate(turn);
    };
    turn();
  });
}

function latencies(figures: readonly number[]): Latencies {
  return { p50: quantile(figures, 0.5), p99: quantile(figures, 0.99), p999: quantile(figures, 0.999), most: quantile(figures, 1) };
}

function isGood({ status, due, done }: Sent): boolean {
  return status >= 200 && status < 300 && done - due <= plan.waitTimeoutMs;
}

function figuresOf(at: number, { name }: Phase): PhaseFigures {
  const sent = all[at] ?? [];
  const good = sent.filter(isGood);
  const shed = sent.filter(({ status }) => status === 429 || status === 503);
  const others: Record<string, number> = {};
  for (const each of sent) {
    const { status } = each;
    if (isGood(each) || status === 429 || status === 503) continue;
    const what = status === -2 ? 'not sent' : status === -1 ? 'no answer' : status === 0 ? 'broken' : status < 300 ? 'too late' : String(status);
    others[what] = (others[what] ?? 0) + 1;
  }
  return {
    name,
    due: sent.length,
    good: good.length,
    goodMs: latencies(good.map(({ due, done }) => done - due)),
    shed: shed.length,
    shedMs: latencies(shed.map(({ due, done }) => done - due)),
    shedWithoutRetryAfter: shed.filter(({ retryAfter }) => !retryAfter).length,
    others,
    lateMs: latencies(sent.map((each) => each.sent - each.due)),
    began: began[at] ?? 0,
    ended: began[at + 1] ?? Date.now(),
    wellAfterMs: wellAfter(sent),
  };
}

/** See `PhaseFigures.wellAfterMs`. */
function wellAfter(sent: readonly Sent[]): number | undefined {
  const slow =
    2 *
      quantile(
        (all[plan.phases.findIndex(({ name }) => name === 'before')] ?? []).filter(isGood).map(({ due, done }) => done - due),
        0.99,
      ) +
    10;
  const start = sent[0]?.due ?? 0;
  const bins: { all: number; well: number }[] = [];
  for (const each of sent) {
    const at = Math.floor((each.due - start) / BIN_MS);
    bins[at] ??= { all: 0, well: 0 };
    const bin = bins[at];
    bin.all++;
    if (isGood(each) && each.done - each.due <= slow) bin.well++;
  }
  const fine = bins.map((bin) => bin.well >= 0.99 * bin.all);
  const found = fine.findIndex((_, at) => fine[at] && fine[at + 1] && fine[at + 2]);
  return found < 0 ? undefined : found * BIN_MS;
}

for (let each = 0; each < plan.connections; each++) connection(true);
await new Promise((done) => void setTimeout(done, 300));
for (const [at, phase] of plan.phases.entries()) await runPhase(at, phase);
const ended = performance.now();
while (performance.now() - ended < LAST_MS && all.some((sent) => sent.some(({ status }) => status === -1)))
  await new Promise((done) => void setTimeout(done, 50));
process.stdout.write(`${JSON.stringify(plan.phases.map((phase, at) => figuresOf(at, phase)))}\n`, () => process.exit(0));
