import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dispatch } from '../../src/cli/cli.ts';
import { fakeWorld } from './world.ts';

/* `sluice top` against a server whose groups change between two looks. */

let fake: Server;
let address: string;
let looks = 0;
let broken = false;

beforeAll(async () => {
  fake = createServer((_request, response) => {
    looks += 1;
    if (broken) return void response.destroy();
    const groups = [
      { name: 'idle', waiting: '0', leases: '0', limits: [] },
      { name: 'late', waiting: '7', oldestWaited: '90s', leases: '1', limits: [{ name: 'one', kind: 'LIMIT_KIND_CONCURRENCY', used: '1', capacity: '1' }] },
      { name: 'soon', waiting: String(looks), oldestWaited: '2s', leases: '0', limits: [] },
    ];
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ groups, nextPageToken: '' }));
  });
  fake.listen(0, '127.0.0.1');
  await once(fake, 'listening');
  address = `http://127.0.0.1:${(fake.address() as AddressInfo).port}`;
});
afterAll(() => void fake.close());

const begin = (terminal: boolean, ...args: string[]) => {
  const world = fakeWorld({ SLUICE_URL: address });
  if (terminal) Object.assign(world.stdout, { isTTY: true, rows: 6, columns: 80 });
  return { world, code: dispatch(['top', ...args], world) };
};

test('draws the groups again and again, the longest wait first, and leaves the terminal as it was', async () => {
  const { world, code } = begin(true, '--every', '100ms');
  const frames = () => world.out().split('\u001b[H').slice(1);
  await expect.poll(() => frames().length).toBeGreaterThanOrEqual(3);
  broken = true;
  await expect.poll(() => frames().at(-1)).toContain('does not answer');
  world.signal('SIGINT');
  expect(await code).toBe(0);
  broken = false;
  expect(world.out().startsWith('\u001b[?1049h\u001b[?25l')).toBe(true);
  expect(world.out().endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
  const lines = (frames()[0] ?? '').split('\u001b[K\r\n');
  expect(lines.slice(2, 5).map((line) => line.split(/ {2,}/)[0])).toEqual(['GROUP', 'late', 'soon']);
  expect(lines.every((line) => line.replace('\u001b[J', '').length <= 80)).toBe(true);
});

test('where the output is no terminal, all groups are written once', async () => {
  const { world, code } = begin(false);
  expect(await code).toBe(0);
  expect(
    world
      .out()
      .split('\n')
      .map((line) => line.split(' ')[0]),
  ).toEqual(['GROUP', 'late', 'soon', 'idle', '']);
});

test.each([[['llm']], [['--every', '1']], [['--every', '10ms']], [['--limit', '0']]])('top %j is called wrongly', async (args) => {
  const { world, code } = begin(false, ...args);
  expect([await code, world.err().includes('Usage: sluice top')]).toEqual([64, true]);
});

test('a server that does not answer at first ends it with 69', async () => {
  const world = fakeWorld({ SLUICE_URL: 'http://127.0.0.1:1' });
  expect(await dispatch(['top'], world)).toBe(69);
});
