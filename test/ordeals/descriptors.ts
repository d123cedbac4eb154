import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/*
 * A server that may open 256 files, and 600 callers: what it does when file descriptors run out.
 * `node test/ordeals/descriptors.ts` ends with "recovered, nothing lost", or says what was wrong and exits 1.
 */

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const LIMIT = 256;
const CALLERS = 600;

const CONFIGURATION = `
listen: { api: "127.0.0.1:0", grpc: none, health: "127.0.0.1:0", admin: "127.0.0.1:0" }
http: { engine: node }
store: { path: ./data, bytes: 64MiB }
drain: { delay: 0s, grace: 1s }
groups: { slots: { limits: [ { name: one, concurrency: 1 } ], ttl: { default: 60s } } }
`;

/** What was seen; every promise of the run by its name. */
export interface DescriptorsSeen {
  readonly [what: string]: boolean;
}

interface Line {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** Runs it, bounded in time; `say` hears of each step. */
export async function descriptorsOrdeal(say: (text: string) => void): Promise<DescriptorsSeen> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-descriptors-'));
  writeFileSync(join(folder, 'sluice.yaml'), CONFIGURATION);
  const child = spawn('sh', ['-c', `ulimit -n ${LIMIT}; exec "$0" "$1" serve`, process.execPath, MAIN], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: Line[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line) as Line));
  const exited = once(child, 'exit');
  const sockets: Socket[] = [];
  try {
    await until(() => lines.some(({ event }) => event === 'serving'), 'the server serves');
    const serving = lines.find(({ event }) => event === 'serving') as Line;
    const seen = await run({ api: String(serving['api']), health: String(serving['health']), admin: String(serving['admin']), lines, sockets, say });
    child.kill('SIGTERM');
    const [code] = (await exited) as [number | null];
    return { ...seen, 'it ends cleanly': code === 0 };
  } finally {
    for (const socket of sockets) socket.destroy();
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Scene {
  readonly api: string;
  readonly health: string;
  readonly admin: string;
  readonly lines: readonly Line[];
  readonly sockets: Socket[];
  readonly say: (text: string) => void;
}

async function run({ api, health, admin, lines, sockets, say }: Scene): Promise<DescriptorsSeen> {
  const first = (await (await fetch(`http://${api}/v1/groups/slots/acquire?lease=60s`, { method: 'POST' })).json()) as { permit: string };
  const ends = { answered: 0, cut: 0 };
  for (let caller = 0; caller < CALLERS; caller++) sockets.push(call(api, ends));
  await until(() => ends.cut > 0, 'callers are shed');
  const ready = await probe(`http://${health}/readyz`);
  const metrics = await probe(`http://${health}/metrics`);
  const group = await probe(`http://${admin}/v1/groups/slots`);
  const shed = Number(/sluice_connections_shed_total\{listener="api"\} (\d+)/.exec(metrics.body)?.[1] ?? 0);
  const waiting = Number((JSON.parse(group.body) as { waiting?: string }).waiting);
  say(`${CALLERS} callers, ${waiting} wait, ${shed} shed, /readyz ${ready.status}: ${ready.body.trim().replaceAll('\n', '; ')}`);
  const seen = {
    'health is answered': ready.status === 200 && metrics.status === 200,
    'readyz says so': ready.body.includes('descriptors:'),
    'admin is answered': group.status === 200,
    'the metric counts': shed > 0,
    'the log says so': lines.some(({ event, msg }) => event === 'descriptors_exhausted' && typeof msg === 'string'),
    'others wait on': waiting > 50 && ends.answered === 0,
  };
  // The holder comes back on a new connection once some of the callers have left.
  for (const socket of sockets.splice(40)) socket.destroy();
  await until(
    async () => Number((JSON.parse((await probe(`http://${admin}/v1/groups/slots`)).body) as { waiting?: string }).waiting) <= 40,
    'who left is gone',
  );
  const released = await fetch(`http://${api}/v1/permits/${first.permit}/release`, { method: 'POST' });
  await until(() => ends.answered > 0, 'the next caller is admitted');
  for (const socket of sockets) socket.destroy();
  const later = await fetch(`http://${admin}/v1/groups/slots`);
  say(`released: ${released.status}; ${ends.answered} admitted after it`);
  return { ...seen, 'the lease was not lost': released.status === 200, 'callers are taken again': later.status === 200 && ends.answered >= 1 };
}

function call(api: string, ends: { answered: number; cut: number }): Socket {
  const [host = '', port = ''] = api.split(':');
  const socket = connect({ host, port: Number(port) });
  let answered = false;
  socket.on('connect', () => socket.write('POST /v1/groups/slots/acquire?ttl=60s&lease=60s HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n'));
  socket.on('data', (bytes: Buffer) => {
    if (!answered && bytes.toString().startsWith('HTTP/1.1 200')) ends.answered++;
    answered = true;
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    if (!answered) ends.cut++;
  });
  return socket;
}

/** A probe that has 2 s, as an orchestrator's. */
async function probe(url: string): Promise<{ readonly status: number; readonly body: string }> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(2_000), headers: { Connection: 'close' } }).catch(() => undefined);
  return answer === undefined ? { status: 0, body: '{}' } : { status: answer.status, body: await answer.text() };
}

async function until(so: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = performance.now() + 30_000; !(await so()); ) {
    if (performance.now() > end) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  const seen = await descriptorsOrdeal(say);
  const wrong = Object.entries(seen).filter(([, so]) => !so);
  say(wrong.length === 0 ? 'recovered, nothing lost' : `not so: ${wrong.map(([what]) => what).join(', ')}`);
  process.exitCode = wrong.length === 0 ? 0 : 1;
}
