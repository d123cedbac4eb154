import type { GroupView } from '../admission/admission.ts';
import { shiftAll, shiftGroup } from '../admission/shift.ts';
import type { Whereabouts } from '../coordination/replica.ts';
import { type Micros, SECOND } from '../core/time.ts';
import type { Calls } from './calls.ts';
import type { Directory, Spot } from './directory.ts';
import type { Door } from './door.ts';

/** A peer that does not say what it has within this time is left out. */
const WAIT: Micros = SECOND;

/** What it takes to see all groups. */
export interface OverviewParts {
  readonly door: Door;
  readonly directory: Directory;
  readonly calls: Calls;
  readonly place: (shard: number) => Whereabouts;
  readonly peers: () => readonly string[];
}

/** Every group, as the replica that decides for it sees it; of one that nobody decides for what its settings say. */
export async function overview(parts: OverviewParts): Promise<readonly GroupView[]> {
  const { door, directory, place } = parts;
  const [here, ...there] = await Promise.all([door.groups(), ...parts.peers().map((peer) => groupsOf(parts.calls, peer))]);
  const views = new Map<string, GroupView>();
  const take = (view: GroupView, from: string): void => {
    const spot = directory.of(view.name);
    const at = spot && place(spot.shard);
    const decides = at === undefined || (at.at === 'peer' ? at.instance === from : at.at === 'here' && from === '');
    if (decides || !views.has(view.name)) views.set(view.name, view);
  };
  for (const view of here) take(view, '');
  for (const { peer, groups } of there) for (const view of groups) take(view, peer);
  return [...directory.all().values()].map((spot) => views.get(spot.settings.spec.name) ?? unseen(spot));
}

async function groupsOf(calls: Calls, peer: string): Promise<{ readonly peer: string; readonly groups: readonly GroupView[] }> {
  const groups: GroupView[] = [];
  for (;;) {
    const reply = await calls.make(peer, 'groups', { from: groups.length }, WAIT);
    if (reply.how !== 'value') return { peer, groups };
    const page = shiftAll(reply.value as readonly GroupView[], reply.by, shiftGroup);
    if (page.length === 0) return { peer, groups };
    groups.push(...page);
  }
}

function unseen({ settings }: Spot): GroupView {
  const { spec } = settings;
  return {
    name: spec.name,
    parent: spec.parent?.group,
    enforce: spec.enforce,
    limits: [],
    waiting: 0,
    waitingBytes: 0,
    waitingByPriority: [],
    oldestWaiterSince: undefined,
    leases: 0,
    keys: 0,
    pausedUntil: undefined,
    pausedKeys: 0,
    overriddenUntil: undefined,
    counters: { admitted: 0, refused: {}, lapsed: 0, released: 0, shadowHeld: 0 },
  };
}
