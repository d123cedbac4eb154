import { expect, test } from 'vitest';
import { playKills } from '../ordeals/deferred-kills.ts';

/* A small run of the ordeal `deferred-kills`, and the same with a server that acknowledges before it commits. */

test('X2: a server that is killed while it stores and delivers loses nothing that it acknowledged', async () => {
  const said: string[] = [];
  await playKills({ requests: 300, kills: 2, atOnce: 16 }, (text) => said.push(text));
  expect(said[0]).toBe('300 acknowledged, 2 kills');
}, 120_000);

test('X2: a server that acknowledges before its commit is found out by the same run', async () => {
  await expect(playKills({ requests: 600, kills: 3, atOnce: 32, broken: true }, () => {})).rejects.toThrow(/acknowledged and lost/);
}, 120_000);
