import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Client, credentials } from '@grpc/grpc-js';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { ATTACKS, type AttackCount, type AttackOrder } from './attacker.ts';

/*
 * `npm run floods`: each flood of HTTP/2 against a server of its own, on loopback, with a good client beside it on a
 * connection of its own. Prints the good client's p50 and p99 and the server's memory before and during the flood, and
 * fails where the p50 passes 5 times that of the quiet server, a call of the good client fails, or memory grows.
 *
 *   npm run floods                                  every mode, 3 s each
 *   npm run floods -- --mode ping --seconds 10      one mode, longer
 *   npm run floods -- --connections 20              attackers' connections at once (4 by default)
 *   npm run floods -- --set 'bounds: { grpcStreams: 100000 }'   more of the configuration
 *   npm run floods -- --report                      prints, and never fails
 */

const { values } = parseArgs({
  options: {
    mode: { type: 'string', multiple: true },
    seconds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '4' },
    set: { type: 'string', multiple: true },
    report: { type: 'boolean', default: false },
  },
});

const FACTOR_MAX = 5;
/** Growth of the server's resident memory beyond which a flood counts as kept; a young heap alone grows by some 60 MiB under load. */
const GROWTH_MIB_MAX = 150;
const PACE_MS = 2;

const CONFIGURATION = `
listen: { api: none, grpc: "127.0.0.1:0", health: "127.0.0.1:0", admin: none }
store: memory
log: { level: info }
groups:
  open: { limits: [ { name: rpm, rate: 1000000/1s, burst: 100000 } ] }
  slots: { limits: [ { name: one, concurrency: 1 } ], backlog: { requests: 100000, perKey: 100000 } }
`;

interface Seen {
  readonly p50: number;
  readonly p99: number;
  readonly calls: number;
  readonly failed: number;
}

/** Calls Acquire one after the other, each 2 ms at most, until `ms` have passed. */
async function goodClient(client: Client, ms: number): Promise<Seen> {
  const took: number[] = [];
  let failed = 0;
  const until = performance.now() + ms;
  const identity = (bytes: Buffer): Buffer => bytes;
  const ask = Buffer.from([0x0a, 4, ...Buffer.from('open')]);
  while (performance.now() < until) {
    const began = performance.now();
    await new Promise<void>((resolve) => {
      client.makeUnaryRequest('/sluice.v1.AdmissionService/Acquire', identity, identity, ask, { deadline: Date.now() + 10_000 }, (error) => {
        if (error !== null) failed += 1;
        resolve();
      });
    });
    const lasted = performance.now() - began;
    took.push(lasted);
    if (lasted < PACE_MS) await new Promise((resolve) => setTimeout(resolve, PACE_MS - lasted));
  }
  took.sort((a, b) => a - b);
  const at = (share: number): number => took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), calls: took.length, failed };
}

/** Resident memory of a process, in MiB. */
function residentMib(pid: number): number {
  return (Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4096) / 2 ** 20;
}

async function flood(mode: string, seconds: number, connections: number): Promise<readonly string[]> {
  const server = new ServerProcess(CONFIGURATION + (values.set ?? []).map((line) => `${line}\n`).join(''));
  const pid = server.child.pid ?? 0;
  let grpc: Client | undefined;
  let worker: Worker | undefined;
  try {
    const address = String((await server.until('serving'))['grpc']);
    grpc = new Client(address, credentials.createInsecure());
    await goodClient(grpc, 1_000);
    const quiet = await goodClient(grpc, 1_000);
    const before = residentMib(pid);
    const order: AttackOrder = { port: Number(address.split(':').at(-1)), mode, connections };
    worker = new Worker(new URL('./attacker.ts', import.meta.url), { workerData: order });
    let count: AttackCount = { connects: 0, frames: 0, bytes: 0, closed: 0, calm: 0 };
    worker.on('message', (said: AttackCount) => {
      count = said;
    });
    let peak = before;
    const watch = setInterval(() => {
      peak = Math.max(peak, residentMib(pid));
    }, 50);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const flooded = await goodClient(grpc, seconds * 1_000);
    clearInterval(watch);
    const wrong: string[] = [];
    if (flooded.p50 > FACTOR_MAX * quiet.p50) wrong.push(`p50 ${(flooded.p50 / quiet.p50).toFixed(1)}x`);
    if (flooded.failed > 0) wrong.push(`${flooded.failed} calls of the good client failed`);
    if (peak - before > GROWTH_MIB_MAX) wrong.push(`memory grew by ${Math.round(peak - before)} MiB`);
    const ms = (value: number): string => value.toFixed(2).padStart(8);
    console.log(
      `${mode.padEnd(20)} p50 ${ms(quiet.p50)} ->${ms(flooded.p50)} ms   p99 ${ms(quiet.p99)} ->${ms(flooded.p99)} ms   MiB ${before.toFixed(0).padStart(4)} -> ${peak.toFixed(0).padStart(4)}   calls ${String(flooded.calls).padStart(5)}   frames ${String(count.frames).padStart(9)}, connects ${count.connects}, closed ${count.closed} (calm ${count.calm})${wrong.length > 0 ? `   FAILS: ${wrong.join(', ')}` : ''}`,
    );
    return wrong;
  } finally {
    await worker?.terminate();
    grpc?.close();
    server.clean();
  }
}

let failures = 0;
for (const mode of values.mode ?? Object.keys(ATTACKS)) failures += (await flood(mode, Number(values.seconds), Number(values.connections))).length > 0 ? 1 : 0;
console.log(failures === 0 ? 'every flood left the good client alone' : `${failures} floods did harm`);
process.exitCode = failures === 0 || values.report ? 0 : 1;
