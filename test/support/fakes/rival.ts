/*
 * A server reduced to what fights over a store: it takes the term, then writes one lease after the other for as long as it
 * may decide, and says so on standard output. Started by tests as a process of its own: node rival.ts FOLDER
 */
import { randomBytes } from 'node:crypto';
import { LmdbRegisters } from '../../../src/coordination/registers/lmdb.ts';
import { openSingleNodeCoordinator, readLastClock } from '../../../src/coordination/single-node.ts';
import { createLedger } from '../../../src/ledger/log-ledger.ts';
import { LmdbStore } from '../../../src/ledger/stores/lmdb.ts';
import { bootId, createSystemClock } from '../../../src/platform/system-clock.ts';
import { LmdbFile } from '../../../src/storage/lmdb.ts';

const say = (what: object): unknown => process.stdout.write(`${JSON.stringify(what)}\n`);
const file = new LmdbFile(process.argv[2] as string);
const registers = new LmdbRegisters(file);
const clock = createSystemClock({ sources: { monotonic: process.hrtime.bigint, wall: Date.now, boot: bootId() }, record: await readLastClock(registers) });
const coordinator = await openSingleNodeCoordinator({ registers, clock, session: randomBytes(8).toString('hex') });
const placement = coordinator.place('root');
if (placement.at !== 'here') throw new Error('Not here.');
const { leaderLease } = placement;
const { term, from } = leaderLease;
const ledgers = createLedger({ store: new LmdbStore(file, { bytes: 64 << 20 }), clock, term });
/** As a server does: an older one that writes without a pause can keep an opening from its end, until its slots are over. */
async function opened(): ReturnType<typeof ledgers.tree> {
  for (let tries = 1; ; tries++) {
    try {
      return await ledgers.tree('root');
    } catch (cause) {
      if ((cause as Error).name !== 'Conflict' || tries >= 20) throw cause;
    }
  }
}
const ledger = await opened();
say({ say: 'open', term: String(term), from, restored: ledger.restored?.leases.length ?? 0 });
try {
  for (let serial = 1; ; serial++) {
    while (clock.now() < from) await new Promise<void>((resolve) => clock.at(from, resolve));
    await leaderLease.extend(clock.now());
    const at = clock.now();
    if (at >= leaderLease.until()) continue;
    const lease = {
      group: 'root',
      key: '',
      term,
      serial,
      tag: { high: 0, low: 0 },
      costs: {},
      grantedAt: at,
      expiresAt: at,
      duration: 0,
      holder: '',
      aggregate: false,
    };
    await ledger.append([{ kind: 'grant', lease }]);
    say({ say: 'granted', term: String(term), serial, at });
  }
} catch (cause) {
  say({ say: 'lost', term: String(term), why: (cause as Error).name });
}
clock.stop();
