import type { VNode } from 'preact';
import { serverNow } from './api.ts';
import type { ApiServer } from './first-run.ts';
import { type ApiGroup, type ApiHistory, namesOf, refusedOf } from './group.ts';
import { html } from './html.ts';
import { bar, glyph, sentence, sparkline, type Tone } from './parts.ts';
import { countText, deferredNote, rateText, readCount, readInstant, spanText } from './text.ts';

/** Figures of the whole server. */
export interface ApiSummary {
  readonly counts?: Readonly<Record<string, string | number>>;
  readonly oldest?: Pick<ApiGroup, 'name' | 'oldestSince' | 'binding' | 'state'>;
  readonly history?: ApiHistory;
  readonly arrivedPerSecond?: number;
  readonly admittedPerSecond?: number;
  readonly me?: { readonly name?: string; readonly can?: readonly string[] };
  readonly server?: ApiServer;
  readonly recent?: { readonly refused?: Readonly<Record<string, string>> };
  /** null: no route is deferred. Absent: not known. */
  readonly deferred?: {
    readonly dead?: string | number;
    readonly pending?: string | number;
    readonly growth?: string | number;
    readonly mainError?: string;
  } | null;
  readonly cluster?: {
    readonly live?: number;
    readonly lost?: number;
    readonly replicas?: number;
    readonly revision?: string;
    readonly decided?: number;
    readonly shards?: number;
  };
  readonly backends?: { readonly urls?: number; readonly ejected?: number };
  /** Nothing was ever admitted or refused. */
  readonly firstRun?: boolean;
}

/** The health of the server in five cells, the most urgent at the left. */
export function Strip({ summary = {} }: { readonly summary: ApiSummary | undefined }): VNode {
  const { oldest, counts, history, deferred, cluster, backends } = summary;
  const since = readInstant(oldest?.oldestSince);
  const stuck = readCount(counts?.['stuck']);
  const { arrivedPerSecond: arrived, admittedPerSecond: admitted } = summary;
  const refused = refusedOf(summary);
  return html`<div class="strip">
    <div>
      <div class="cap"><span>Oldest waiter</span><span>${stuck === undefined ? '' : `${countText(stuck)} group${stuck === 1 ? '' : 's'} stuck`}</span></div>
      ${
        oldest && since !== undefined
          ? html`<div><span class=${`big ${(stuck ?? 0) > 0 ? 'red' : ''}`}>${spanText(serverNow() - since)}</span> in <a class="name" href=${`#/groups/${encodeURIComponent(oldest.name)}`}>${oldest.name}</a></div>
              <div class="t2 two">${sentence(oldest.binding?.text ?? '', namesOf(oldest))}</div>`
          : html`<div><span class="big">–</span></div><div class="t2">${counts === undefined ? '' : 'No caller waits.'}</div>`
      }
    </div>
    <div>
      <div class="cap"><span>15 min</span><span class="legend"><em class="in" />arrived ${arrived === undefined ? '' : `${rateText(arrived)}/s`} <em class="out" />admitted ${admitted === undefined ? '' : `${rateText(admitted)}/s`}</span></div>
      ${history?.admitted && sparkline((history.arrived ?? []).map(Number), history.admitted.map(Number), 300, 48)}
    </div>
    <div>
      <div class="cap"><span>Refused, 15 min</span><span>${refused === undefined ? '' : countText(refused.all)}</span></div>
      ${refused?.reasons.slice(0, 3).map(([reason, count]) => html`<div class="mini"><span>${reason}</span><b>${countText(count)}</b>${bar(count / refused.all, '', 60)}</div>`)}
      ${refused?.all === 0 && html`<div class="t2">none</div>`}
    </div>
    <div>
      <div class="cap"><span>Deferred</span><span>${deferred?.pending === undefined ? '' : `${countText(Number(deferred.pending))} pending`}</span></div>
      ${
        deferred === undefined || deferred === null
          ? html`<div class="t2">${counts && deferredNote(deferred)}</div>`
          : html`<div><a class="name" href="#/deferred"><span class="big">${countText(Number(deferred.dead ?? 0))}</span></a> dead letters</div><div class="t2 cut">${deferred.growth === undefined ? '' : `${countText(Number(deferred.growth))} more in 1 h${deferred.mainError ? `: ${deferred.mainError}` : ''}`}</div>`
      }
    </div>
    <div>
      <div class="cap"><span>${cluster === undefined ? 'Server' : 'Cluster'}</span></div>
      ${
        cluster
          ? html`${line(`${cluster.live ?? 0} of ${cluster.replicas ?? 0} replicas${cluster.revision === undefined ? '' : `, revision ${cluster.revision}`}`, (cluster.lost ?? 0) > 0)}
            ${line(`${cluster.decided ?? 0} of ${cluster.shards ?? 0} shards decided`, cluster.decided !== cluster.shards)}`
          : counts && line('One node, decides every group', false)
      }
      ${backends?.urls !== undefined && line(`${backends.ejected ?? 0} of ${backends.urls} backend URLs ejected`, (backends.ejected ?? 0) > 0)}
    </div>
  </div>`;
}

function line(text: string, bad: boolean): VNode {
  const tone: Tone = bad ? 'red' : 'green';
  return html`<div class=${bad ? 'red bad' : ''}>${glyph(bad ? 'cross' : 'disc', tone)} ${text}</div>`;
}
