import { crashRestarts } from './crash-restarts.ts';
import { deferredClusterKills } from './deferred-cluster-kills.ts';
import { deferredDisk } from './deferred-disk.ts';
import { deferredKills } from './deferred-kills.ts';
import { deferredOrder } from './deferred-order.ts';
import { fullDisk } from './full-disk.ts';
import { gatewayQueue } from './gateway-queue.ts';
import { mixedLoad } from './mixed-load.ts';
import type { Ordeal } from './ordeal.ts';
import { smallHeap } from './small-heap.ts';
import { storeFull } from './store-full.ts';
import { syncTrace } from './sync-trace.ts';

/*
 * npm run ordeals -- NAME...      plays hard cases against real processes on loopback; `all`: each of them
 *
 * Each ends with "recovered, nothing lost", or with what was wrong and exit code 1. One that this machine cannot play says
 * so, and the exit code is 3.
 */

const ORDEALS: readonly Ordeal[] = [
  ...[fullDisk, storeFull, smallHeap, crashRestarts, gatewayQueue],
  ...[deferredKills, deferredClusterKills, deferredOrder, deferredDisk, syncTrace, mixedLoad],
];

const names = process.argv.slice(2);
const chosen = names.includes('all') ? ORDEALS : ORDEALS.filter(({ name }) => names.includes(name));
const unknown = names.filter((name) => name !== 'all' && !ORDEALS.some((ordeal) => ordeal.name === name));
const say = (text: string): void => void process.stdout.write(`${text}\n`);

if (chosen.length === 0 || unknown.length > 0) {
  say(`Usage: npm run ordeals -- NAME...   one of:\n  all\n${ORDEALS.map(({ name, about }) => `  ${name}: ${about}`).join('\n')}`);
  process.exit(2);
}
let failed = 0;
let left = 0;
for (const { name, about, lacks, run } of chosen) {
  const lacking = lacks();
  if (lacking !== undefined) {
    say(`${name}: NOT PLAYED, this machine lacks ${lacking}`);
    left++;
    continue;
  }
  say(`${name}: ${about}`);
  try {
    await run((text) => say(`${name}: ${text}`));
    say(`${name}: recovered, nothing lost`);
  } catch (cause) {
    failed++;
    say(`${name}: FAILED: ${cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)}`);
  }
}
process.exit(failed > 0 ? 1 : left > 0 ? 3 : 0);
