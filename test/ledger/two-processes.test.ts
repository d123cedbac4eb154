import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { createLedger } from '../../src/ledger/log-ledger.ts';
import { LmdbStore } from '../../src/ledger/stores/lmdb.ts';
import { LmdbFile } from '../../src/storage/lmdb.ts';
import { FakeClock } from '../support/fakes/clock.ts';
import { folder } from '../support/fakes/folder.ts';

interface Said {
  readonly say: 'open' | 'granted' | 'lost';
  readonly term: string;
  readonly from: number;
  readonly serial: number;
  readonly at: number;
  readonly restored: number;
  readonly why: string;
}

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** A server process on the folder, and all it says. */
function rival(path: string) {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../support/fakes/rival.ts', import.meta.url)), path], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const said: Said[] = [];
  let rest = '';
  let heard = (): void => {};
  child.stdout.on('data', (bytes) => {
    const lines = `${rest}${bytes}`.split('\n');
    rest = lines.pop() as string;
    for (const line of lines) said.push(JSON.parse(line) as Said);
    heard();
  });
  const until = (enough: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      heard = () => enough() && resolve();
      heard();
    });
  return { child, said, until, grants: () => said.filter((one) => one.say === 'granted') };
}

it('two processes on one folder: the newer decides, in slots the older cannot have used, and nothing acknowledged is lost', async () => {
  const { path, end } = await folder();
  const one = rival(path);
  await one.until(() => one.grants().length >= 30);
  const two = rival(path);
  await two.until(() => two.grants().length >= 30);
  await one.until(() => one.said.at(-1)?.say === 'lost');
  two.child.kill('SIGKILL');
  await new Promise((resolve) => two.child.once('exit', resolve));

  const [opened] = two.said as [Said];
  expect([one.said[0]?.term, opened.term]).toEqual(['1', '2']);
  expect(one.said.at(-1)?.why).toMatch(/Lost$/);
  for (const { at } of one.grants()) expect(at).toBeLessThan(opened.from);
  for (const { at } of two.grants()) expect(at).toBeGreaterThanOrEqual(opened.from);

  const file = new LmdbFile(path);
  const tree = await createLedger({ store: new LmdbStore(file, { bytes: 64 << 20 }), clock: new FakeClock(), term: 3n }).tree('root');
  const kept = new Set(tree.restored?.leases.map(({ term, serial }) => `${term}/${serial}`));
  for (const { term, serial } of [...one.grants(), ...two.grants()]) expect(kept.has(`${term}/${serial}`)).toBe(true);
  await file.close();
  await end();
});
