import { expect, it } from 'vitest';
import { POINTS, playKills } from '../ordeals/deferred-kills.ts';

/* A short form of the ordeal `deferred-kills` (npm run ordeals -- deferred-kills plays 10,000 requests and 20 kills). */

it('X2: a server that is killed at random and at C1 to C6 while it stores and delivers loses nothing that it had acknowledged, nor a callback', async () => {
  const said: string[] = [];
  await playKills({ requests: 320, kills: ['random', ...POINTS], atOnce: 16, callbackEvery: 4 }, (text) => said.push(text));
  expect(said.join('\n')).toMatch(/320 acknowledged, 7 kills: random C1 C2 C3 C4 C5 C6\n320 delivered.*\n80 of 80 callbacks/);
});

it('X2: a server that acknowledges before it commits is found out', async () => {
  const broken = playKills({ requests: 600, kills: ['random', 'random', 'random'], atOnce: 32, callbackEvery: 1_000, broken: 'early' }, () => {});
  await expect(broken).rejects.toThrow(/acknowledged and lost/);
});

it('a server that stores a callback after the end that it reports, not with it, is found out', async () => {
  const broken = playKills({ requests: 200, kills: ['C6'], atOnce: 16, callbackEvery: 2, broken: 'callbacks' }, () => {});
  await expect(broken).rejects.toThrow(/was never reported/);
});
