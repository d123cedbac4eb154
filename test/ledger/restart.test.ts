import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Coordinator, LeaderLease } from '../../src/coordination/coordinator.ts';
import { MemoryRegisters, type RegisterDisk } from '../../src/coordination/registers/memory.ts';
import { openSingleNodeCoordinator } from '../../src/coordination/single-node.ts';
import { type Instant, SECOND } from '../../src/core/time.ts';
import type { Ledger, TreeLedger } from '../../src/ledger/ledger.ts';
import { createLedger } from '../../src/ledger/log-ledger.ts';
import { MemoryDisk, MemoryStore } from '../../src/ledger/stores/memory.ts';
import { FakeClock } from '../support/fakes/clock.ts';
import { FaultyStore } from '../support/fakes/store.ts';

/** What outlives every process of a node. */
interface Machine {
  readonly clock: FakeClock;
  readonly registers: RegisterDisk;
  readonly disk: MemoryDisk;
}

interface Server {
  readonly store: FaultyStore;
  readonly coordinator: Coordinator;
  readonly leaderLease: LeaderLease;
  readonly ledger: Ledger;
  readonly tree: TreeLedger;
}

let sessions = 0;

async function start({ clock, registers, disk }: Machine): Promise<Server> {
  const coordinator = await openSingleNodeCoordinator({ registers: new MemoryRegisters(registers), clock, session: `s${++sessions}` });
  const placement = coordinator.place('root');
  if (placement.at !== 'here') throw new Error('Not here.');
  const store = new FaultyStore(new MemoryStore({ bytes: 64 << 20 }, disk));
  const { term, from } = placement.leaderLease;
  const ledger = createLedger({ store, clock, term, from });
  return { store, coordinator, leaderLease: placement.leaderLease, ledger, tree: await ledger.tree('root') };
}

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('grant' as const),
      who: fc.nat(2),
      fate: fc.constantFrom('ok' as const, 'ok' as const, 'lost' as const, 'unheard' as const),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('advance' as const), by: fc.integer({ min: 0, max: 800_000 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('start' as const), who: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('stop' as const), who: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reboot' as const), wall: fc.integer({ min: -3600, max: 3600 }) }) },
);

describe('one node through crashes, stops, rivals and lost answers', () => {
  it('terms only grow, every slot has one term, what was told is never lost, fences only grow', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 50 }), async (steps) => {
        const machine: Machine = { clock: new FakeClock(), registers: new Map(), disk: new MemoryDisk() };
        let servers: (Server | undefined)[] = [];
        const told: { term: bigint; serial: number; at: Instant }[] = [];
        let newest = 0n;
        let serial = 0;
        for (const one of steps) {
          const server = 'who' in one ? servers[one.who] : undefined;
          if (one.do === 'advance') await machine.clock.advanceAsync(one.by);
          else if (one.do === 'reboot') {
            servers = [];
            machine.clock.boot = `boot-${++sessions}`;
            machine.clock.wallShift = one.wall * SECOND;
          } else if (one.do === 'start') {
            const started = await start(machine);
            servers[one.who] = started;
            expect(started.leaderLease.term).toBeGreaterThan(newest);
            newest = started.leaderLease.term;
            const kept = new Set(started.tree.restored?.leases.map((lease) => `${lease.term}/${lease.serial}`));
            for (const grant of told) {
              expect(started.leaderLease.from).toBeGreaterThan(grant.at);
              expect(kept.has(`${grant.term}/${grant.serial}`)).toBe(true);
            }
          } else if (one.do === 'stop') {
            const leases = server?.tree.restored?.leases ?? [];
            const mine = told.filter(({ term }) => term === server?.leaderLease.term).map((grant) => record(grant.term, grant.serial, grant.at));
            await server?.tree
              .seal({ at: machine.clock.now(), limits: [] }, { reservations: [], pauses: [], overrides: [], leases: [...leases, ...mine] })
              .catch(() => {});
            await server?.coordinator.leave().catch(() => {});
          } else if (server !== undefined) {
            const { leaderLease, tree, store } = server;
            await leaderLease.extend(machine.clock.now())?.catch(() => {});
            const at = machine.clock.now();
            if (at < leaderLease.from || at >= leaderLease.until()) continue;
            store.fates = [one.fate];
            serial++;
            const answered = await tree.append([{ kind: 'grant', lease: record(leaderLease.term, serial, at) }]).then(
              () => true,
              () => false,
            );
            store.fates = [];
            if (!answered) continue;
            const last = told.at(-1);
            if (last !== undefined) expect((leaderLease.term << 40n) + BigInt(serial)).toBeGreaterThan((last.term << 40n) + BigInt(last.serial));
            told.push({ term: leaderLease.term, serial, at });
          }
        }
      }),
      { numRuns: 400 },
    );
  });
});

function record(term: bigint, serial: number, at: Instant) {
  return { group: 'root', key: '', term, serial, tag: { high: 0, low: 0 }, costs: {}, grantedAt: at, expiresAt: at, duration: 0, holder: '', aggregate: false };
}
