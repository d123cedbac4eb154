import { expect, test } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import { group, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { rigged, settingsOf } from './rig.ts';

const spaced = [settingsOf(group('g', [spacing(10 * SECOND)]))];

test('Who cannot be reached is passed over, and stands at its place again once it can', async () => {
  const rig = await rigged(spaced);
  await rig.asked();
  const [first, second, third] = [rig.ask(), rig.ask(), rig.ask()];
  first.held.setAway?.(true);
  await rig.pass(10);
  expect([first.seconds, second.seconds]).toEqual([undefined, 10]);
  first.held.setAway?.(false);
  await rig.pass(10);
  expect([first.seconds, third.seconds]).toEqual([20, undefined]);
});

test('A place that two ask for by one request id is passed over only while neither can be reached', async () => {
  const rig = await rigged(spaced);
  await rig.asked();
  const here = rig.ask({ requestId: 'r' });
  here.held.setAway?.(true);
  const behind = rig.ask();
  const there = rig.ask({ requestId: 'r' });
  await rig.pass(10);
  expect([there.seconds, behind.seconds]).toEqual([10, undefined]);
  expect(there.held.arrival()).toEqual(here.held.arrival());
  await settled();
});
