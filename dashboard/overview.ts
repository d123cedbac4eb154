import type { VNode } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { type Polled, serverNow, usePoll } from './api.ts';
import { useCommands } from './commands.ts';
import { type ApiGroup, bindsOf, flagsOf, limitOf, namesOf, oldestSince, partOf, refusedOf, stateOf, toldText, usedText } from './group.ts';
import { html } from './html.ts';
import { bar, STATES, sentence, sparkline, stateMark, type Tone, tag } from './parts.ts';
import { problemBox } from './problem-box.ts';
import { go } from './route.ts';
import { type Column, Table, WINDOW_ROWS } from './table.ts';
import { countText, middleText, rateText, readCount, readSpan, spanText } from './text.ts';

/** A window of the list of groups, and figures of all of them. */
export interface GroupsPage {
  readonly groups?: readonly ApiGroup[];
  /** Groups that match the filter. */
  readonly total?: string | number;
  /** Groups of each state and flag, whatever the filter. */
  readonly counts?: Readonly<Record<string, string | number>>;
}

const CHIPS = ['all', 'stuck', 'late', 'waiting', 'paused', 'override', 'shadow', 'degraded'] as const;
const SORTS = ['oldest', 'waiting', 'refused', 'name', 'out'] as const;
const SORT_NAMES: Readonly<Record<string, string>> = {
  oldest: 'oldest waiter',
  waiting: 'callers waiting',
  refused: 'refusals',
  name: 'name',
  out: 'admissions',
};

/** Address of a window of the list. */
export function groupsPath(sort: string, state: string, q: string, after: number, limit: number): string {
  const query = new URLSearchParams({ sort, limit: String(limit) });
  if (state !== 'all') query.set('state', state);
  if (q !== '') query.set('q', q);
  if (after > 0) query.set('after', String(after));
  return `v1/ui/groups?${query}`;
}

/** All groups, by age of the oldest waiter. */
export function Overview({
  state,
  q,
  strip,
  operator,
}: {
  readonly state: string;
  readonly q: string;
  readonly strip: unknown;
  readonly operator: boolean;
}): VNode {
  const [sort, setSort] = useState<string>('oldest');
  const [first, setFirst] = useState(0);
  const page: Polled<GroupsPage> = usePoll<GroupsPage>(groupsPath(sort, state, q, first, WINDOW_ROWS));
  const { problem } = page;
  // The window before stays until the next one is there.
  const shown = useRef<{ readonly data?: GroupsPage; readonly at: number; readonly first: number }>({ at: 0, first: 0 });
  if (page.data !== undefined) shown.current = { data: page.data, at: page.at, first };
  const { data, at, first: firstShown } = shown.current;
  const groups = data?.groups ?? [];
  const filter = (chip: string): void => {
    setFirst(0);
    go('', { state: chip === 'all' ? '' : chip, q });
  };
  useCommands({
    s: () => setSort(SORTS[(SORTS.indexOf(sort as 'oldest') + 1) % SORTS.length] ?? 'oldest'),
    ...Object.fromEntries(CHIPS.map((chip, index) => [String(index + 1), () => filter(chip)])),
    Escape: state !== 'all' || q !== '' ? () => go('', {}) : undefined,
  });
  const counts = data?.counts ?? {};
  const total = readCount(data?.total) ?? groups.length;
  return html`<h1 class="hidden">Groups</h1>
    ${strip}
    <div class="chips">
      ${CHIPS.map(
        (chip) =>
          html`<button class=${`chip ${chip === state ? 'on' : ''}`} disabled=${data !== undefined && counts[chip] === undefined} aria-pressed=${chip === state} onClick=${() => filter(chip)}>
            ${capital(chip)} <span>${counts[chip] === undefined ? '' : countText(Number(counts[chip]))}</span>
          </button>`,
      )}
      <i /><span class="t3">Sorted by ${SORT_NAMES[sort]}</span>
    </div>
    ${problem !== undefined && problem.status !== 0 && problemBox(problem, page.refresh)}
    <div class="pane">
      ${
        data !== undefined && total === 0
          ? html`<p class="none">${nothing(state, q, counts)} <a href="#/">Show all groups</a></p>`
          : html`<${Table}
              ...${{ label: 'Groups', columns: columnsAt(at), rows: groups, idOf: nameOf, first: firstShown, total, onWindow: setFirst, main: true }}
              ...${{ onOpen: (group: ApiGroup) => go(`groups/${encodeURIComponent(group.name)}`), sort, onSort: setSort, keys: operator ? { p: pause } : {}, classOf }}
            />`
      }
    </div>`;
}

function nothing(state: string, q: string, counts: NonNullable<GroupsPage['counts']>): string {
  const all = counts['all'] === undefined ? '' : `${countText(Number(counts['all']))} groups without the filter.`;
  return q === '' ? `No group is ${state}. ${all}` : `No group matches “${q}”. ${all}`;
}

async function pause(group: ApiGroup): Promise<void> {
  (await import('./group-actions.ts')).confirmPause(group);
}

function nameOf(group: ApiGroup): string {
  return group.name;
}

function classOf(group: ApiGroup): string {
  return readCount(group.waiting) === 0 ? 'calm' : '';
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function toneOf(group: ApiGroup): Tone {
  return STATES[stateOf(group)]?.tone ?? '';
}

function columnsAt(at: number): readonly Column<ApiGroup>[] {
  return [
    { head: 'State', width: 96, cell: (group) => stateMark(stateOf(group)) },
    { head: 'Oldest', width: 78, right: true, sort: 'oldest', cell: (group) => oldest(group, at) },
    { head: 'Group', width: 206, sort: 'name', cell: name },
    { head: 'Binds', width: 174, cell: binds },
    { head: 'Used', width: 104, right: true, drop: 1380, cell: used },
    { head: 'Why, and on whom', cell: why },
    { head: 'Waiting', width: 70, right: true, sort: 'waiting', cell: (group) => countText(readCount(group.waiting) ?? 0) },
    { head: 'In/s', width: 58, right: true, drop: 1290, cell: (group) => rate(group.arrivedPerSecond) },
    { head: 'Out/s', width: 58, right: true, sort: 'out', cell: out },
    { head: '15 min', width: 108, cell: trend },
    { head: 'Told now', width: 96, right: true, drop: 1180, cell: (group) => html`<span class="t2">${toldText(group.told)}</span>` },
    { head: 'Refused, 15 m', width: 112, right: true, drop: 1080, sort: 'refused', cell: refused },
  ];
}

function oldest(group: ApiGroup, at: number): VNode {
  const since = oldestSince(group, at);
  return html`<b class=${toneOf(group)}>${since === undefined ? '–' : spanText(serverNow() - since)}</b>`;
}

function name(group: ApiGroup): VNode {
  const flags = flagsOf(group);
  const room = Math.max(10, 26 - flags.reduce((sum, [text]) => sum + text.length + 3, 0));
  return html`<a class="name" href=${`#/groups/${encodeURIComponent(group.name)}`} tabindex="-1" title=${group.name}>${middleText(group.name, room)}</a
    >${flags.map(([text, tone]) => tag(text, tone))}`;
}

function binds(group: ApiGroup): VNode | undefined {
  const limit = limitOf(group);
  const label = bindsOf(group);
  if (label === '') return undefined;
  const tone = toneOf(group);
  return html`${bar(tone !== '' || limit === undefined ? 1 : partOf(limit), tone)}<span class="bname" title=${label}>${middleText(label, 20)}</span>`;
}

function used(group: ApiGroup): VNode | string {
  const limit = limitOf(group);
  if (bindsOf(group) === 'pause')
    return html`<span class="t2">${group.pause?.left === undefined ? 'until resumed' : `${spanText(readSpan(group.pause.left) ?? 0)} left`}</span>`;
  return limit === undefined ? '' : html`<span class="t2">${usedText(limit)}</span>`;
}

function why(group: ApiGroup): VNode {
  const text = group.binding?.text ?? '';
  return html`<span class="t2 why" title=${text}>${sentence(text, namesOf(group))}</span>`;
}

function rate(perSecond: number | undefined): VNode {
  return html`<span class="t2">${perSecond === undefined ? '' : rateText(perSecond)}</span>`;
}

function out(group: ApiGroup): VNode | string {
  const perSecond = group.admittedPerSecond;
  if (perSecond === undefined) return '';
  const waits = perSecond === 0 && (readCount(group.waiting) ?? 0) > 0;
  return waits ? html`<b class=${stateOf(group) === 'paused' ? 'amber' : 'red'}>0</b>` : rateText(perSecond);
}

function trend(group: ApiGroup): VNode | undefined {
  const { arrived, admitted } = group.history ?? {};
  return admitted && sparkline((arrived ?? []).map(Number), admitted.map(Number));
}

function refused(group: ApiGroup): VNode | string {
  const found = refusedOf(group);
  if (found === undefined) return '';
  const [main] = found.reasons;
  return html`${found.all === 0 ? html`<span class="t3">0</span>` : countText(found.all)} <span class="t3">${main?.[0].split(':', 1)[0] ?? ''}</span>`;
}
