/** Runs every k6 script of bench/load against a server with its `sluice.yaml`; a threshold that is crossed fails the run. */
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { LOAD_CPU, pinned, progress, SERVER_CPU } from '../lib/pinned.ts';
import { programOf } from './peers.ts';

const PORT = 28_480;
/** As the addresses, in `sluice.yaml`. */
const BACKEND_PORT = 28_484;
const BACKEND = ['bench/proxy/backend.ts', String(BACKEND_PORT), '65536', '5', '100000'];

/** What k6 said of each script; undefined: k6 is not installed. */
export async function loadReport(): Promise<string | undefined> {
  const k6 = programOf('k6');
  if (k6 === undefined) {
    progress('left out, for it is not installed (go install go.k6.io/k6@latest): k6');
    return undefined;
  }
  const server = await pinned(SERVER_CPU, [process.execPath, 'src/main.ts', 'serve', '--config', 'bench/load/sluice.yaml'], PORT);
  const backend = await pinned(LOAD_CPU, [process.execPath, ...BACKEND], BACKEND_PORT);
  const parts: string[] = [];
  try {
    for (const script of ['acquire-http.js', 'acquire-grpc.js', 'hold-http.js', 'forward-http.js']) {
      progress(`  ${script}`);
      const args = ['-c', String(LOAD_CPU), k6, 'run', '--quiet', '--no-color', resolve('bench/load', script)];
      const { status, stdout, stderr } = spawnSync('taskset', args, { encoding: 'utf8', timeout: 120_000 });
      const lines = stdout.split('\n').filter((line) => /✓|✗|checks|held|http_req_duration|grpc_req_duration|dropped|iterations/.test(line));
      parts.push(`${script}: ${status === 0 ? 'thresholds kept' : `failed (${status}): ${stderr.slice(-500)}`}\n\n${lines.join('\n')}`);
      if (status !== 0) process.exitCode = 1;
    }
  } finally {
    await server.stop();
    await backend.stop();
  }
  return parts.join('\n\n');
}
