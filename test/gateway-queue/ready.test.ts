import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { rigged } from '../admission/rig.ts';
import { settled } from '../support/fakes/clock.ts';

/* The recipe of docs/gateway-queue.md: one shard of a bucket on its way until READY. */

const FILE = fileURLToPath(new URL('../../examples/configs/discord-ready.yaml', import.meta.url));

test('With the recipe a bucket lets the next shard go once the one before is READY, or its lease lapsed, and never within 5.25 s', async () => {
  const loaded = loadConfig({ text: readFileSync(FILE, 'utf8'), name: FILE, env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const rig = await rigged(loaded.config.groups);
  const ask = (shard: number) => rig.asked({ group: 'identify', key: String(shard % 2), holder: `shard-${shard}` });
  const [first, other, second, third] = [await ask(0), await ask(1), await ask(2), await ask(4)];
  await rig.pass(0.1);
  expect([first.seconds, other.seconds].every((at) => at! < 0.1)).toBe(true);
  // READY at once: the spacing holds all the same.
  await rig.admission.release({ caller: '', permit: other.id, disposition: 'used' });
  const next = await ask(3);
  await rig.pass(20);
  expect(next.seconds! - other.seconds!).toBeGreaterThanOrEqual(5.25);
  expect(second.outcome).toBeUndefined();
  await rig.admission.release({ caller: '', permit: first.id, disposition: 'used' });
  await settled();
  await rig.pass(0.1);
  expect(second.seconds).toBeGreaterThanOrEqual(20);
  expect(second.seconds).toBeLessThan(20.3);
  second.held.delivered();
  // The second dies on its way.
  await rig.pass(59);
  expect(third.outcome).toBeUndefined();
  await rig.pass(2);
  expect(third.seconds).toBeGreaterThanOrEqual(80);
});
