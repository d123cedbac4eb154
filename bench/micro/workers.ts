/**
 * What `server.workers` would cost: a front end in a thread of its own asks the thread of the gates over rings of shared memory, and gets its answers
 * that way. Processor time of both threads a request, beside a call in one thread; and a plain HTTP server whose front ends are 0, 1 or 2 threads that share
 * its port by SO_REUSEPORT. `node bench/micro/workers.ts` (decision 0042)
 */
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { isMainThread, type MessagePort, parentPort, Worker, workerData } from 'node:worker_threads';
import { Gate } from '../../src/core/gate/gate.ts';
import { type GroupSpec, ONE_REQUEST } from '../../src/core/group.ts';
import { DISTANT_PAST, type Instant, SECOND } from '../../src/core/time.ts';
import { short, spread, table } from '../lib/figures.ts';
import { cpuSeconds, freePort, LOAD_CPU, pinned, progress, runPinned } from '../lib/pinned.ts';

const WINDOWS = [1, 16, 64, 256];
const ROUND_TRIPS = 400_000;
const SLOTS = 4_096;
const SLOT_WORDS = 16;
const KEY_BYTES = 48;
/** Words of a ring before its slots: the next to write, the next to read, and whether its reader waits to be woken. */
const [HEAD, TAIL, IDLE, WORDS] = [0, 1, 2, 16] as const;

/** A ring of records of 64 bytes from one thread to another: id, group or outcome, and a key. */
class Ring {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(shared = new SharedArrayBuffer((WORDS + SLOTS * SLOT_WORDS) * 4)) {
    this.shared = shared;
    this.#words = new Int32Array(shared);
    this.#bytes = new Uint8Array(shared);
  }

  push(id: number, value: number, key: string): void {
    const head = this.#words[HEAD] as number;
    while (head - Atomics.load(this.#words, TAIL) >= SLOTS);
    const at = WORDS + (head % SLOTS) * SLOT_WORDS;
    this.#words[at] = id;
    this.#words[at + 1] = value;
    const length = Math.min(key.length, KEY_BYTES);
    this.#words[at + 2] = length;
    for (let i = 0; i < length; i++) this.#bytes[(at + 3) * 4 + i] = key.charCodeAt(i);
    Atomics.store(this.#words, HEAD, head + 1);
  }

  /** Whether its reader has to be woken for what was pushed. */
  wakes(): boolean {
    return Atomics.load(this.#words, IDLE) === 1 && Atomics.exchange(this.#words, IDLE, 0) === 1;
  }

  /** Hands over all there is; the reader then waits to be woken. */
  drain(take: (id: number, value: number, key: string) => void): void {
    for (;;) {
      let tail = this.#words[TAIL] as number;
      for (const head = Atomics.load(this.#words, HEAD); tail < head; tail++) {
        const at = WORDS + (tail % SLOTS) * SLOT_WORDS;
        const length = this.#words[at + 2] as number;
        let key = '';
        for (let i = 0; i < length; i++) key += String.fromCharCode(this.#bytes[(at + 3) * 4 + i] as number);
        take(this.#words[at] as number, this.#words[at + 1] as number, key);
      }
      Atomics.store(this.#words, TAIL, tail);
      Atomics.store(this.#words, IDLE, 1);
      if (Atomics.load(this.#words, HEAD) === tail) return;
      Atomics.store(this.#words, IDLE, 0);
    }
  }
}

function makeGate(): (group: number, key: string) => number {
  const rate = {
    name: 'rate',
    unit: 'requests',
    scope: 'group',
    keys: new Map(),
    quota: { kind: 'rate', permits: 1_000_000, per: SECOND, burst: 1_000_000 },
  } as const;
  const backlog = { requests: 1_000, bytes: 1e9, perKey: 1_000, keys: 1_000, wait: undefined, onFull: 'leastUrgent' as const };
  const spec = {
    limits: [rate],
    parent: undefined,
    enforce: true,
    settleMax: 10,
    backlog,
    aging: undefined,
    fairness: { by: 'key', weights: new Map() },
  } as const;
  const gates = Array.from({ length: 100 }, (_, index) => {
    const groups: readonly GroupSpec[] = [{ name: `g${index}`, ...spec }];
    return new Gate({ term: 1n, groups, from: DISTANT_PAST, recording: false, restored: undefined });
  });
  const tag = { high: 1, low: 2 };
  return (group, key) => {
    const now = Math.round(performance.now() * 1_000 + 1e15) as Instant;
    const gate = gates[group] as Gate;
    gate.acquire(now, { group: 0, key, priority: 999, costs: ONE_REQUEST, waitUntil: now, lease: 0, bytes: 0, holder: '', tag, token: undefined });
    return gate.takeEvents()[0]?.kind === 'admitted' ? 1 : 0;
  };
}

/** The thread of a front end: keeps `window` requests under way, and posts when `ROUND_TRIPS` are answered. */
function frontOfHops({ asks, answers, window }: { asks: SharedArrayBuffer; answers: SharedArrayBuffer; window: number }, port: MessagePort): void {
  const [out, back] = [new Ring(asks), new Ring(answers)];
  let [sent, done, admitted] = [0, 0, 0];
  const send = (): void => {
    while (sent < ROUND_TRIPS && sent - done < window) out.push(sent++, sent % 100, `tenant-${sent % 50}`);
    if (out.wakes()) port.postMessage('wake');
  };
  port.on('message', () => {
    back.drain((_id, value) => {
      done++;
      admitted += value;
    });
    if (done === ROUND_TRIPS) port.postMessage({ admitted });
    else send();
  });
}

async function hops(window: number): Promise<number> {
  const decide = makeGate();
  let before: NodeJS.CpuUsage | undefined;
  const [asks, answers] = [new Ring(), new Ring()];
  const worker = new Worker(new URL(import.meta.url), { workerData: { part: 'hops', asks: asks.shared, answers: answers.shared, window } });
  const admitted = await new Promise<number>((resolve, reject) => {
    worker.on('error', reject);
    worker.on('message', (message: 'wake' | { readonly admitted: number }) => {
      if (message !== 'wake') return resolve(message.admitted);
      asks.drain((id, group, key) => answers.push(id, decide(group, key), ''));
      if (answers.wakes()) worker.postMessage(0);
    });
    asks.drain(() => {});
    setTimeout(() => {
      before = process.cpuUsage();
      worker.postMessage(0);
    }, 500);
  });
  if (admitted !== ROUND_TRIPS) throw new Error(`${admitted} of ${ROUND_TRIPS} were admitted`);
  const { user, system } = process.cpuUsage(before);
  await worker.terminate();
  return (user + system) / ROUND_TRIPS;
}

function direct(): number {
  const decide = makeGate();
  const before = process.cpuUsage();
  let admitted = 0;
  for (let sent = 0; sent < ROUND_TRIPS; sent++) admitted += decide(sent % 100, `tenant-${sent % 50}`);
  if (admitted !== ROUND_TRIPS) throw new Error(`${admitted} of ${ROUND_TRIPS} were admitted`);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / ROUND_TRIPS;
}

/** An HTTP server whose front ends are so many threads; 0: the thread of the gate. */
function serve(threads: number, port: number): void {
  const decide = makeGate();
  if (threads === 0) return void listen(port, (group, key, answer) => answer(decide(group, key)));
  for (let thread = 0; thread < threads; thread++) {
    const [asks, answers] = [new Ring(), new Ring()];
    const worker = new Worker(new URL(import.meta.url), { workerData: { part: 'front', asks: asks.shared, answers: answers.shared, port } });
    asks.drain(() => {});
    worker.on('message', () => {
      asks.drain((id, group, key) => answers.push(id, decide(group, key), ''));
      if (answers.wakes()) worker.postMessage(0);
    });
  }
}

function frontOfHttp({ asks, answers, port }: { asks: SharedArrayBuffer; answers: SharedArrayBuffer; port: number }, gates: MessagePort): void {
  const [out, back] = [new Ring(asks), new Ring(answers)];
  const waiting = new Map<number, (admitted: number) => void>();
  let [id, flushing] = [0, false];
  const answered = (): void =>
    back.drain((of, admitted) => {
      waiting.get(of)?.(admitted);
      waiting.delete(of);
    });
  gates.on('message', answered);
  answered();
  listen(port, (group, key, answer) => {
    waiting.set(++id, answer);
    out.push(id, group, key);
    if (flushing) return;
    flushing = true;
    // All that came in one turn of the loop.
    setImmediate(() => {
      flushing = false;
      if (out.wakes()) gates.postMessage(0);
    });
  });
}

function listen(port: number, ask: (group: number, key: string, answer: (admitted: number) => void) => void): void {
  createServer((request, response) => {
    const url = request.url ?? '';
    const group = Number(/g(\d+)/.exec(url)?.[1] ?? 0);
    ask(group, 'tenant-1', (admitted) => {
      const body = `{"permit":"g${group}~0123456789","waited":"0s"}`;
      response.writeHead(admitted === 1 ? 200 : 429, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }).end(body);
    });
  }).listen({ port, host: '127.0.0.1', reusePort: true });
}

async function http(threads: number, cpus: string, seconds: number): Promise<{ readonly micros: number; readonly perSecond: number }> {
  const port = await freePort();
  const server = await pinned(0, ['taskset', '-c', cpus, process.execPath, import.meta.filename, 'serve', String(threads), String(port)], port);
  const wrk = (time: number) => ['wrk', '-t1', '-c64', `-d${time}s`, '-s', 'bench/api/acquire.lua', `http://127.0.0.1:${port}`, '--', 'rest', '100'];
  try {
    await runPinned(LOAD_CPU, wrk(2), 20);
    const before = cpuSeconds([server.pid]);
    const { out } = await runPinned(LOAD_CPU, wrk(seconds), seconds + 20);
    const requests = Number(/(\d+) requests in/.exec(out)?.[1]);
    if (/Non-2xx/.test(out)) throw new Error(`Some were refused: ${out}`);
    return { micros: ((cpuSeconds([server.pid]) - before) / requests) * 1e6, perSecond: requests / seconds };
  } finally {
    await server.stop();
  }
}

/** Both as tables. */
export async function workersTable({ rounds, seconds }: { readonly rounds: number; readonly seconds: number }): Promise<string> {
  const cases = ['direct', ...WINDOWS.map(String)];
  const found = new Map<string, number[]>(cases.map((each) => [each, []]));
  const ways = [
    { name: 'one thread, one processor', threads: 0, cpus: '0' },
    { name: 'gates and 1 front end, two processors', threads: 1, cpus: '0,1' },
    { name: 'gates and 2 front ends, two processors', threads: 2, cpus: '0,1' },
  ];
  const served = ways.map(() => [] as Awaited<ReturnType<typeof http>>[]);
  for (let round = 0; round < rounds; round++) {
    for (const each of cases) {
      const { stdout, stderr } = spawnSync(process.execPath, [import.meta.filename, 'hops', each], { encoding: 'utf8', timeout: 60_000 });
      if (stdout === '') throw new Error(`hops ${each}: ${stderr}`);
      found.get(each)?.push(Number(stdout));
    }
    for (const [index, { threads, cpus }] of ways.entries()) served[index]?.push(await http(threads, cpus, seconds));
    progress(`  round ${round + 1}/${rounds}`);
  }
  const base = spread(found.get('direct') ?? []).median;
  const hopRows = [...found].map(([name, all]) => {
    const { median, least, most } = spread(all);
    return [
      name === 'direct' ? 'one thread' : `${name} under way`,
      `${short(median)} (${short(least)}-${short(most)})`,
      name === 'direct' ? '-' : short((median - base) / 2),
    ];
  });
  const [first = []] = served;
  const httpRows = ways.map(({ name }, index) => {
    const runs = served[index] ?? [];
    const rates = spread(runs.map(({ perSecond }, round) => perSecond / (first[round]?.perSecond ?? Number.NaN)));
    const micros = spread(runs.map((run) => run.micros));
    return [
      name,
      `${short(micros.median)} (${short(micros.least)}-${short(micros.most)})`,
      `${rates.median.toFixed(2)} (${rates.least.toFixed(2)}-${rates.most.toFixed(2)})`,
    ];
  });
  const hopTable = table(['requests', 'CPU us of all threads a request', 'a hop'], hopRows);
  return `${hopTable}\n\n${table(['server', 'CPU us/req', 'req/s beside one thread (range)'], httpRows)}`;
}

if (!isMainThread && parentPort !== null) {
  const data = workerData as { part: string; asks: SharedArrayBuffer; answers: SharedArrayBuffer; window: number; port: number };
  if (data.part === 'hops') frontOfHops(data, parentPort);
  else if (data.part === 'front') frontOfHttp(data, parentPort);
} else if (process.argv[1] === import.meta.filename) {
  const [part, what = '', port = ''] = process.argv.slice(2);
  if (part === 'hops') process.stdout.write(String(what === 'direct' ? direct() : await hops(Number(what))));
  else if (part === 'serve') serve(Number(what), Number(port));
}
