import type { VNode } from 'preact';
import { usePoll } from './api.ts';
import { html } from './html.ts';
import { glyph, type Tone } from './parts.ts';
import { problemBox } from './problem-box.ts';
import { clockText, readInstant } from './text.ts';

/** Something that an operator did, or that happened to the server. */
interface ApiActivity {
  readonly at?: string;
  readonly kind?: string;
  readonly what?: string;
  readonly who?: string;
  readonly group?: string;
  readonly reason?: string;
  readonly text?: string;
  readonly severity?: string;
}

/** What happened, the newest first; `group`: to one group. */
export function ActivityList({ group, limit }: { readonly group?: string; readonly limit: number }): VNode {
  const query = new URLSearchParams({ ...(group !== undefined && { group }), limit: String(limit) });
  const { data, problem, refresh } = usePoll<{ activity?: readonly ApiActivity[] }>(`v1/activity?${query}`, 5000);
  if (problem !== undefined && problem.status !== 0 && data === undefined)
    return problem.status === 404 ? html`<p class="none">not known</p>` : problemBox(problem, refresh);
  const entries = data?.activity ?? [];
  if (entries.length === 0) return html`<p class="none">${data === undefined ? '' : 'Nothing since the start of this server.'}</p>`;
  return html`<ol class="activity">
    ${entries.map((entry) => {
      const at = readInstant(entry.at);
      const tone: Tone = entry.severity === 'error' ? 'red' : entry.severity === 'warn' ? 'amber' : '';
      return html`<li>
        ${glyph(tone === 'red' ? 'cross' : tone === 'amber' ? 'triangle' : 'ring', tone)}<time>${at === undefined ? '' : clockText(at)}</time
        ><span title=${entry.text}>${entry.text ?? [entry.who, entry.what, entry.group].filter(Boolean).join(' ')}</span><span class="t2">${entry.reason ? `“${entry.reason}”` : ''}</span>
      </li>`;
    })}
  </ol>`;
}

/** All activity that the server keeps. */
export function ActivityScreen(): VNode {
  return html`<div class="pane pad"><h1>Activity</h1><p class="t2">What operators did and what happened, the newest first. Times are those of this browser’s zone.</p><${ActivityList} limit=${200} /></div>`;
}
