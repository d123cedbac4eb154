import { globSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Callers, monotonic } from '../faults/callers.ts';
import { judge } from '../faults/checker.ts';
import { wallEnvironment } from '../faults/fleet.ts';
import { GROUPS, GROUPS_YAML } from '../faults/groups.ts';
import type { HistoryLine } from '../faults/history.ts';
import { watchStalls } from '../faults/stalls.ts';
import { freePort } from '../support/fakes/ports.ts';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { seeded } from '../support/seeded.ts';
import { check, type Ordeal } from './ordeal.ts';

const RESTARTS = Number(process.env['SLUICE_RESTARTS'] ?? 60);

/** How far the wall clock is set, in seconds, at every third restart. */
const CLOCKS = [600, -600, 3_600, -3_600, 86_400, -7];

/** Between two kills the server runs for so long, in milliseconds: 0.2 to 2.2 s. */
const RUN = { least: 200, more: 2_000 };

/** One node is killed under load again and again, a third of the times with its wall clock set; what callers saw is judged. */
export const crashRestarts: Ordeal = {
  name: 'crash-restarts',
  about: `${RESTARTS} kill -9 and starts of one node under load, a third with the clock set; judged by what callers saw`,
  lacks: () => (library() === undefined ? 'faketime, to set the clock (apt-get install faketime)' : undefined),
  run: async (say) => {
    const lines: HistoryLine[] = [{ op: 'groups', groups: GROUPS }];
    const write = (line: HistoryLine): void => void lines.push(line);
    const seed = Number(process.env['SLUICE_SEED'] ?? 7);
    const random = seeded(seed);
    const port = await freePort();
    const clock = join(mkdtempSync(join(tmpdir(), 'sluice-wall-')), 'wall');
    const set = (seconds: number): void => writeFileSync(clock, `${seconds < 0 ? '' : '+'}${seconds}`);
    set(0);
    const configuration = `
listen: { api: "127.0.0.1:${port}", grpc: none, health: none, admin: none }
http: { engine: node }
store: { path: ./data }
drain: { delay: 0, grace: 0 }
groups:
${GROUPS_YAML}`;
    const ways = { env: wallEnvironment(library() as string, clock) };
    let server = new ServerProcess(configuration, undefined, ways);
    const { folder } = server;
    const callers = new Callers({ urls: [`http://127.0.0.1:${port}`], groups: GROUPS, write, random: seeded(seed + 1), eachGroup: 8, ttlMs: 20_000 });
    const stalls = watchStalls(write);
    try {
      await server.until('serving');
      callers.start();
      let longest = 0;
      for (let restart = 1; restart <= RESTARTS; restart++) {
        await wait(RUN.least + random() * RUN.more);
        const from = monotonic();
        server.kill();
        await server.exit;
        const moved = restart % 3 === 0;
        if (moved) set(CLOCKS[(restart / 3) % CLOCKS.length] as number);
        server = new ServerProcess(configuration, folder, ways);
        await server.until('serving');
        const until = monotonic();
        longest = Math.max(longest, until - from);
        // A limit that began used up is whole again some seconds later.
        write({ op: 'fault', kind: moved ? 'kill and clock' : 'kill', target: 'r0', from, until });
        if (restart % 10 === 0) say(`${restart} restarts, the longest ${Math.round(longest / 1_000)} ms from kill to serving`);
      }
      await wait(3_000);
      await callers.stop();
      await stalls.close();
      const verdict = judge(lines);
      const serious = verdict.violations.filter((violation) => / permits within | leases held at | came after | went to | got /.test(violation));
      say(
        `seed ${seed}: ${verdict.admitted} admitted, ${verdict.refused} refused, ${verdict.unknown} unknown; over, fences back or doubled: ${serious.length}`,
      );
      for (const violation of verdict.violations) say(`  ${violation}`);
      check(verdict.admitted > RESTARTS * 10, `only ${verdict.admitted} were admitted`);
      check(serious.length === 0, `${serious.length} promises were broken`);
    } finally {
      await stalls.close();
      server.clean();
      await server.exit;
    }
  },
};

function library(): string | undefined {
  return globSync('/usr/{lib,lib64,local/lib}/{,*/}faketime/libfaketimeMT.so.1')[0];
}
