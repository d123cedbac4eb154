import type { VNode } from 'preact';
import { type Json, serverNow } from './api.ts';
import { type Change, confirm } from './confirm.ts';
import { type ApiGroup, bindsOf, limitOf, oldestSince, stateOf, usedText } from './group.ts';
import { html } from './html.ts';
import { quotaText } from './quota.ts';
import { countText, readCount, readSpan, spanText, word } from './text.ts';

/* What an operator may do to a group; each opens a confirmation and does nothing by itself. */

/** A lease as the API has it. */
export interface ApiLease {
  readonly permit: string;
  readonly key?: string;
  readonly fence?: string;
  readonly held?: string;
  readonly left?: string;
  readonly holder?: string;
  readonly renewedAt?: string;
  readonly renewals?: string;
}

/** A waiter as the API has it. */
export interface ApiWaiter {
  readonly id: string;
  readonly key?: string;
  readonly priority?: number;
  readonly class?: string;
  readonly waited?: string;
  readonly ttlLeft?: string;
  readonly place?: { readonly place?: string; readonly limit?: string };
  readonly holder?: string;
}

/** What every change of a group takes: a reason, and a try before it. */
const TRIED = { reasons: true, foretells: true } as const;
const TIMES = ['1m', '10m', '1h', '24h'] as const;

/** Confirms a pause of a group, or its end. */
export function confirmPause(group: ApiGroup, after?: () => void): void {
  const about = { ...TRIED, now: nowText(group), ...(after && { after }) };
  if (group.pause !== undefined) {
    confirm({
      ...{ ...about, title: `Resume ${group.name}?`, method: 'POST', path: pathOf(group.name, 'resume'), body: {} },
      follows: 'Those who wait pass as the limits allow, in their order.',
      ...{ undo: 'Pause again for the rest.', command: `sluice resume ${group.name}`, confirm: 'Resume', keep: 'Stay paused', done: 'Resumed.' },
    });
    return;
  }
  confirm({
    ...{ ...about, title: `Pause ${group.name}?`, method: 'POST', path: pathOf(group.name, 'pause'), body: { duration: '10m' } },
    follows: 'No new caller passes. Those who wait keep their place; those whose wait timeout ends before the pause are refused. Leases live on.',
    ...{ undo: 'Resume.', command: `sluice pause ${group.name} --for 10m`, confirm: 'Pause', keep: 'Let it run', done: 'Paused.' },
    choices: (body, set) => durations(body, set, true),
  });
}

/** Confirms the end of a lease without its holder. */
export function confirmRevoke(group: ApiGroup, lease: ApiLease, after?: () => void): void {
  const who = lease.holder || lease.key || 'its holder';
  confirm({
    ...{
      title: `Revoke ${who === 'its holder' ? 'this' : `${who}’s`} lease on ${group.name}?`,
      ...TRIED,
      method: 'DELETE',
      path: pathOf(group.name, 'leases', lease.permit),
      body: {},
    },
    now: nowText(group),
    follows: 'What it holds is free at once, and the next in line is admitted.',
    other: [
      who,
      html`Its next renew or release is refused as <code>fenced</code>. <b>Sluice cannot stop work it is still doing</b>: for that time two may run. A backend that
        checks fences refuses it.`,
    ],
    ...{ undo: `None. ${who} has to queue again.`, command: `sluice revoke ${group.name} ${lease.permit}` },
    ...{ confirm: 'Revoke lease', keep: 'Keep it', danger: true, done: 'Revoked.', ...(after && { after }) },
  });
}

/** Confirms that one waiter is refused. */
export function confirmEvict(group: ApiGroup, waiter: ApiWaiter, after?: () => void): void {
  const who = waiter.holder || waiter.key || 'this caller';
  confirm({
    ...{ ...TRIED, title: `Evict ${who} from ${group.name}?`, method: 'DELETE', path: pathOf(group.name, 'waiters', waiter.id), body: {} },
    now: `${who} waits at place ${waiter.place?.place ?? 'not known'}, since ${spanText(readSpan(waiter.waited) ?? 0)}`,
    follows: 'Those behind it move up.',
    other: [who, html`It is refused as <code>cancelled</code>; a polite client comes back.`],
    ...{
      undo: 'None.',
      command: `sluice evict ${group.name} ${waiter.id}`,
      confirm: 'Evict',
      keep: 'Let it wait',
      danger: true,
      done: 'Evicted.',
      ...(after && { after }),
    },
  });
}

/** Confirms other quotas for a time, or the end of those that are in force. */
export function confirmOverride(group: ApiGroup, after?: () => void): void {
  const path = pathOf(group.name, 'override');
  if (group.overrideLeft !== undefined) {
    confirm({
      ...{
        ...TRIED,
        title: `End the override of ${group.name}?`,
        method: 'POST',
        path,
        body: { duration: '0s' },
        now: nowText(group),
        follows: 'The quotas of the file hold again at once.',
        undo: 'Override again.',
      },
      ...{
        command: `sluice override ${group.name} --for 0s`,
        confirm: 'End override',
        keep: 'Keep it',
        done: 'The file rules again.',
        ...(after && { after }),
      },
    });
    return;
  }
  const limit = (group.limits ?? []).find(({ kind }) => word(kind, 'LIMIT_KIND_') === 'concurrency') ?? limitOf(group) ?? group.limits?.[0];
  if (limit === undefined) return;
  confirm({
    ...{
      ...TRIED,
      title: `Override ${limit.name} of ${group.name}?`,
      method: 'POST',
      path,
      body: { limits: { [limit.name]: quotaBody(limit, numberOf(limit)) }, duration: '1h' },
    },
    ...{
      now: `${limit.name}: ${quotaText(limit)}, ${usedText(limit)} in use`,
      follows: 'The new quota holds at once. Leases that are out stay; no caller passes while more is in use than it allows.',
      undo: 'End override. It ends by itself.',
    },
    ...{
      command: `sluice override ${group.name} ${limit.name}=… --for 1h`,
      confirm: 'Override',
      keep: 'Leave it',
      done: 'Overridden.',
      ...(after && { after }),
    },
    choices: (body, set) => html`${quotaInput(limit, body, set)} ${durations(body, set, false)}`,
  } satisfies Change);
}

function quotaInput(limit: NonNullable<ReturnType<typeof limitOf>>, body: Json, set: (body: Json) => void): VNode {
  const change = (event: Event): void => {
    const { value } = event.target as HTMLInputElement;
    if (/^[1-9]\d{0,11}$/.test(value)) set({ ...body, limits: { [limit.name]: quotaBody(limit, value) } });
  };
  return html`<input class="count" aria-label=${`New number of ${limit.name}`} type="number" min="1" defaultValue=${numberOf(limit)} onChange=${change} />`;
}

function numberOf({ permits, capacity, kind, per }: NonNullable<ReturnType<typeof limitOf>>): string {
  return word(kind, 'LIMIT_KIND_') === 'spacing' ? String((readSpan(per) ?? 0) / 1000) : (permits ?? capacity ?? '1');
}

/** A quota with another number; the rest stays. */
function quotaBody({ kind, per, capacity }: NonNullable<ReturnType<typeof limitOf>>, number: string): Json {
  switch (word(kind, 'LIMIT_KIND_')) {
    case 'concurrency':
      return { concurrency: { max: number } };
    case 'spacing':
      return { spacing: { spacing: `${number}s` } };
    case 'rate':
      return { rate: { permits: number, per, burst: capacity } };
    default:
      return { window: { permits: number, per } };
  }
}

function durations(body: Json, set: (body: Json) => void, endless: boolean): VNode {
  const choice = (value: string | undefined, label: string): VNode => {
    const { duration: _, ...rest } = body;
    const on = body['duration'] === value;
    return html`<button class=${`chip ${on ? 'on' : ''}`} aria-pressed=${on} onClick=${() => set(value === undefined ? rest : { ...rest, duration: value })}>${label}</button>`;
  };
  return html`<span class="choices">${TIMES.map((time) => choice(time, time))}${endless && choice(undefined, 'until resumed')}</span>`;
}

/** How a group stands now, in a line. */
export function nowText(group: ApiGroup): string {
  const since = oldestSince(group, Date.now());
  const limit = limitOf(group);
  const use = limit === undefined ? bindsOf(group) : `${bindsOf(group)} at ${usedText(limit)}`;
  const waits = `${countText(readCount(group.waiting) ?? 0)} wait`;
  return [use, waits, since === undefined ? '' : `the oldest for ${spanText(serverNow() - since)}`, stateOf(group)].filter((part) => part !== '').join(', ');
}

function pathOf(...parts: readonly string[]): string {
  return `v1/groups/${parts.map(encodeURIComponent).join('/')}`;
}
