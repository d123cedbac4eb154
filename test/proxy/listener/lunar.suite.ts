import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { punctual } from '../../support/fakes/processor.ts';
import { Recorder, type Respond } from '../../support/fakes/recorder.ts';
import { ServerProcess } from '../../support/fakes/server-process.ts';
import { type Answered, ask, type Between, type ProxyRig, proxyRig } from './rig.ts';

/*
 * Lunar's own scenarios in real time on a whole server, before whatever backend. Their tolerance is a tenth.
 * `SLUICE_LOOPS=20 npx vitest run test/proxy/listener/lunar.test.ts test/proxy/listener/nginx.test.ts` runs each that often.
 */

const LOOPS = Number(process.env['SLUICE_LOOPS'] ?? 1);
/** Numbers of the runs. */
export const runs = Array.from({ length: LOOPS }, (_each, run) => run + 1);

/** What stands between the proxy and the recorder, made anew for each scenario. */
export type MakeBetween = (recorder: Recorder) => Promise<Between>;

export const REMEDY = 'lunar-strategy-queue.yaml';
export const FLOW = 'lunar-queue-flow.yaml';

const example = (name: string) => readFileSync(fileURLToPath(new URL(`../../../examples/configs/${name}`, import.meta.url)), 'utf8');

/** An example with another backend and other numbers; its own listeners and store make place for the rig's. */
export function lunar(name: string, ...changes: readonly (readonly [from: string, to: string])[]): string {
  let text = example(name)
    .replace(/^listen:.*$/m, '')
    .replace(/^store:.*$/m, '')
    .replaceAll('http://127.0.0.1:7780', 'BACKEND');
  for (const [from, to] of changes) {
    if (!text.includes(from)) throw new Error(`${name} does not say ${from}`);
    text = text.replace(from, to);
  }
  return text;
}

/** Statuses in order of size. */
export const statuses = (answers: readonly Answered[]): readonly number[] => answers.map(({ status }) => status).sort();

const resource = () => ({ path: '/resource/7' });
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const many = (rig: ProxyRig, count: number, parts: (index: number) => Parameters<ProxyRig['ask']>[0]): Promise<readonly Answered[]> =>
  Promise.all(Array.from({ length: count }, (_each, index) => rig.ask(parts(index))));

/** Seconds after `began` at which the backend saw each request, in its order. */
function seenAt(rig: ProxyRig, began: number): readonly number[] {
  return rig.backend.seen.map(({ at }) => (at - began) / 1000);
}

type Start = (text: string, respond?: Respond) => Promise<ProxyRig>;

/** Registers the scenarios, for each of the runs. */
export function lunarSuite(between?: MakeBetween): void {
  let rig: ProxyRig | undefined;
  afterEach(() => rig?.stop());
  const start: Start = async (text, respond) => {
    await rig?.stop();
    rig = await proxyRig(text, respond, undefined, between);
    return rig;
  };
  describe.each(runs)('run %i', () => {
    waiting(start);
    counting(start);
    stopping(between);
  });
}

function waiting(start: Start): void {
  test('LN-10: ten at once against two in 2 s and a wait timeout of 5 s: two each at 0, 2 and 4 s, four refused', async () => {
    // At half of its speed, so that a whole second lies between the last window and the wait timeout, on either side.
    await punctual(500, async () => {
      const rig = await start(lunar(REMEDY, ['window: 2/1s', 'window: 2/2s'], ['default: 2.2s', 'default: 5s']));
      const began = performance.now();
      const answers = await many(rig, 10, resource);
      const seen = seenAt(rig, began);
      for (const [index, at] of seen.entries()) expect(at).toBeGreaterThan(Math.floor(index / 2) * 1.98);
      for (const refused of answers.filter(({ status }) => status === 429)) {
        expect(refused.took).toBeGreaterThan(4_980);
        expect(refused).toMatchObject({ body: 'Too many requests', headers: { 'content-type': 'text/plain', 'sluice-reason': 'expired' } });
      }
      return () => expect(statuses(answers)).toEqual([200, 200, 200, 200, 200, 200, 429, 429, 429, 429]);
    });
  });

  test.each([
    [
      'flow',
      FLOW,
      [
        ['window: 100/60s', 'window: 1/10s'],
        ['default: 10s', 'default: 2s'],
        ['requests: 50', 'requests: 1'],
      ],
    ],
    [
      'remedy',
      REMEDY,
      [
        ['window: 2/1s', 'window: 1/10s'],
        ['default: 2.2s', 'default: 1s'],
        ['requests: 10', 'requests: 2'],
      ],
    ],
  ] as const)('LN-11: ten at once against one in 10 s: one passes, nine are refused (%s)', async (_kind, name, changes) => {
    const rig = await start(lunar(name, ...changes));
    const answers = await many(rig, 10, () => ({ path: '/resource/7', headers: { host: 'api.example.com' } }));
    expect(statuses(answers)).toEqual([200, ...Array.from({ length: 9 }, () => 429)]);
    expect(rig.backend.seen).toHaveLength(1);
  });

  test('LN-12: production passes staging, and everybody passes', async () => {
    const rig = await start(lunar(REMEDY, ['default: 2.2s', 'default: 60s']));
    const shuffled = ['staging', 'production', 'production', 'staging', 'staging', 'production', 'production', 'staging'];
    const began = performance.now();
    const answers = await many(rig, 8, (index) => ({ path: `/resource/${shuffled[index]}`, headers: { 'x-group': shuffled[index] ?? '' } }));
    expect(statuses(answers)).toEqual(Array.from({ length: 8 }, () => 200));
    const order = rig.backend.seen.map(({ target }) => target.slice('/resource/'.length));
    expect(order.slice(2, 4)).toEqual(['production', 'production']);
    expect(order.slice(6)).toEqual(['staging', 'staging']);
    for (const [index, at] of seenAt(rig, began).entries()) expect(at).toBeGreaterThan(Math.floor(index / 2) * 0.99);
  });
}

function counting(start: Start): void {
  test('LN-17: two at once at a provider that takes its time: the third is refused, and later two more pass', async () => {
    const held: (() => void)[] = [];
    const rig = await start(
      lunar(REMEDY, ['{ name: window, window: 2/1s }', '{ name: slots, concurrency: 2 }'], ['default: 2.2s', 'default: 0']),
      (_request, socket) => void held.push(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')),
    );
    for (let pair = 0; pair < 2; pair++) {
      const two = many(rig, 2, resource);
      await rig.backend.until(() => held.length === 2);
      if (pair === 0) expect((await rig.ask(resource())).status).toBe(429);
      for (const answer of held.splice(0)) answer();
      expect(statuses(await two)).toEqual([200, 200]);
      await rig.shows('resource', { leases: 0 });
    }
  });

  test('LN-20: eleven against ten in 10 s, on one gateway: ten pass', async () => {
    const rig = await start(lunar(REMEDY, ['window: 2/1s', 'window: 10/10s'], ['default: 2.2s', 'default: 0']));
    expect(statuses(await many(rig, 8, resource))).toEqual(Array.from({ length: 8 }, () => 200));
    expect(statuses(await many(rig, 3, resource))).toEqual([200, 200, 429]);
  });

  test('LN-22: six one after the other against five in 10 s', async () => {
    const rig = await start(lunar(REMEDY, ['window: 2/1s', 'window: 5/10s'], ['default: 2.2s', 'default: 0']));
    const all: number[] = [];
    for (let each = 0; each < 6; each++) all.push((await rig.ask(resource())).status);
    expect(all).toEqual([200, 200, 200, 200, 200, 429]);
  });

  test('LN-22: three against two in 3 s, and one in the next', async () => {
    const rig = await start(lunar(REMEDY, ['window: 2/1s', 'window: 2/3s'], ['default: 2.2s', 'default: 0']));
    const all: number[] = [];
    for (let each = 0; each < 3; each++) all.push((await rig.ask(resource())).status);
    await pause(3_050);
    expect([...all, (await rig.ask(resource())).status]).toEqual([200, 200, 429, 200]);
  });
}

function stopping(between?: MakeBetween): void {
  test('LN-23: SIGTERM with one in transit: it is answered; who comes later is told 503 and when to come', async () => {
    let answer = (): void => {};
    const backend = await Recorder.start((_request, socket) => {
      answer = () => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone');
    });
    const front = await between?.(backend);
    const listen = 'listen: { api: none, grpc: none, health: none, admin: none, proxy: "127.0.0.1:0" }\ndrain: { delay: 0, grace: 60s }\nstore: memory\n';
    const server = new ServerProcess(`${listen}${lunar(REMEDY).replace('BACKEND', (front ?? backend).url)}`);
    try {
      const port = Number(
        String((await server.until('serving'))['proxy'])
          .split(':')
          .at(-1),
      );
      const first = ask(port, resource());
      await backend.until(() => backend.seen.length === 1);
      server.child.kill('SIGTERM');
      await server.until('draining');
      const second = await ask(port, resource());
      expect(second).toMatchObject({ status: 503, headers: { 'sluice-reason': 'draining', 'retry-after': expect.stringMatching(/^\d+$/) } });
      answer();
      expect(await first).toMatchObject({ status: 200, body: 'done' });
      expect(await server.exit).toEqual([0, null]);
      expect(backend.seen).toHaveLength(1);
    } finally {
      server.clean();
      await front?.stop();
      await backend.stop();
    }
  });
}
