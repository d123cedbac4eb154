import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Agent, request } from 'undici';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { RecordingBackend } from './deferred-harness.ts';
import { check, inParallel, type Ordeal } from './ordeal.ts';
import { auditSyncs, type Claim, parseTrace } from './sync-audit.ts';

const REQUESTS = 240;
const AT_ONCE = 8;
/** So that its body goes to the store in pieces, before its row. */
const LARGE_BYTES = 200_000;
const BROKEN = fileURLToPath(new URL('broken-deferred-process.ts', import.meta.url));
const CALLS = 'openat,close,write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2,fdatasync,fsync,msync,sync_file_range';

/** Each acknowledgement is paired, in a trace of system calls, with the synchronous write that covers it. */
export const syncTrace: Ordeal = {
  name: 'sync-trace',
  about: `${REQUESTS} deferred requests under strace: no 202 leaves before the write that makes its request survive`,
  lacks: () => {
    try {
      execFileSync('strace', ['-f', '-o', '/dev/null', 'true'], { stdio: 'ignore' });
      return undefined;
    } catch {
      return 'strace (apt-get install strace), or the right to trace';
    }
  },
  run: async (say) => {
    const early = await traced(BROKEN);
    check(early.wrong.length > 0, 'a server that acknowledges before its commit was not found out: this audit sees nothing');
    say(`broken on purpose: ${early.wrong.length} answers of ${early.claims} left too early, the first: ${early.wrong[0]}`);
    const sound = await traced(undefined);
    check(sound.wrong.length === 0, `${sound.wrong.length} wrong: ${sound.wrong.slice(0, 5).join('; ')}`);
    say(
      `as it is: ${sound.claims} answers, each after the pages, the fdatasync and the O_DSYNC write of the meta page that cover it; ${sound.commits} commits`,
    );
  },
};

/** Plays requests against a traced server. */
async function traced(main: string | undefined): Promise<{ readonly claims: number; readonly commits: number; readonly wrong: readonly string[] }> {
  const backend = await RecordingBackend.start();
  const agent = new Agent({ connections: AT_ONCE, pipelining: 1 });
  const server = new ServerProcess(configured(backend.port), undefined, { main, through: tracer });
  const claims: Claim[] = [];
  try {
    const serving = await server.until('serving');
    await inParallel(REQUESTS, AT_ONCE, async (index) => {
      const marks = [`T${index}T`, `B${index}B`] as const;
      const body = `${'x'.repeat(index % 12 === 11 ? LARGE_BYTES : (index * 37) % 3_000)} ${marks[1]}`;
      const ways = { method: 'POST', dispatcher: agent } as const;
      const answer =
        index % 2 === 0
          ? await request(`http://${String(serving['api'])}/v1/requests`, {
              ...ways,
              headers: { 'content-type': 'application/json' },
              body: JSON.stringify({ path: `/hook?mark=${marks[0]}`, body }),
            })
          : await request(`http://${String(serving['proxy'])}/hook?mark=${marks[0]}`, { ...ways, body });
      check(answer.statusCode === 202, `request ${index} was answered ${answer.statusCode}`);
      claims.push({ id: ((await answer.body.json()) as { id: string }).id, marks });
      return true;
    });
    server.child.kill('SIGTERM');
    await server.exit;
    const calls = parseTrace(readFileSync(join(server.folder, 'trace'), 'utf8'));
    return { claims: claims.length, ...auditSyncs(calls, claims, 'deferred/data.mdb') };
  } finally {
    server.clean();
    await server.exit;
    await agent.destroy();
    await backend.stop();
  }
}

/** strace as a process beside, so that signals reach the server, and the end of the server is the end of strace. */
function tracer(folder: string): readonly string[] {
  return ['strace', '-D', '-f', '-q', '--seccomp-bpf', '-s', '4194304', '-e', `trace=${CALLS}`, '-e', 'signal=none', '-o', join(folder, 'trace')];
}

function configured(backend: number): string {
  return `
listen: { api: "127.0.0.1:0", grpc: none, proxy: "127.0.0.1:0", health: "127.0.0.1:0", admin: none }
http: { engine: node }
drain: { delay: 0, grace: 0 }
groups:
  hooks: { limits: [ { name: pace, rate: 1000/1s, burst: 100 } ] }
backends:
  shop: { urls: [ "http://127.0.0.1:${backend}" ] }
routes:
  - { match: { path: /hook }, group: hooks, backend: shop, mode: deferred }
`;
}
