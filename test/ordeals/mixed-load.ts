import { setTimeout as pause } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { until } from '../support/fakes/until.ts';
import { RecordingBackend, submitOnce } from './deferred-harness.ts';
import { Client, check, inParallel, type Ordeal } from './ordeal.ts';

const RATE = 40;
const SLOTS = 12;
const FLOOR_AFTER_MS = 3_000;
const FLOOR_EVERY = 10;
/** Callers of each live mode, each with one request at a time: more than may pass in one moment, so that some always wait. */
const CALLERS = 12;
const STORED = 60;
const HOLD_MS = 30;
/** Looked at in stretches of this length. What passed within one may be seen within so much less: a stored request is armed on disk between its admission and its start. */
const STRETCH_MS = 5_000;
const SLACK_MS = 500;
const MOST = 1 + ((STRETCH_MS + SLACK_MS) * RATE) / 1_000;

/** One admission, as its caller or the backend saw it: it held its slot at least for this long. Milliseconds of one monotonic clock. */
interface Seen {
  readonly mode: 'permit' | 'forward' | 'deferred';
  readonly from: number;
  readonly to: number;
}

interface Run {
  readonly seen: readonly Seen[];
  /** When each stored request was accepted, oldest first. */
  readonly accepted: readonly number[];
}

/** Permits, forwards and stored requests on one group, over real HTTP. */
export const mixedLoad: Ordeal = {
  name: 'mixed-load',
  about: 'permits, forwards and deferred requests on one group: together never above its limits, live callers lose at most 1 in `every`, the floor is kept',
  lacks: () => undefined,
  run: async (say) => {
    const apart = overLimits(await play('other', 5 * STORED, 8_000));
    check(apart.length > 0, 'two groups with the same limits were not told from one: this judge sees nothing');
    say(`broken on purpose, deferred in a group of its own: ${apart.join('; ')}`);
    const run = await play('mix', STORED, undefined);
    const over = overLimits(run);
    check(over.length === 0, over.join('; '));
    judgeFloor(run, say);
  },
};

/** Stores so many, and plays for `ms`, or until all that was stored is delivered. */
async function play(deferredGroup: 'mix' | 'other', count: number, ms: number | undefined): Promise<Run> {
  const seen: Seen[] = [];
  const accepted: number[] = [];
  const backend = await RecordingBackend.start();
  backend.answer = ({ key, at }, response) => {
    setTimeout(() => {
      seen.push({ mode: key === 'undefined' ? 'forward' : 'deferred', from: at, to: performance.now() });
      response.end('ok');
    }, HOLD_MS);
  };
  const server = new ServerProcess(configured(backend.port, deferredGroup));
  const agent = new Agent({ connections: 3 * CALLERS, pipelining: 1, headersTimeout: 0 });
  let client: Client | undefined;
  let over = false;
  try {
    const serving = await server.until('serving');
    const proxy = String(serving['proxy']);
    client = new Client(serving['api'], 2 * CALLERS);
    const api = client;
    const permits = Array.from({ length: CALLERS }, async () => {
      while (!over) {
        const { status, body } = await api.acquire('mix', { ttl: '30s' });
        check(status === 200, `a permit was answered ${status}`);
        const from = performance.now();
        await pause(HOLD_MS);
        seen.push({ mode: 'permit', from, to: performance.now() });
        await api.release(body['permit']);
      }
    });
    const forwards = Array.from({ length: CALLERS }, async () => {
      while (!over) {
        const answer = await request(`http://${proxy}/live`, { dispatcher: agent });
        await answer.body.dump();
        check(answer.statusCode === 200, `a forward was answered ${answer.statusCode}`);
      }
    });
    await pause(500);
    await inParallel(count, ms === undefined ? 1 : CALLERS, async (index) => {
      const { status } = await submitOnce(agent, `http://${proxy}`, { key: `k${index}`, body: '' });
      check(status === 202, `a submit was answered ${status}`);
      accepted.push(performance.now());
      return true;
    });
    if (ms !== undefined) await pause(ms);
    else await until('all deliveries', () => seen.filter(({ mode }) => mode === 'deferred').length === count, 90_000);
    over = true;
    await Promise.all([...permits, ...forwards]);
    return { seen: [...seen].sort((a, b) => a.from - b.from), accepted };
  } finally {
    over = true;
    server.clean();
    await server.exit;
    await Promise.all([client?.close(), agent.destroy(), backend.stop()]);
  }
}

/** Where a run is above the limits of its group. */
function overLimits({ seen }: Run): readonly string[] {
  const wrong: string[] = [];
  let most = 0;
  let mostInStretch = 0;
  for (const { from } of seen) {
    most = Math.max(most, seen.filter((other) => other.from <= from && other.to > from).length);
    mostInStretch = Math.max(mostInStretch, seen.filter((other) => other.from >= from && other.from < from + STRETCH_MS).length);
  }
  if (most > SLOTS) wrong.push(`${most} at once, of ${SLOTS}`);
  if (mostInStretch > MOST) wrong.push(`${mostInStretch} seen within ${STRETCH_MS} ms, of ${MOST} at ${RATE}/s`);
  return wrong;
}

/** Whether stored requests got their share once overdue, and no more. */
function judgeFloor({ seen, accepted }: Run, say: (text: string) => void): void {
  const stored = seen.filter(({ mode }) => mode === 'deferred');
  const overdue = (accepted[0] as number) + FLOOR_AFTER_MS;
  const early = stored.filter(({ from }) => from < overdue).length;
  check(early === 0, `${early} stored requests went before waiting callers, and before they were overdue`);
  const [first, last] = [stored[0]?.from ?? 0, stored.at(-1)?.from ?? 0];
  const between = seen.filter(({ from }) => from >= first && from <= last).length;
  const share = stored.length / between;
  check(stored.length <= between / FLOOR_EVERY + 2, `live callers lost ${stored.length} of ${between}, more than 1 in ${FLOOR_EVERY}`);
  const rate = between / ((last - first) / 1_000);
  let latest = Number.NEGATIVE_INFINITY;
  for (const [index, { from }] of stored.entries()) {
    const bound = (accepted[index] as number) + FLOOR_AFTER_MS + ((index + 1) * FLOOR_EVERY * 1_000) / rate;
    latest = Math.max(latest, from - bound);
  }
  check(latest <= 1_000, `a stored request came ${Math.round(latest)} ms after the bound of the floor`);
  const live = { permits: seen.filter(({ mode }) => mode === 'permit').length, forwards: seen.filter(({ mode }) => mode === 'forward').length };
  say(
    `one group: ${seen.length} admissions (${live.permits} permits, ${live.forwards} forwards, ${stored.length} stored), never above ${RATE}/s and ${SLOTS} at once; ` +
      `${(100 * share).toFixed(1)} % stored while overdue (1 in ${FLOOR_EVERY} is ${100 / FLOOR_EVERY} %); the last ${Math.round(-latest)} ms before its bound`,
  );
}

function configured(backend: number, deferredGroup: string): string {
  const limits = `[ { name: rate, rate: ${RATE}/1s }, { name: slots, concurrency: ${SLOTS} } ]`;
  return `
listen: { api: "127.0.0.1:0", grpc: none, proxy: "127.0.0.1:0", health: none, admin: none }
http: { engine: node }
drain: { delay: 0, grace: 0 }
deferred: { floor: { after: ${FLOOR_AFTER_MS}ms, every: ${FLOOR_EVERY} } }
groups:
  mix: { limits: ${limits} }
  other: { limits: ${limits} }
backends:
  shop: { urls: [ "http://127.0.0.1:${backend}" ] }
routes:
  - { match: { path: /live }, group: mix, backend: shop }
  - { match: { path: /hook }, group: ${deferredGroup}, backend: shop, mode: deferred }
`;
}
