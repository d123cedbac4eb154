import { create } from '@bufbuild/protobuf';
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { GroupCounters, GroupStanding, GroupView } from '../admission/admission.ts';
import type { GroupHistory } from '../admission/group-activity.ts';
import type { OperatorNote } from '../admission/operator-notes.ts';
import { permitId } from '../admission/permit-id.ts';
import type { Binding } from '../core/gate/binding.ts';
import type { LimitView } from '../core/gate/views.ts';
import { type Instant, NEVER } from '../core/time.ts';
import * as pb from '../gen/sluice/v1/admission_pb.ts';
import * as groupPb from '../gen/sluice/v1/group_pb.ts';
import { toProto } from './duration.ts';
import { filled, limit, since, until, whole } from './proto-messages.ts';
import { quotaText } from './quota-text.ts';
import { type ShownBinding, verdict } from './verdict.ts';
import type { Viewer } from './viewer.ts';

/** When an answer is given, and to whom. */
export interface Reader {
  readonly now: Instant;
  /** Milliseconds since 1970 of an instant. */
  readonly epoch: (at: Instant) => number;
  readonly viewer: Viewer;
}

/** An instant by the server's clock; undefined for NEVER and for no moment. */
export function moment(at: Instant | undefined, { epoch }: Pick<Reader, 'epoch'>): Timestamp | undefined {
  return at === undefined || at === NEVER ? undefined : timestampFromMs(Math.floor(epoch(at)));
}

/** A group as it stands. */
export function group(view: GroupView, reader: Reader): groupPb.Group {
  const { now } = reader;
  const { pausedUntil, oldestWaiterSince, standing, placement } = view;
  const undecided = placement !== undefined && placement.replica === '';
  return create(
    groupPb.GroupSchema,
    filled({
      name: view.name,
      parent: view.parent ?? '',
      enforce: view.enforce,
      limits: view.limits.map((each) => limit(shownLimit(each, reader), now)),
      waiting: whole(view.waiting),
      waitingBytes: whole(view.waitingBytes),
      backlog: view.waitingByPriority.map((each) => create(groupPb.PriorityBacklogSchema, { priority: each.priority, waiting: whole(each.waiting) })),
      oldestWaited: oldestWaiterSince === undefined ? undefined : since(oldestWaiterSince, now),
      leases: whole(view.leases),
      keys: whole(view.keys),
      pause:
        pausedUntil === undefined ? undefined : create(groupPb.PauseStateSchema, filled({ left: until(pausedUntil, now), ...noteOf(standing?.pause, reader) })),
      pausedKeys: whole(view.pausedKeys),
      overrideLeft: until(view.overriddenUntil, now),
      placement: placement && create(groupPb.PlacementSchema, { ...placement }),
      counters: countersMessage(view.counters, standing),
      state: undecided ? 'undecided' : (standing?.state ?? 'undecided'),
      flags: flagsOf(view),
      ...(standing === undefined ? {} : standingOf(view, standing, reader)),
    }),
  );
}

/** What holds waiters up, as this reader may see it. */
export function bindingMessage(binding: Binding, reader: Reader, note?: OperatorNote): pb.Binding {
  const { now, viewer } = reader;
  const shown = shownBinding(binding, viewer, note);
  const { holders, loudest } = shown;
  const oldest = holders?.oldest;
  const holder =
    oldest &&
    create(
      pb.BindingHolderSchema,
      filled({
        permit: viewer.ofKey(binding.holders?.oldest?.key ?? '', permitId(oldest.group, oldest.serial, oldest.tag)),
        holder: oldest.holder,
        key: oldest.key,
        group: oldest.group,
        since: moment(oldest.since, reader),
        expiresAt: moment(oldest.expiresAt, reader),
      }),
    );
  return create(
    pb.BindingSchema,
    filled({
      group: shown.group,
      limit: shown.limit,
      kind: shown.kind,
      key: shown.key ?? '',
      opensAt: moment(shown.opensAt, reader),
      holders: holders && create(pb.BindingHoldersSchema, filled({ count: holders.count, oldest: holder })),
      loudest: loudest && create(pb.LoudestKeySchema, loudest),
      text: verdict(shown, now),
    }),
  );
}

/** A binding with the names that its reader may see. */
export function shownBinding(binding: Binding, viewer: Viewer, note?: OperatorNote): ShownBinding {
  const { key, holders, loudest } = binding;
  const oldest = holders?.oldest;
  const shown = oldest && { ...oldest, key: viewer.key(oldest.key), holder: viewer.ofKey(oldest.key, oldest.holder) };
  return {
    ...binding,
    key: key === undefined ? undefined : viewer.key(key),
    holders: holders && { ...holders, oldest: shown },
    loudest: loudest && { ...loudest, key: viewer.key(loudest.key) },
    note,
  };
}

function shownLimit(view: LimitView, { viewer }: Reader): LimitView {
  const { keys } = view;
  return keys === undefined ? view : { ...view, keys: { ...keys, fullest: keys.fullest.map((each) => ({ ...each, key: viewer.key(each.key) })) } };
}

function countersMessage(counters: GroupCounters, standing: GroupStanding | undefined): groupPb.GroupCounters {
  return create(groupPb.GroupCountersSchema, {
    admitted: whole(counters.admitted),
    refused: Object.fromEntries(Object.entries(counters.refused).map(([reason, count]) => [reason.toUpperCase(), whole(count)])),
    lapsed: whole(counters.lapsed),
    released: whole(counters.released),
    shadowHeld: whole(counters.shadowHeld),
    arrived: whole(standing?.activity.arrived ?? 0),
    left: whole(standing?.activity.left ?? 0),
  });
}

function standingOf(view: GroupView, standing: GroupStanding, reader: Reader): Partial<Omit<groupPb.Group, '$typeName' | '$unknown'>> {
  const { activity, binding, history, keyPauses, override } = standing;
  const { now, viewer } = reader;
  const note =
    binding?.kind !== 'pause' || binding.group !== view.name ? undefined : binding.key === undefined ? standing.pause : noteOfKey(standing, binding.key);
  return filled({
    stateSince: moment(standing.stateSince, reader),
    lastAdmittedAt: moment(activity.lastAdmittedAt, reader),
    oldestSince: moment(view.oldestWaiterSince, reader),
    binding: binding && bindingMessage(binding, reader, note),
    history: history && historyMessage(history, reader),
    recent: create(groupPb.RecentSchema, { refused: { ...activity.refused } }),
    keyPauses: keyPauses.map((each) =>
      create(groupPb.KeyPauseSchema, filled({ key: viewer.key(each.key), left: until(each.until, now), ...noteOf(each.note, reader) })),
    ),
    override: override && overrideMessage(override, reader),
    arrivedPerSecond: activity.arrivedPerSecond,
    admittedPerSecond: activity.admittedPerSecond,
  });
}

function noteOfKey({ keyPauses }: GroupStanding, key: string): OperatorNote | undefined {
  return keyPauses.find((each) => each.key === key)?.note;
}

function noteOf(note: OperatorNote | undefined, reader: Reader): { since?: Timestamp | undefined; by?: string; reason?: string } {
  return note === undefined ? {} : { since: moment(note.since, reader), by: note.by, reason: note.reason };
}

function overrideMessage({ until: end, note, limits, enforce }: NonNullable<GroupStanding['override']>, reader: Reader): groupPb.OverrideState {
  return create(
    groupPb.OverrideStateSchema,
    filled({
      left: until(end, reader.now),
      ...noteOf(note, reader),
      limits: Object.fromEntries(limits.map(({ name, from, to }) => [name, create(groupPb.QuotaChangeSchema, { from: quotaText(from), to: quotaText(to) })])),
      enforce: enforce && create(groupPb.EnforceChangeSchema, enforce),
    }),
  );
}

function historyMessage({ from, step, arrived, admitted, refused }: GroupHistory, reader: Reader): groupPb.History {
  return create(
    groupPb.HistorySchema,
    filled({ from: moment(from, reader), step: toProto(step), arrived: [...arrived], admitted: [...admitted], refused: [...refused] }),
  );
}

/** What holds beside the state. */
export function flagsOf(view: GroupView): string[] {
  return [
    ...(view.overriddenUntil === undefined ? [] : ['override']),
    ...(view.enforce ? [] : ['shadow']),
    ...(view.pausedKeys > 0 ? [`keys paused ${view.pausedKeys}`] : []),
    ...(view.limits.some(({ debt }) => debt > 0) ? ['debt'] : []),
  ];
}
