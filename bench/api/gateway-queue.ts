import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/fakes/ports.ts';

/* What a shard costs that waits at the gateway queue, beside twilight's own server, where TWILIGHT_GATEWAY_QUEUE names its program. */

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** Shards that wait, and how long they are looked at. */
const CALLERS = 2_000;
const LOOK_MS = 60_000;

interface Row {
  readonly name: string;
  /** Resident bytes for each caller held. */
  readonly bytes: number;
  /** CPU to take one caller in, in microseconds. */
  readonly taking: number;
  /** Answers within the look, and the CPU of the look for each of them, in microseconds. */
  readonly answers: number;
  readonly answering: number;
}

/** A table in Markdown. */
export async function gatewayQueueTable(): Promise<string> {
  const node = ['--max-semi-space-size=16', '--v8-pool-size=1', MAIN, 'gateway-queue', '--listen.health=none'];
  const rows = [await measured('Sluice', process.execPath, node)];
  const peer = process.env['TWILIGHT_GATEWAY_QUEUE'];
  if (peer !== undefined) rows.push(await measured('twilight-rs/gateway-queue', peer, []));
  const lines = rows.map(
    ({ name, bytes, taking, answers, answering }) =>
      `| ${name} | ${(bytes / 1_000).toFixed(1)} kB | ${taking.toFixed(0)} us | ${answers} | ${(answering / 1_000).toFixed(2)} ms |`,
  );
  const missing = peer === undefined ? '\n\nLeft out: twilight-rs/gateway-queue (TWILIGHT_GATEWAY_QUEUE=PROGRAM).' : '';
  return (
    ['| | memory of a held shard | CPU to take one in | answers in 60 s | CPU of the 60 s, per answer |', '| --- | --- | --- | --- | --- |', ...lines].join(
      '\n',
    ) + missing
  );
}

async function measured(name: string, program: string, args: readonly string[]): Promise<Row> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-queue-'));
  const child = spawn(program, args, { cwd: folder, env: { HOST: '127.0.0.1', PORT: String(port), RUST_LOG: 'warn' }, stdio: 'ignore' });
  const sockets: Socket[] = [];
  let answers = 0;
  const come = async (shard: number): Promise<void> => {
    const socket = await opened(port);
    sockets.push(socket);
    socket.on('data', (bytes) => (answers += String(bytes).includes('200 OK') ? 1 : 0));
    socket.write(`GET /?shard=${shard} HTTP/1.1\r\nHost: queue\r\n\r\n`);
  };
  try {
    await come(0);
    while (answers === 0) await wait(10);
    const [bytesBefore, cpuBefore] = [residentOf(child), cpuOf(child)];
    for (let shard = 1; shard <= CALLERS; shard++) await come(shard);
    await wait(2_000);
    const [bytes, taken] = [(residentOf(child) - bytesBefore) / CALLERS, cpuOf(child)];
    const already = answers;
    await wait(LOOK_MS);
    const seen = answers - already;
    return { name, bytes, taking: (taken - cpuBefore) / CALLERS, answers: seen, answering: (cpuOf(child) - taken) / seen };
  } finally {
    for (const socket of sockets) socket.destroy();
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

async function opened(port: number): Promise<Socket> {
  for (let tries = 0; ; tries++) {
    const socket = connect(port, '127.0.0.1');
    const failed = await new Promise<Error | undefined>((resolve) => {
      socket.once('connect', () => resolve(undefined));
      socket.once('error', resolve);
    });
    if (failed === undefined) return socket;
    if (tries > 500) throw failed;
    await wait(20);
  }
}

function residentOf({ pid }: ChildProcess): number {
  return 1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** CPU of all its threads so far, in microseconds. */
function cpuOf({ pid }: ChildProcess): number {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.reduce((sum, task) => sum + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1_000, 0);
}
