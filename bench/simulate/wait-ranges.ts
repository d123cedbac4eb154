import { SECOND } from '../../src/core/time.ts';
import { WORKLOADS } from '../../test/core/waits/workloads.ts';
import { judge, play } from '../../test/core/waits/world.ts';
import { table } from '../lib/figures.ts';

/* How well the range holds in which a caller is expected to be admitted: seeded workloads in virtual time against the gate that the server ships. */

const CALLERS = 6_000;

/** Runs all workloads with this seed; answers Markdown. */
export function waitRanges(seed: number): string {
  const rows = WORKLOADS.map(({ name, groups, callers }) => {
    const held = judge(play(groups, callers(seed, CALLERS)));
    return [
      ...[name, String(held.callers), String(held.medianPlace), `${(held.medianWait / SECOND).toFixed(1)} s`, percent(held.coverage)],
      ...[`${percent(held.early)} / ${percent(held.late)}`, held.medianWidth.toFixed(2), held.p90Width.toFixed(2), percent(held.within2), percent(held.exact)],
    ];
  });
  const head = ['workload', 'waited', 'median place', 'median wait', 'inside', 'early / late', 'width / wait, median', 'p90', 'width <= 2 waits', 'exact'];
  return `Seed ${seed}, ${CALLERS} callers each.\n\n${table(head, rows)}`;
}

function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`;
}
