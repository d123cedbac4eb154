import { randomUUID } from 'node:crypto';
import { Gatekeeper } from './admission/gatekeeper.ts';
import { createSystemClock } from './admission/system-clock.ts';
import type { Config } from './config/load.ts';
import { lastClock, openLocalCoordinator } from './coordination/local.ts';
import { createLedger } from './ledger/ledger-log.ts';
import { gateParts, type OpenedAdmission, type OpenParts } from './opened.ts';
import { openStorage } from './storage.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { timedClock, timedStore } from './timed.ts';

/** Admission of a node that works alone: from the disk up to the door. */
export async function openAlone(config: Config, { clocks, version, nodeVersion, log, opened }: OpenParts): Promise<OpenedAdmission> {
  const storage = openStorage(config.store);
  opened.push(storage.close);
  const clock = createSystemClock({ sources: clocks, record: await lastClock(storage.registers) });
  opened.push(async () => clock.stop());
  const coordinator = await openLocalCoordinator({ registers: storage.registers, clock, session: randomUUID() });
  opened.push(() => coordinator.leave());
  const place = coordinator.place('');
  if (place.at !== 'here') throw new Error('The term of the store was lost while it was taken; start again.');
  const lost = Promise.withResolvers<Error>();
  const metrics = createMetrics({ version, nodeVersion, now: () => clock.now(), groups: () => gatekeeper.groups() });
  const store = timedStore(storage.store, () => clock.now(), metrics.flushed);
  const gatekeeper: Gatekeeper = new Gatekeeper({
    ...gateParts(config, {
      ...{ clock: timedClock(clock, metrics.wokeLate), log, metrics },
      notices: (notice) => {
        if (notice.kind === 'lost') lost.resolve(notice.cause);
      },
    }),
    coordinator,
    ledger: createLedger({ store, clock, term: place.tenure.term }),
    recording: storage.durable,
    reports: true,
  });
  await gatekeeper.start();
  opened.push(() => gatekeeper.drain(0));
  return {
    admission: gatekeeper,
    metrics,
    clock,
    remarks: () => [],
    lost: lost.promise,
    reconfigure: (next) => gatekeeper.reconfigure(next.groups),
    drain: (grace) => gatekeeper.drain(grace),
    close: async () => {
      clock.stop();
      await storage.close();
    },
  };
}
