import type { VNode } from 'preact';
import { useState } from 'preact/hooks';
import { ActivityList } from './activity.ts';
import { type Json, serverNow, usePoll } from './api.ts';
import { Chart } from './chart-panel.ts';
import { useCommands } from './commands.ts';
import {
  type ApiBacklog,
  type ApiGroup,
  type ApiLimit,
  flagsOf,
  limitOf,
  namesOf,
  oldestSince,
  partOf,
  refusedOf,
  stateOf,
  toldText,
  usedText,
} from './group.ts';
import { type ApiLease, type ApiWaiter, confirmEvict, confirmOverride, confirmPause, confirmRevoke } from './group-actions.ts';
import { html } from './html.ts';
import { bar, key, panelHead, STATES, sentence, stateMark, tag } from './parts.ts';
import { problemBox } from './problem-box.ts';
import { quotaText } from './quota.ts';
import { go } from './route.ts';
import { type Column, Table, WINDOW_ROWS } from './table.ts';
import { countText, type Millis, rateText, readCount, readInstant, readSpan, spanText, word } from './text.ts';

const openExplain = async (group: string): Promise<void> => (await import('./explain.ts')).openExplain(group);

const ROWS = 5;
const NEXT_ROWS = 4;

/** Waiters of a group under one class, or one key of it. */
interface QueueRow {
  readonly id: string;
  readonly name: unknown;
  readonly key: unknown;
  readonly waiting: number;
  readonly since: Millis | undefined;
  readonly timeLeft: string | undefined;
  readonly told: string;
}

/** A key of a group as the API has it. */
interface ApiKey {
  readonly key: string;
  readonly class?: string;
  readonly priority?: number;
  readonly waiting?: string;
  readonly oldestSince?: string;
  readonly leastTtlLeft?: string;
}

/** One group: why it stands, what limits it, who holds, who waits. */
export function GroupScreen({ name, all, operator }: { readonly name: string; readonly all: boolean; readonly operator: boolean }): VNode {
  const path = `v1/groups/${encodeURIComponent(name)}`;
  const { data: group, at, problem, refresh } = usePoll<ApiGroup>(path);
  const leases = usePoll<{ leases?: readonly ApiLease[]; total?: string }>(`${path}/leases?page_size=${WINDOW_ROWS}`);
  const waiters = usePoll<{ waiters?: readonly ApiWaiter[]; total?: string }>(`${path}/waiters?page_size=${all ? WINDOW_ROWS : NEXT_ROWS}`);
  const keys = usePoll<{ keys?: readonly ApiKey[] }>(`${path}/keys?sort=waiting&page_size=${WINDOW_ROWS}`, 5000);
  const held = leases.data?.leases ?? [];
  const oldest = held.find(({ permit }) => permit === group?.binding?.holders?.oldest?.permit);
  const after = (): void => {
    refresh();
    leases.refresh();
    waiters.refresh();
  };
  const act = (run: (group: ApiGroup, after: () => void) => void) => () =>
    group === undefined || !operator || problem?.status === 404 ? false : run(group, after);
  const revoke = (lease: ApiLease): unknown => group && operator && confirmRevoke(group, lease, after);
  const evict = (waiter: ApiWaiter): unknown => group && operator && confirmEvict(group, waiter, after);
  useCommands({
    p: act(confirmPause),
    o: act(confirmOverride),
    e: () => openExplain(name),
    x: () => ((oldest ?? held[0]) ? revoke((oldest ?? held[0]) as ApiLease) : false),
    Escape: () => (all ? go(`groups/${encodeURIComponent(name)}`) : go('')),
  });
  const gone = problem?.status === 404;
  return html`<div class="ghead">
      <nav aria-label="Back"><a href="#/">Groups</a> /</nav>
      <h1>${name}</h1>
      ${group && stateMark(stateOf(group))} ${group && html`<span class="t2">${placeText(group)}</span>`} ${group && flagsOf(group).map(([text, tone]) => tag(text, tone))}
      <i />
      <button onClick=${() => openExplain(name)}>Explain a call ${key('e')}</button>
      ${
        operator &&
        !gone &&
        html`<button onClick=${act(confirmOverride)}>${group?.overrideLeft === undefined ? 'Override' : 'End override'} ${key('o')}</button>
          <button onClick=${act(confirmPause)}>${group?.pause === undefined ? 'Pause' : 'Resume'} ${key('p')}</button>`
      }
    </div>
    ${problem !== undefined && problem.status !== 0 && problemBox(gone ? { ...problem, title: `${name} is not in the file any more` } : problem, refresh)}
    ${group && html`<${Verdict} ...${{ group, at, lease: operator ? oldest : undefined, revoke, resume: act(confirmPause) }} />`}
    <div class="split">
      <div class="pane">
        ${group && html`<${Limits} group=${group} />`}
        ${!all && html`<${Holders} ...${{ held, total: readCount(leases.data?.total) ?? held.length, at: leases.at, group, act: operator ? revoke : undefined, problem: leases.problem, retry: leases.refresh }} />`}
        ${!all && group && html`<${Queue} ...${{ group, at, keys: keys.data?.keys ?? [] }} />`}
        <${Waiters} ...${{ waiters: waiters.data?.waiters ?? [], total: readCount(group?.waiting) ?? 0, at: waiters.at, act: operator ? evict : undefined, all, name }} />
      </div>
      <aside>${group && html`<${Side} group=${group} />`}</aside>
    </div>`;
}

function placeText({ enforce, placement }: ApiGroup): string {
  const how = enforce === false ? 'shadow: counted, no caller is held' : 'enforced';
  return placement === undefined ? how : `${how}, shard ${placement.shard ?? 0} on ${placement.replica || 'no replica'}, term ${placement.term ?? 0}`;
}

/** What is wrong and since when; what happens if it is left alone; the one action that helps. */
function Verdict({
  group,
  at,
  lease,
  revoke,
  resume,
}: {
  readonly group: ApiGroup;
  readonly at: Millis;
  readonly lease: ApiLease | undefined;
  readonly revoke: (lease: ApiLease) => unknown;
  readonly resume: () => unknown;
}): VNode | null {
  const state = stateOf(group);
  if (!['stuck', 'late', 'paused', 'undecided'].includes(state) && group.degraded !== true) return null;
  const tone = STATES[state]?.tone ?? 'amber';
  const quiet = readInstant(group.stateSince);
  const lapses = readInstant(group.binding?.holders?.oldest?.expiresAt);
  const since = oldestSince(group, at);
  const waits = `${countText(readCount(group.waiting) ?? 0)} callers wait${since === undefined ? '' : `, the oldest for ${spanText(serverNow() - since)}`}.`;
  return html`<div class=${`verdict ${tone}`} role="status">
    <div>
      <div>${state === 'stuck' && quiet !== undefined && html`<b>Nothing was admitted for ${spanText(serverNow() - quiet)}.</b> `}${sentence(group.binding?.text ?? '', namesOf(group))}</div>
      <div class="t2" aria-live="off">${waits} ${lapses !== undefined && `Left alone, the lease lapses in ${spanText(lapses - serverNow())}.`}</div>
    </div>
    ${state !== 'paused' && lease && html`<button class="out" onClick=${() => revoke(lease)}>Revoke the lease… ${key('x')}</button>`}
    ${state === 'paused' && html`<button class="out" onClick=${resume}>Resume… ${key('p')}</button>`}
  </div>`;
}

function Limits({ group }: { readonly group: ApiGroup }): VNode {
  const { limits = [], binding } = group;
  const tone = STATES[stateOf(group)]?.tone ?? '';
  const bound = binding === undefined ? undefined : limitOf(group);
  const isBinding = (limit: ApiLimit): boolean => limit === bound;
  return html`<section>
    ${panelHead('Limits', limits.length > 1 ? 'all must agree' : limits.length === 0 ? 'none of its own' : '')}
    <div class="grid limits">
      ${limits.map((limit) => {
        const binds = isBinding(limit);
        return html`<div class="line">
            <b>${limit.name} ${binds && tag('binds', tone)}</b><span class="t2">${quotaText(limit)}</span>${bar(partOf(limit), binds ? tone : '', 300)}
            <span class="r">${usedText(limit).replace(' / ', ' of ')}</span><span class="r t2">${opensText(limit)}</span>
          </div>
          ${limit.fullest?.slice(0, ROWS).map(
            (of) =>
              html`<div class="line sub">
                <span>${of.key}</span><span />${bar((readCount(of.used) ?? 0) / Math.max(1, readCount(of.capacity) ?? 1), '', 300)}<span class="r"
                  >${countText(readCount(of.used) ?? 0)} of ${countText(readCount(of.capacity) ?? 0)}</span
                ><span />
              </div>`,
          )}`;
      })}
    </div>
  </section>`;
}

function opensText(limit: ApiLimit): string {
  const debt = readCount(limit.debt) ?? 0;
  if (debt > 0) return `debt ${countText(debt)}`;
  if (word(limit.scope, 'LIMIT_SCOPE_') === 'key') return limit.keysInUse === undefined ? '' : `${countText(Number(limit.keysInUse))} keys`;
  if (partOf(limit) < 1) return 'open';
  const reset = readSpan(limit.resetAfter);
  return word(limit.kind, 'LIMIT_KIND_') === 'concurrency' ? 'opens at a release' : reset === undefined ? '' : `whole in ${spanText(reset)}`;
}

interface HoldersProps {
  readonly held: readonly ApiLease[];
  readonly total: number;
  readonly at: Millis;
  readonly group: (ApiGroup & { readonly holdUsual?: { readonly p50?: string; readonly p99?: string } }) | undefined;
  readonly act: ((lease: ApiLease) => unknown) | undefined;
  readonly problem: Parameters<typeof problemBox>[0] | undefined;
  readonly retry: () => void;
}

function Holders({ held, total, at, group, act, problem, retry }: HoldersProps): VNode | null {
  const concurrency = group?.limits?.some(({ kind }) => word(kind, 'LIMIT_KIND_') === 'concurrency') === true;
  if (total === 0 && !concurrency) return null;
  const usual = group?.holdUsual;
  const p99 = readSpan(usual?.p99);
  const about = `${countText(total)} lease${total === 1 ? '' : 's'}, oldest first${usual?.p50 === undefined ? '' : `; usual hold ${spanText(readSpan(usual.p50) ?? 0)} (median), ${spanText(p99 ?? 0)} (p99)`}`;
  const now = (): Millis => Date.now() - at;
  const columns: readonly Column<ApiLease>[] = [
    {
      ...{ head: 'Held ↓', width: 90, right: true },
      cell: ({ held: span }) => {
        const ms = (readSpan(span) ?? 0) + now();
        return html`<b class=${p99 !== undefined && ms > p99 ? 'red' : ''}>${spanText(ms)}</b>`;
      },
    },
    { head: 'Holder', cell: ({ holder }) => html`<b>${holder ?? ''}</b>` },
    { head: 'Key', width: 130, cell: ({ key: of }) => of ?? '' },
    { head: 'Lease ends', width: 110, right: true, cell: ({ left }) => `in ${spanText((readSpan(left) ?? 0) - now())}` },
    { head: 'Renewed', width: 110, right: true, cell: renewedText },
    { head: 'Fence', width: 170, right: true, cell: ({ fence }) => html`<code>${fence ?? ''}</code>` },
    {
      head: html`<span class="hidden">Revoke</span>`,
      width: 90,
      right: true,
      cell: (lease) => act && html`<button class="plain" onClick=${() => act(lease)}>Revoke…</button>`,
    },
  ];
  return html`<section>
    ${panelHead('Holders', about)} ${problem && problem.status !== 0 && problemBox(problem, retry)}
    ${held.length > 0 && html`<${Table} ...${{ label: 'Holders', columns, rows: held, idOf: ({ permit }: ApiLease) => permit, keys: act ? { x: act } : {} }} />`}
  </section>`;
}

function renewedText({ renewals, renewedAt }: ApiLease): string {
  const renewed = readInstant(renewedAt);
  if (renewed !== undefined) return `${spanText(serverNow() - renewed)} ago`;
  return renewals === '0' ? 'never' : '';
}

function Queue({ group, at, keys }: { readonly group: ApiGroup; readonly at: Millis; readonly keys: readonly ApiKey[] }): VNode | null {
  const waiting = readCount(group.waiting) ?? 0;
  const [opened, open] = useState(false);
  if (waiting === 0) return null;
  const classes = group.backlog ?? [];
  const rows = classes.flatMap((of): QueueRow[] => {
    const own = keys
      .filter((each) => each.priority === undefined || each.priority === of.priority)
      .filter(() => classes.length === 1 || keys[0]?.priority !== undefined);
    const shown = own.slice(0, opened ? WINDOW_ROWS : 3);
    return [classRow(of, own.length, at), ...shown.map(keyRow)];
  });
  const columns: readonly Column<QueueRow>[] = [
    { head: 'Class', width: 140, cell: ({ name }) => name as VNode },
    { head: 'Key', width: 120, cell: ({ key: of }) => of as VNode },
    { head: 'Share of the queue', cell: ({ waiting: count }) => bar(count / waiting, '', 220) },
    { head: 'Waiting', width: 90, right: true, cell: ({ waiting: count }) => countText(count) },
    { head: 'Oldest', width: 90, right: true, cell: ({ since }) => since !== undefined && html`<b>${spanText(serverNow() - since)}</b>` },
    { head: 'Least time left', width: 120, right: true, cell: ({ timeLeft }) => timeLeft ?? '' },
    { head: 'Told now', width: 140, right: true, cell: ({ told }) => html`<span class="t2">${told}</span>` },
  ];
  return html`<section>
    ${panelHead('Queue', `${countText(waiting)} waiting, by class and key`, keys.length > 3 && html`<button class="plain" onClick=${() => open(!opened)}>${opened ? 'Fewer keys' : 'More keys'}</button>`)}
    <${Table} ...${{ label: 'Queue by class and key', columns, rows, idOf: ({ id }: QueueRow) => id }} />
  </section>`;
}

function classRow(of: ApiBacklog, keys: number, at: Millis): QueueRow {
  const number = of.priority ?? 0;
  const name = of.class === undefined || of.class === '' ? (number === 1000 ? 'deferred' : `priority ${number}`) : of.class;
  return {
    ...{ id: `class ${number}`, name: html`<b>${name}</b>`, key: keys === 0 ? '' : html`<span class="t2">${keys} key${keys === 1 ? '' : 's'}</span>` },
    ...{
      waiting: readCount(of.waiting) ?? 0,
      since: oldestSince(of as never, at),
      timeLeft: leftText(of.leastTtlLeft),
      told: of.told === undefined ? '' : toldText(of.told),
    },
  };
}

function keyRow(of: ApiKey): QueueRow {
  return {
    id: `key ${of.priority} ${of.key}`,
    name: '',
    key: of.key || 'no key',
    waiting: readCount(of.waiting) ?? 0,
    since: readInstant(of.oldestSince),
    timeLeft: leftText(of.leastTtlLeft),
    told: '',
  };
}

function leftText(span: string | undefined): string | undefined {
  const ms = readSpan(span);
  return ms === undefined ? undefined : spanText(ms);
}

interface WaitersProps {
  readonly waiters: readonly ApiWaiter[];
  readonly total: number;
  readonly at: Millis;
  readonly act: ((waiter: ApiWaiter) => unknown) | undefined;
  readonly all: boolean;
  readonly name: string;
}

function Waiters({ waiters, total, at, act, all, name }: WaitersProps): VNode | null {
  if (waiters.length === 0) return null;
  const passed = (): Millis => Date.now() - at;
  const columns: readonly Column<ApiWaiter>[] = [
    { head: 'Place', width: 60, right: true, cell: ({ place }) => html`<b>${place?.place ?? ''}</b>` },
    { head: 'Holder', cell: ({ holder }) => holder ?? '' },
    { head: 'Key', width: 130, cell: ({ key: of }) => of ?? '' },
    { head: 'Class', width: 150, cell: (of) => of.class || (of.priority === 1000 ? 'deferred' : `priority ${of.priority ?? 0}`) },
    { head: 'Waited', width: 110, right: true, cell: ({ waited }) => html`<b>${spanText((readSpan(waited) ?? 0) + passed())}</b>` },
    { head: 'Time left', width: 120, right: true, cell: ({ ttlLeft }) => spanText((readSpan(ttlLeft) ?? 0) - passed()) },
    {
      head: html`<span class="hidden">Evict</span>`,
      width: 80,
      right: true,
      cell: (waiter) => act && html`<button class="plain" onClick=${() => act(waiter)}>Evict…</button>`,
    },
  ];
  const link = `#/groups/${encodeURIComponent(name)}${all ? '' : '/waiters'}`;
  return html`<section>
    ${panelHead(all ? 'All waiters' : 'Next in line', `the first ${waiters.length} of ${countText(total)}`, html`<a class="t2" href=${link}>${all ? 'the group' : 'all waiters'}</a>`)}
    <${Table} ...${{ label: 'Waiters', columns, rows: waiters, idOf: ({ id }: ApiWaiter) => id, keys: act ? { x: act } : {} }} />
  </section>`;
}

function Side({ group }: { readonly group: ApiGroup }): VNode {
  const refused = refusedOf(group);
  const { arrivedPerSecond: arrived, admittedPerSecond: admitted } = group;
  const legend = html`<span class="legend"><em class="in" />in ${arrived === undefined ? '' : `${rateText(arrived)}/s`} <em class="out" />out ${admitted === undefined ? '' : `${rateText(admitted)}/s`}</span>`;
  const settings = settingsOf(group);
  return html`<section>${panelHead('Arrivals and admissions', '', legend)}<${Chart} history=${group.history} last=${readInstant(group.lastAdmittedAt)} stuck=${stateOf(group) === 'stuck'} /></section>
    ${
      refused &&
      html`<section>
        ${panelHead('Refused', `${countText(refused.all)} in 15 min`)}
        <div class="grid refused">
          ${refused.reasons.map(([reason, count]) => html`<div class="line"><span>${reason}</span>${bar(count / refused.all, '', 150)}<span class="r">${countText(count)}</span></div>`)}
        </div>
      </section>`
    }
    <section>${panelHead('Activity', '', html`<a class="t2" href="#/activity">all</a>`)}<${ActivityList} group=${group.name} limit=${5} /></section>
    <section>${panelHead('Settings', '')}<dl class="pairs">${settings.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl></section>`;
}

function settingsOf(group: ApiGroup): readonly (readonly [string, string])[] {
  const given = ((group as { readonly settings?: Json }).settings ?? {}) as Json;
  const known = Object.entries(given).map(([name, value]): [string, string] => [name.charAt(0).toUpperCase() + name.slice(1), String(value)]);
  return [
    ...known,
    ['Parent', group.parent || 'none'],
    ['Keys in use', countText(readCount(group.keys) ?? 0)],
    ['Leases', countText(readCount(group.leases) ?? 0)],
  ];
}
