/**
 * `npm run bench`: every bench, or those that are named; figures to stdout as Markdown, progress to stderr.
 * `npm run bench -- list`, `npm run bench -- limits gate`, `npm run bench -- quick acquire` (fewer and shorter rounds), `npm run bench -- grpc rounds=9 seconds=10`.
 */

import { acquireGrpc, acquireHttp, type Effort } from './api/acquire.ts';
import { gatewayQueueTable } from './api/gateway-queue.ts';
import { heldMemory, latenessTable, memoryTable, peerLateness, sluiceLateness } from './api/held.ts';
import { loadReport } from './api/k6.ts';
import { refusals } from './api/refusals.ts';
import { nodeFor } from './api/servers.ts';
import { clusterCosts } from './cluster/costs.ts';
import { sharedLimit } from './cluster/shared.ts';
import { takeovers } from './cluster/takeover.ts';
import { drainTable } from './deferred/drain.ts';
import { submitHttpTable } from './deferred/http.ts';
import { storedTable } from './deferred/stored.ts';
import { submitTable } from './deferred/submit.ts';
import { submitClusterTable } from './deferred/submit-cluster.ts';
import { pairedTable } from './lib/paired.ts';
import { machineLine, progress } from './lib/pinned.ts';
import { clockTable } from './micro/clock.ts';
import { garbageTable } from './micro/garbage.ts';
import { gateTable } from './micro/gate.ts';
import { appendRates } from './micro/ledger.ts';
import { limitsTable } from './micro/limits.ts';
import { workersTable } from './micro/workers.ts';
import { forwarded } from './proxy/forwarded.ts';
import { overload } from './proxy/overload.ts';
import { reloads } from './reload/reload.ts';
import { agreement } from './simulate/agreement.ts';
import { waitRanges } from './simulate/wait-ranges.ts';

const NO_UWS = 'Left out: uWebSockets.js is not installed (npm run uws).';

const NO_NATS = 'Left out: no nats-server is at hand.';

/** What a bench says, in Markdown. */
type Bench = { readonly what: string; readonly run: (effort: Effort) => Promise<string> };

const benches: Readonly<Record<string, Bench>> = {
  limits: { what: 'B7: one decision of each limit, beside other limiters', run: async ({ rounds }) => limitsTable(Math.min(5, rounds)) },
  gate: { what: 'B6: up to a million waiters in the core', run: async ({ rounds }) => gateTable(Math.min(5, rounds) + 1) },
  garbage: { what: 'GC microseconds of a request by the number of groups', run: async ({ rounds }) => garbageTable(rounds) },
  clock: { what: 'processor time and lateness of the clock, by the thread that sleeps and by spinning', run: async ({ rounds }) => clockTable(rounds) },
  workers: { what: 'what front ends in threads of their own would cost and give (decision 0042)', run: (effort) => workersTable(effort) },
  ledger: { what: 'durable appends a second on this disk', run: ledger },
  submit: { what: 'deferred: submits stored a second, beside an append-only file and BullMQ', run: submitTable },
  submitHttp: { what: 'deferred: submits acknowledged a second over HTTP, beside BullMQ behind node:http', run: submitHttpTable },
  submitCluster: { what: 'deferred: submits stored a second over three nats-servers, beside single publishes', run: submitClusterTable },
  drain: { what: 'deferred: how fast a store drains beside how fast it accepts', run: drainTable },
  stored: { what: 'deferred: commits and start with a million stored, beside a thousand', run: () => storedTable() },
  acquire: {
    what: 'B1: server CPU of an acquire over plain HTTP, beside hello on the same engine and nginx',
    run: (effort) => acquires(['rest'], effort, true),
  },
  connect: { what: 'B2: the same over Connect (JSON over HTTP/1.1)', run: (effort) => acquires(['connect'], effort, false) },
  grpc: { what: 'B2: the same over gRPC, beside a bare grpc-js echo', run: async (effort) => pairedTable(await acquireGrpc(effort, true)) },
  lateness: { what: 'B3: 10,000 held, 1,000 admitted a second: how late', run: latenesses },
  memory: { what: 'B5: memory of one held caller', run: memory },
  gatewayQueue: { what: 'memory and CPU of a shard at the gateway queue, beside twilight-rs/gateway-queue', run: () => gatewayQueueTable() },
  forward: { what: 'B8: server CPU of a forwarded request and the latency it adds, beside a bare dispatch proxy and others', run: forwards },
  refusals: { what: 'a storm of refusals on kept connections: how long another caller on a new one waits', run: storms },
  overload: { what: 'B12: five times what a backend can do, and a storm of connections, beside HAProxy and nginx', run: overload },
  cluster: {
    what: 'B10: a decision among three replicas over NATS, beside one compare-and-set per admission and others',
    run: async (effort) => (await clusterCosts(effort)) ?? NO_NATS,
  },
  shared: {
    what: 'B10: use of one limit that binds, shared by three replicas',
    run: async (effort) => (await sharedLimit(effort)) ?? NO_NATS,
  },
  takeover: {
    what: '10,000 groups over three replicas while one is killed, comes back, and all read their files again',
    run: async () => (await takeovers()) ?? NO_NATS,
  },
  reload: { what: 'reload of 10,000 groups under callers: how long the event loop stands still', run: ({ rounds }) => reloads(10_000, rounds) },
  simulate: { what: 'how near `sluice simulate` comes to a real run of the same requests', run: ({ seconds }) => agreement(10 * seconds) },
  foretold: { what: 'how well the range holds in which a caller is expected to be admitted; `seed=1`', run: async () => waitRanges(numberOf('seed', 1)) },
  load: {
    what: 'k6: acquire over HTTP and gRPC, holding, forwarding 64 KiB',
    run: async () => (await loadReport()) ?? 'Left out: k6 is not installed (go install go.k6.io/k6@latest).',
  },
};

async function acquires(kinds: readonly ('rest' | 'connect')[], effort: Effort, peers: boolean): Promise<string> {
  const parts: string[] = [];
  for (const kind of kinds) {
    for (const engine of ['node', 'uws'] as const) {
      for (const groups of [1, 1_000]) {
        const rows = await acquireHttp(kind, engine, { ...effort, groups, peers: peers && groups > 1 });
        parts.push(`${kind} on ${engine}, ${groups} group${groups === 1 ? '' : 's'}:\n\n${rows === undefined ? NO_UWS : pairedTable(rows)}`);
      }
    }
  }
  return parts.join('\n\n');
}

async function forwards(effort: Effort): Promise<string> {
  const parts: string[] = [];
  for (const bytes of [1_000, 65_536]) parts.push(await forwarded(bytes, effort));
  return parts.join('\n\n');
}

async function latenesses({ seconds }: Effort): Promise<string> {
  const effort = { waiters: 10_000, seconds: 5 * seconds, warm: 12 };
  const rows = [];
  for (const transport of ['node', 'uws', 'grpc'] as const) for (const burst of [1, 10]) rows.push(await sluiceLateness(transport, burst, effort));
  for (const peer of ['nginx', 'bottleneck'] as const) rows.push(await peerLateness(peer, effort));
  return latenessTable(rows.filter((row) => row !== undefined));
}

async function memory(): Promise<string> {
  const rows = [];
  for (const transport of ['hold-node', 'node', 'hold-uws', 'uws', 'nginx'] as const) rows.push(await heldMemory(transport, 15_000));
  return memoryTable([...rows, await heldMemory('grpc', 20_000)]);
}

async function ledger(): Promise<string> {
  const lines: string[] = [];
  for (const [inFlight, appends] of [
    [1, 2_000],
    [1_000, 200_000],
  ] as const) {
    lines.push(JSON.stringify(await appendRates(inFlight, appends)));
  }
  return `\`\`\`\n${lines.join('\n')}\n\`\`\``;
}

const words = process.argv.slice(2);
const quick = words.includes('quick');
const numberOf = (name: string, otherwise: number): number => Number(words.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1) ?? otherwise);
const named = words.filter((word) => word !== 'quick' && !word.includes('='));
const unknown = named.filter((word) => word !== 'list' && benches[word] === undefined);
if (named.includes('list') || unknown.length > 0) {
  if (unknown.length > 0) process.exitCode = 2;
  for (const [name, { what }] of Object.entries(benches)) process.stdout.write(`${name.padEnd(10)} ${what}\n`);
} else {
  const effort: Effort = { rounds: numberOf('rounds', quick ? 3 : 7), seconds: numberOf('seconds', quick ? 1 : 3), warm: quick ? 1 : 3 };
  process.stdout.write(`${machineLine()}\n`);
  for (const [name, { what, run }] of Object.entries(benches)) {
    if (named.length > 0 && !named.includes(name)) continue;
    progress(`bench ${name}: ${what}`);
    const began = performance.now();
    const found = await run(effort).catch((cause: Error) => {
      process.exitCode = 1;
      return `Failed: ${cause.message}`;
    });
    process.stdout.write(
      `\n## ${name}: ${what}\n\n${machineLine()}; ${effort.rounds} rounds of ${effort.seconds} s; took ${Math.round((performance.now() - began) / 1_000)} s\n\n${found}\n`,
    );
  }
}

async function storms(effort: Effort): Promise<string> {
  const tables = [await refusals('node', effort)];
  tables.push(nodeFor('uws') === undefined ? NO_UWS : await refusals('uws', effort));
  return tables.join('\n\n');
}
