import type { VNode } from 'preact';
import { useState } from 'preact/hooks';
import { type Polled, serverNow, usePoll } from './api.ts';
import { bytesText } from './bytes.ts';
import { useCommands } from './commands.ts';
import { confirm } from './confirm.ts';
import { html } from './html.ts';
import { bar, glyph, key, panelHead, type Tone } from './parts.ts';
import { problemBox } from './problem-box.ts';
import { go } from './route.ts';
import { type Column, Table, WINDOW_ROWS } from './table.ts';
import { clockText, countText, middleText, readInstant, readSpan, spanText } from './text.ts';

/** A stored request as the API has it. */
interface ApiRequest {
  readonly id: string;
  readonly state?: string;
  readonly group?: string;
  readonly key?: string;
  readonly method?: string;
  readonly path?: string;
  readonly bodyBytes?: number;
  readonly contentType?: string;
  readonly acceptedAt?: string;
  readonly nextAttemptAt?: string;
  readonly waitsFor?: string;
  readonly attempts?: number;
  readonly error?: string;
  readonly goneAt?: string;
  readonly behind?: string;
  readonly tries?: readonly ApiAttempt[];
}

interface ApiAttempt {
  readonly number?: number;
  readonly at?: string;
  readonly status?: number;
  readonly error?: string;
  readonly took?: string;
  readonly firstBytes?: string;
}

/** Dead letters by the error of their last attempt. */
interface ApiCause {
  readonly error?: string;
  readonly backend?: string;
  readonly count?: string | number;
  readonly lastAt?: string;
}

interface ApiRequests {
  readonly requests?: readonly ApiRequest[];
  readonly total?: string | number;
  readonly counts?: Readonly<Record<string, string | number>>;
  readonly causes?: readonly ApiCause[];
  readonly nextPageToken?: string;
}

const STATES = ['dead', 'pending', 'sending', 'done', 'cancelled'] as const;
const NAMES: Readonly<Record<string, string>> = { dead: 'Dead', pending: 'Pending', sending: 'In flight', done: 'Done', cancelled: 'Cancelled' };
const MANY = 1000;

/** Requests that are stored: why some died, which, and what to do about it. */
export function DeferredScreen({ query, operator }: { readonly query: Readonly<Record<string, string>>; readonly operator: boolean }): VNode {
  const { state = 'dead', error = '', group = '', key: of = '' } = query;
  const fields = new URLSearchParams({ state, pageSize: String(WINDOW_ROWS) });
  for (const [name, value] of Object.entries({ error, group, key: of })) if (value !== '') fields.set(name, value);
  const page: Polled<ApiRequests> = usePoll<ApiRequests>(`v1/requests?${fields}`, 2000);
  const [chosen, choose] = useState('');
  const { data, problem } = page;
  const requests = data?.requests ?? [];
  const filter = (change: Readonly<Record<string, string>>): void => go('deferred', { state, error, group, key: of, ...change });
  const redrive = (): unknown =>
    operator && state === 'dead' && requests.length > 0 ? confirmRedrive({ error, group, key: of }, data?.total, page.refresh) : false;
  const focusFilter = (): void => document.querySelector<HTMLInputElement>('.filters input')?.focus();
  useCommands({ r: redrive, f: focusFilter, Escape: () => (error + group + of === '' ? go('') : filter({ error: '', group: '', key: '' })) });
  const counts = data?.counts;
  const shown = requests.find(({ id }) => id === chosen) ?? requests[0];
  return html`<h1 class="hidden">Deferred requests</h1><div class="split">
    <div class="pane">
      <div class="chips">
        ${STATES.map(
          (each) =>
            html`<button class=${`chip ${each === state ? 'on' : ''}`} aria-pressed=${each === state} onClick=${() => go('deferred', { state: each })}>
              ${NAMES[each]} <span>${counts?.[each] === undefined ? '' : countText(Number(counts[each]))}</span>
            </button>`,
        )}
      </div>
      ${state === 'dead' && data?.causes !== undefined && html`<${Causes} ...${{ causes: data.causes, error, filter }} />`}
      <div class="filters">
        ${(['error', 'group', 'key'] as const).map(
          (name) =>
            html`<label>${name} <input key=${{ error, group, key: of }[name]} defaultValue=${{ error, group, key: of }[name]} onChange=${(event: Event) => filter({ [name]: (event.target as HTMLInputElement).value })} /></label>`,
        )}
        <i />
        ${operator && state === 'dead' && requests.length > 0 && html`<button class="solid" onClick=${redrive}>Redrive ${data?.total === undefined ? 'these' : countText(Number(data.total))}… ${key('r')}</button>`}
      </div>
      ${problem !== undefined && problem.status !== 0 && (problem.status === 404 ? html`<p class="none">This server stores no requests: no route is deferred.</p>` : problemBox(problem, page.refresh))}
      ${data !== undefined && requests.length === 0 && html`<p class="none">No request is ${NAMES[state]?.toLowerCase() ?? state}${error + group + of === '' ? '' : ' and matches the filter'}.</p>`}
      ${
        requests.length > 0 &&
        html`<${Table} ...${{ label: `${NAMES[state] ?? ''} requests`, columns: columnsOf(state), rows: requests, idOf: ({ id }: ApiRequest) => id, main: true, onOpen: ({ id }: ApiRequest) => choose(id) }} />`
      }
    </div>
    <aside>${shown && html`<${Detail} ...${{ id: shown.id, listed: shown, operator, after: page.refresh }} />`}</aside>
  </div>`;
}

function confirmRedrive(filter: Readonly<Record<string, string>>, total: string | number | undefined, after: () => void): void {
  const fields = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== ''));
  const flags = Object.entries(fields).map(([name, value]) => ` --${name} ${value}`);
  confirm({
    ...{
      title: `Redrive ${total === undefined ? 'dead letters' : countText(Number(total))}?`,
      method: 'POST',
      path: 'v1/requests/redrive',
      body: { ...fields, max: MANY },
    },
    ...{
      now: total === undefined ? 'not known how many match' : `${countText(Number(total))} dead letters match`,
      other: ['Receiver', 'Each gets a new time to be tried; id and idempotency key stay the same.'],
    },
    follows: 'They wait in their groups like any other, and are sent at their rate.',
    ...{
      undo: 'Cancel those that are still pending.',
      command: `sluice requests redrive --all${flags.join('')}`,
      confirm: 'Redrive',
      keep: 'Leave them',
      done: 'Redriven.',
      after,
    },
  });
}

function Causes({
  causes,
  error,
  filter,
}: {
  readonly causes: readonly ApiCause[];
  readonly error: string;
  readonly filter: (change: Readonly<Record<string, string>>) => void;
}): VNode {
  const all = causes.reduce((sum, { count }) => sum + Number(count ?? 0), 0);
  return html`<section>
    ${panelHead('Why they died', `${countText(all)} dead letters, by error of the last attempt`)}
    <div class="grid causes">
      ${causes.map(
        (cause) =>
          html`<button class=${`line plain ${cause.error === error ? 'on' : ''}`} onClick=${() => filter({ error: cause.error ?? '' })}>
            <b>${cause.error}</b><span class="t2">${cause.backend ?? ''}</span>${bar(Number(cause.count ?? 0) / Math.max(1, all), '', 290)}
            <span class="r">${countText(Number(cause.count ?? 0))}</span><span class="r t2">${agoText(cause.lastAt)}</span>
          </button>`,
      )}
    </div>
  </section>`;
}

function columnsOf(state: string): readonly Column<ApiRequest>[] {
  return [
    { head: state === 'dead' ? 'Last try' : 'Accepted', width: 90, cell: (of) => clockOf((state === 'dead' && of.tries?.at(-1)?.at) || of.acceptedAt) },
    { head: 'Id', width: 110, cell: ({ id }) => html`<code title=${id}>${middleText(id, 12)}</code>` },
    { head: 'Group', width: 130, cell: ({ group }) => group ?? '' },
    { head: 'Key', width: 110, cell: ({ key: of }) => of ?? '' },
    { head: 'Request', cell: ({ method, path }) => html`<code>${method ?? ''} ${path ?? ''}</code>` },
    { head: 'Attempts', width: 80, right: true, cell: ({ attempts }) => countText(attempts ?? 0) },
    { head: 'Age', width: 80, right: true, cell: ({ acceptedAt }) => agoText(acceptedAt).replace(' ago', '') },
    { head: 'Kept for', width: 80, right: true, drop: 1080, cell: ({ goneAt }) => untilText(goneAt) },
  ];
}

function clockOf(instant: string | undefined): string {
  const at = readInstant(instant);
  return at === undefined ? '' : clockText(at);
}

function agoText(instant: string | undefined): string {
  const at = readInstant(instant);
  return at === undefined ? '' : `${spanText(serverNow() - at)} ago`;
}

function untilText(instant: string | undefined): string {
  const at = readInstant(instant);
  return at === undefined ? '' : spanText(at - serverNow());
}

interface DetailProps {
  readonly id: string;
  readonly listed: ApiRequest;
  readonly operator: boolean;
  readonly after: () => void;
}

function Detail({ id, listed, operator, after }: DetailProps): VNode {
  const { data, problem } = usePoll<ApiRequest>(`v1/requests/${encodeURIComponent(id)}`, 2000);
  const request = { ...listed, ...data };
  const { state = '', method = '', path = '', bodyBytes, contentType, tries = [] } = request;
  const ends = { method: 'POST', body: {}, now: `${state}, ${request.error ?? 'no error'}`, after };
  const cancel = (): unknown =>
    operator && (state === 'pending' || state === 'sending' || state === 'dead')
      ? confirm({
          ...{
            ...ends,
            title: `Cancel ${id}?`,
            path: `v1/requests/${encodeURIComponent(id)}/cancel`,
            danger: true,
            follows: 'It leaves the queue for good.',
            undo: 'None.',
            command: `sluice requests cancel ${id}`,
            confirm: 'Cancel request',
            keep: 'Keep it',
            done: 'Cancelled.',
          },
          other: ['Receiver', state === 'sending' ? 'The attempt is aborted; the receiver may have acted.' : 'It is never delivered.'],
        })
      : false;
  useCommands({ c: cancel });
  const pairs: [string, unknown][] = [
    [
      'Request',
      html`<code>${method} ${path}</code>${bodyBytes === undefined ? '' : `, ${bytesText(Number(bodyBytes))}`}${contentType ? `, ${contentType}` : ''}`,
    ],
    ['Group, key', [request.group, request.key].filter(Boolean).join(', ')],
    ['Accepted', `${clockOf(request.acceptedAt)}, ${agoText(request.acceptedAt)}`],
    [state === 'dead' ? 'Died because' : 'Last error', request.error ?? 'none'],
    ['Behind it', request.behind ?? ''],
    ['Waits for', request.waitsFor ?? ''],
    ['Next attempt', untilText(request.nextAttemptAt)],
  ];
  const answered = [...tries].reverse().find(({ firstBytes }) => firstBytes !== undefined);
  const tone: Tone = state === 'dead' ? 'red' : '';
  return html`<div class="phead big">
      <h2><code>${middleText(id, 14)}</code></h2>
      <span class=${`state ${tone}`}>${glyph(state === 'dead' ? 'cross' : 'ring', tone)}${NAMES[state] ?? state}</span><i />${operator && html`<button onClick=${cancel}>Cancel ${key('c')}</button>`}
    </div>
    ${problem !== undefined && problem.status !== 0 && html`<p class="none">${problem.detail}</p>`}
    <dl class="pairs">${pairs.filter(([, value]) => value !== '').map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
    <section>
      ${panelHead('Attempts', `${tries.length}, last first; times since accepted`)}${ticks(request)}
      <ol class="activity">
        ${[...tries].reverse().map((attempt) => html`<li>${glyph(attempt.error ? 'cross' : 'disc', attempt.error ? 'red' : 'green')}<time>${attempt.number} · ${sinceAccepted(request, attempt)}</time><span>${attempt.error ?? attempt.status ?? ''}</span><span class="t2">${tookText(attempt)}</span></li>`)}
      </ol>
    </section>
    ${answered && html`<section>${panelHead(`Answer of attempt ${answered.number}`, 'its first bytes')}<pre>${answered.firstBytes?.slice(0, 256)}</pre></section>`}`;
}

function sinceAccepted({ acceptedAt }: ApiRequest, { at }: ApiAttempt): string {
  const [from, to] = [readInstant(acceptedAt), readInstant(at)];
  return from === undefined || to === undefined ? '' : spanText(to - from);
}

function tookText({ took }: ApiAttempt): string {
  const ms = readSpan(took);
  return ms === undefined ? '' : ms < 1000 ? `${Math.round(ms)} ms` : spanText(ms);
}

/** Attempts as marks on a line of time from acceptance to the last. */
function ticks({ acceptedAt, tries = [] }: ApiRequest): VNode | undefined {
  const from = readInstant(acceptedAt);
  const at = tries.map((attempt) => readInstant(attempt.at)).filter((each) => each !== undefined);
  const last = at.at(-1);
  if (from === undefined || last === undefined || last <= from) return undefined;
  return html`<svg class="ticks" viewBox="0 0 450 20" preserveAspectRatio="none" aria-hidden="true">
    <path class="axis" d="M0 10H450" /><path class="tick" d=${at.map((each) => `M${(((each - from) / (last - from)) * 448 + 1).toFixed(1)} 2v16`).join('')} />
  </svg>`;
}
