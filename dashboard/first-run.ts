import type { VNode } from 'preact';
import { type ApiGroup, stateOf } from './group.ts';
import { html } from './html.ts';
import { stateMark } from './parts.ts';
import { quotaText } from './quota.ts';
import { type Column, Table } from './table.ts';
import { countText, readCount, word } from './text.ts';

/** What the server says of itself. */
export interface ApiServer {
  readonly version?: string;
  readonly revision?: string;
  readonly file?: string;
  readonly env?: string;
  /** Whether credentials are demanded. */
  readonly auth?: boolean;
  readonly listeners?: Readonly<Record<string, string>>;
  readonly cluster?: boolean;
}

/** Shown while nothing was ever admitted or refused: three commands that work as printed. */
export function FirstRun({ groups, server }: { readonly groups: readonly ApiGroup[]; readonly server: ApiServer | undefined }): VNode {
  const kindsOf = (group: ApiGroup): readonly string[] => (group.limits ?? []).map(({ kind }) => word(kind, 'LIMIT_KIND_'));
  const paced = groups.find((group) => kindsOf(group).includes('spacing')) ?? groups[0];
  const leased = groups.find((group) => kindsOf(group).includes('concurrency'));
  const api = server?.listeners?.['api'];
  const address = api === undefined ? undefined : `http://${api.replace(/^(0\.0\.0\.0|\[::\])/, location.hostname)}`;
  const key = server?.auth === true ? " -H 'Authorization: Bearer KEY'" : '';
  const acquire = paced && address && `curl -sX POST${key} '${address}/v1/groups/${encodeURIComponent(paced.name)}/acquire?ttl=30s'`;
  const [limit] = paced?.limits ?? [];
  const steps: readonly (readonly [string, VNode, string | undefined])[] = [
    ['Ask for a permit', html`It passes at once, and a row below counts 1 admitted.`, acquire],
    [
      'Ask three times at once, to see a queue',
      html`The group <b>${paced?.name}</b>: ${limit && quotaText(limit)}.`,
      acquire && `for i in 1 2 3; do ${acquire} & done; wait`,
    ],
    [
      'Or hold a slot',
      html`Start it in two terminals; the second waits while the first holds what there is.`,
      leased && `npx sluice run --group ${leased.name} -- sleep 20`,
    ],
  ];
  return html`<div class="pane first">
    <h1>Sluice is running. No caller has asked yet.</h1>
    <p class="t2">${countText(groups.length)} groups${server?.file && html` from <code>${server.file}</code>`}${server?.revision === undefined ? '' : `, revision ${server.revision}`}. Send a first call, and watch it arrive here.</p>
    <ol class="steps">
      ${steps.filter(([, , command]) => command).map(([name, about, command]) => html`<li><b>${name}</b><p class="t2">${about}</p><pre>${command}</pre></li>`)}
    </ol>
    <h2>Groups <span class="t3">${countText(groups.length)}, as the file says</span></h2>
    <${Table} ...${{ label: 'Groups', columns: COLUMNS, rows: groups, idOf: ({ name }: ApiGroup) => name, main: true }} />
  </div>`;
}

const COLUMNS: readonly Column<ApiGroup>[] = [
  { head: 'State', width: 96, cell: (group) => stateMark(stateOf(group)) },
  { head: 'Group', width: 160, cell: ({ name }) => html`<a class="name" tabindex="-1" href=${`#/groups/${encodeURIComponent(name)}`}>${name}</a>` },
  { head: 'Limits', cell: ({ limits = [] }) => limits.map((limit) => `${limit.name}: ${quotaText(limit)}`).join('; ') },
  { head: 'Waiting', width: 80, right: true, cell: ({ waiting }) => countText(readCount(waiting) ?? 0) },
  { head: 'Admitted', width: 80, right: true, cell: ({ counters }) => countText(readCount(counters?.admitted) ?? 0) },
];
