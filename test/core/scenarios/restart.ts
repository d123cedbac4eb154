import type { GroupSpec } from '../../../src/core/group.ts';
import type { Micros } from '../../../src/core/time.ts';
import { Driver } from '../driver.ts';

/** The process dies now and another takes over with what was acknowledged; `down` later it decides again. */
export function restart(driver: Driver, groups: readonly GroupSpec[], term: bigint, down: Micros = 0): Driver {
  const from = (driver.now + down) as Driver['now'];
  return new Driver({ groups, recording: true, term, from, now: from, restored: driver.restored(), ackDelay: driver.ackDelay, disk: driver.disk });
}
