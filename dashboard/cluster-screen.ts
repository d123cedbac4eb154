import type { VNode } from 'preact';
import { ActivityList } from './activity.ts';
import { serverNow, usePoll } from './api.ts';
import { useCommands } from './commands.ts';
import { html } from './html.ts';
import { type Glyph, glyph, panelHead, type Tone } from './parts.ts';
import { problemBox } from './problem-box.ts';
import { go } from './route.ts';
import { type Column, Table } from './table.ts';
import { countText, rateText, readCount, readInstant, readSpan, spanText, word } from './text.ts';

/** A replica as the API has it. */
interface ApiReplica {
  readonly name: string;
  readonly state?: string;
  readonly lastHeard?: string;
  readonly shards?: readonly number[] | number;
  readonly revision?: string;
  readonly held?: string;
  readonly decisions?: number;
  readonly note?: string;
  readonly self?: boolean;
}

/** The cluster as the replica that answers sees it. */
export interface ApiCluster {
  readonly replicas?: readonly ApiReplica[];
  readonly undecided?: readonly { readonly group?: string; readonly shard?: number; readonly waiting?: string; readonly unreachable?: string }[];
  readonly shards?: readonly { readonly shard?: number; readonly replica?: string; readonly term?: string }[];
  readonly nats?: readonly { readonly name?: string; readonly url?: string; readonly state?: string; readonly rtt?: string }[];
  readonly degraded?: readonly { readonly group?: string; readonly admitted?: string; readonly how?: string }[];
  readonly verdict?: string;
}

/** A backend and its URLs, as the replica that answers sends to them. */
export interface ApiBackend {
  readonly name: string;
  readonly groups?: readonly string[];
  readonly urls?: readonly ApiBackendUrl[];
}

interface ApiBackendUrl {
  readonly url: string;
  readonly state?: string;
  readonly since?: string;
  readonly inFlight?: string | number;
  readonly limit?: string | number;
  readonly waiting?: string | number;
  readonly sent?: string | number;
  readonly p99?: string;
  readonly lastFailure?: unknown;
  readonly nextProbe?: string;
}

interface UrlRow extends ApiBackendUrl {
  readonly backend: string;
  readonly groups: readonly string[];
  readonly leads: boolean;
}

const SHARDS = 64;

const URL_STATES: Readonly<Record<string, readonly [Glyph, Tone, string]>> = {
  serving: ['disc', 'green', 'Serving'],
  ejected: ['cross', 'red', 'Ejected'],
  'last one': ['triangle', 'amber', 'Last one'],
  paused: ['bars', 'amber', 'Paused'],
  probing: ['triangle', 'amber', 'Probing'],
};

/** Replicas, shards, backends: who decides, who serves. */
export function ClusterScreen(): VNode {
  const cluster = usePoll<ApiCluster>('v1/cluster');
  const backends = usePoll<{ backends?: readonly ApiBackend[] }>('v1/backends');
  useCommands({ Escape: () => go('') });
  const replicas = cluster.data?.replicas ?? [];
  const lost = replicas.filter((each) => word(each.state) === 'lost');
  const { undecided = [], nats = [], degraded = [] } = cluster.data ?? {};
  const urls = (backends.data?.backends ?? []).flatMap(({ name, groups = [], urls: of = [] }) =>
    of.map((url, at): UrlRow => ({ ...url, backend: name, groups, leads: at === 0 })),
  );
  return html`<h1 class="hidden">Cluster and backends</h1>
    ${
      (lost.length > 0 || (cluster.data?.verdict ?? '') !== '') &&
      html`<div class="verdict red" role="status"><div>${cluster.data?.verdict || html`<b>Lost: ${lost.map(({ name }) => name).join(', ')}.</b>`}</div></div>`
    }
    <div class="split">
      <div class="pane">
        ${
          cluster.problem?.status !== 404 &&
          html`<section>
            ${panelHead('Replicas', `${replicas.length - lost.length} of ${replicas.length} live, as ${replicas.find(({ self }) => self)?.name ?? 'this one'} sees it`)}
            ${cluster.problem && cluster.problem.status !== 0 && problemBox(cluster.problem, cluster.refresh)}
            ${replicas.length > 0 && html`<${Table} ...${{ label: 'Replicas', columns: REPLICA_COLUMNS, rows: replicas, idOf: ({ name }: ApiReplica) => name }} />`}
          </section>`
        }
        ${replicas.length > 0 && html`<${Shards} cluster=${cluster.data} />`}
        <section>
          ${panelHead('Backends', urls.length === 0 ? 'none' : 'URLs as this replica sends to them')}
          ${backends.problem && backends.problem.status !== 0 && (backends.problem.status === 404 ? html`<p class="none">not known</p>` : problemBox(backends.problem, backends.refresh))}
          ${urls.length > 0 && html`<${Table} ...${{ label: 'Backends', columns: URL_COLUMNS, rows: urls, idOf: ({ backend, url }: UrlRow) => `${backend} ${url}` }} />`}
        </section>
        ${
          undecided.length > 0 &&
          html`<section>
            ${panelHead('Groups that no replica decides', countText(undecided.length))}
            <div class="grid undecided">${undecided.map(({ group, shard, waiting, unreachable }) => html`<div class="line"><b>${group}</b><span class="t2">shard ${shard}</span><span class="r">${waiting ?? ''} wait</span><span class="t2">${unreachable ?? ''}</span></div>`)}</div>
          </section>`
        }
      </div>
      <aside>
        ${
          nats.length > 0 &&
          html`<section>${panelHead('NATS', `${nats.length} servers`)}<div class="grid nats">${nats.map(({ name, url, state, rtt }) => html`<div class="line"><span>${dot(word(state) === 'down' ? 'red' : 'green')}${word(state)}</span><span>${name ?? url}</span><span class="r t2">${rtt ?? ''}</span></div>`)}</div></section>`
        }
        ${
          degraded.length > 0 &&
          html`<section>${panelHead('Degraded groups', `${degraded.length}, limits not promised`)}<div class="grid nats">${degraded.map(({ group, how, admitted }) => html`<div class="line"><b>${group}</b><span class="t2">${how ?? ''}</span><span class="r amber">${admitted === undefined ? '' : `${countText(Number(admitted))} admitted`}</span></div>`)}</div></section>`
        }
        <section>${panelHead('What happened')}<${ActivityList} limit=${20} /></section>
      </aside>
    </div>`;
}

function dot(tone: Tone): VNode {
  return glyph(tone === 'red' ? 'cross' : 'disc', tone);
}

const REPLICA_COLUMNS: readonly Column<ApiReplica>[] = [
  {
    ...{ head: 'State', width: 96 },
    cell: ({ state }) =>
      word(state) === 'lost' ? html`<span class="state red">${dot('red')}Lost</span>` : html`<span class="state">${dot('green')}Live</span>`,
  },
  { head: 'Replica', width: 120, cell: ({ name }) => html`<b>${name}</b>` },
  { head: 'Last heard', width: 100, right: true, cell: ({ lastHeard, self }) => heardText(lastHeard, self) },
  { head: 'Shards', width: 80, right: true, cell: ({ shards }) => String(typeof shards === 'number' ? shards : (shards?.length ?? '')) },
  { head: 'Revision', width: 80, right: true, cell: ({ revision }) => revision ?? '' },
  { head: 'Callers held', width: 100, right: true, cell: ({ held }) => (held === undefined ? '' : countText(Number(held))) },
  { head: 'Decisions/s', width: 100, right: true, cell: ({ decisions }) => (decisions === undefined ? '' : rateText(decisions)) },
  { head: 'Note', cell: ({ note, self }) => html`<span class="t2">${note || (self === true ? 'answers this page' : '')}</span>` },
];

function heardText(instant: string | undefined, self: boolean | undefined): string {
  const at = readInstant(instant);
  return at === undefined ? (self === true ? '0.0 s' : '') : spanText(serverNow() - at);
}

const URL_COLUMNS: readonly Column<UrlRow>[] = [
  { head: 'Backend', width: 110, cell: ({ backend, groups, leads }) => leads && html`<b title=${groups.join(', ')}>${backend}</b>` },
  { head: 'State', width: 96, cell: ({ state }) => stateOfUrl(word(state)) },
  { head: 'URL', cell: ({ url }) => html`<code>${url.replace(/^https?:\/\//, '')}</code>` },
  {
    head: 'In flight',
    width: 90,
    right: true,
    cell: ({ inFlight, limit }) => (inFlight === undefined ? '' : `${inFlight}${limit === undefined ? '' : ` / ${limit}`}`),
  },
  { head: 'Waiting', width: 80, right: true, cell: ({ waiting }) => (waiting === undefined ? '' : countText(readCount(waiting) ?? 0)) },
  { head: 'p99', width: 70, right: true, cell: ({ p99 }) => msText(p99) },
  { head: 'Failures, and what comes next', width: 230, cell: failureText },
];

function stateOfUrl(state: string): VNode | string {
  const look = URL_STATES[state];
  return look === undefined ? state : html`<span class=${`state ${look[1]}`}>${glyph(look[0], look[1])}${look[2]}</span>`;
}

function msText(span: string | undefined): string {
  const ms = readSpan(span);
  return ms === undefined ? '' : ms < 1000 ? `${Math.round(ms)} ms` : spanText(ms);
}

function failureText({ lastFailure, nextProbe }: UrlRow): VNode {
  const failure = typeof lastFailure === 'string' ? lastFailure : String((lastFailure as { error?: string } | undefined)?.error ?? '');
  const probe = readInstant(nextProbe);
  const text = [failure, probe === undefined ? '' : `probe in ${spanText(probe - serverNow())}`].filter((part) => part !== '').join('; ');
  return html`<span class="t2" title=${text}>${text}</span>`;
}

/** 64 cells with the letter of the replica that decides, or a cross. */
function Shards({ cluster }: { readonly cluster: ApiCluster | undefined }): VNode | null {
  const owners = new Map<number, string>();
  for (const { shard, replica } of cluster?.shards ?? []) if (shard !== undefined && replica) owners.set(shard, replica);
  for (const { name, shards } of cluster?.replicas ?? []) if (Array.isArray(shards)) for (const shard of shards as readonly number[]) owners.set(shard, name);
  if (owners.size === 0) return null;
  return html`<section>
    ${panelHead('Shards', 'last letter of who decides; ✕ = no replica')}
    <div class="shards" role="img" aria-label=${`${owners.size} of ${SHARDS} shards are decided`}>
      ${Array.from({ length: SHARDS }, (_, shard) => html`<span class=${owners.has(shard) ? '' : 'red'} title=${`shard ${shard}: ${owners.get(shard) ?? 'no replica'}`}>${owners.get(shard)?.slice(-1) ?? '✕'}</span>`)}
    </div>
  </section>`;
}
