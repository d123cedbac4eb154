import type { VNode } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { call, type Json, type Problem } from './api.ts';
import { openDialog } from './dialog.ts';
import { toldText } from './group.ts';
import { html } from './html.ts';
import { key } from './parts.ts';
import { word } from './text.ts';

/** Opens the question whether a call would pass, and what would be in its way. It spends nothing. */
export function openExplain(group: string): void {
  openDialog((close) => html`<${Explain} ...${{ group, close }} />`);
}

const FIELDS = [
  ['class', 'Class'],
  ['key', 'Key'],
  ['cost', 'Cost'],
  ['ttl', 'Wait timeout, such as 30s'],
] as const;

function Explain({ group, close }: { readonly group: string; readonly close: () => void }): VNode {
  const [fields, setFields] = useState<Readonly<Record<string, string>>>({});
  const [answer, setAnswer] = useState<Json>();
  const [problem, setProblem] = useState<Problem>();
  const ask = (): void => {
    const query = new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== ''));
    call('GET', `v1/groups/${encodeURIComponent(group)}/explain?${query}`).then(
      (found) => {
        setAnswer(found);
        setProblem(undefined);
      },
      (failure: Problem) => setProblem(failure),
    );
  };
  useEffect(ask, []);
  return html`<h2 id="dialog-title">Explain a call to ${group}</h2>
    <div class="fields">
      ${FIELDS.map(
        ([name, label], index) =>
          html`<label
            >${label}
            <input
              ...${index === 0 ? { 'data-first': true } : {}}
              onInput=${(event: InputEvent) => setFields({ ...fields, [name]: (event.target as HTMLInputElement).value })}
              onKeyDown=${(event: KeyboardEvent) => event.key === 'Enter' && ask()}
          /></label>`,
      )}
      <button class="solid" onClick=${ask}>Ask</button>
    </div>
    ${problem && html`<p class="problem" role="alert"><b>${problem.title}.</b> ${problem.detail}</p>`}
    <div role="status">${answer && story(answer)}</div>
    <div class="buttons"><i /><button onClick=${close}>Close ${key('Esc')}</button></div>`;
}

/** The answer as a story: the server's own, else what its fields say. */
function story(answer: Json): VNode {
  const told = answer['story'];
  if (Array.isArray(told)) return html`${told.map((line) => html`<p>${String(line)}</p>`)}`;
  if (typeof told === 'string' && told !== '') return html`<p>${told}</p>`;
  const refusal = answer['refusal'] as { reason?: string; limit?: string; detail?: string } | undefined;
  const place = answer['place'] as { place?: string; limit?: string; told?: { from?: string; to?: string } } | undefined;
  if (answer['admitted'] === true) return html`<p><b>It passes at once.</b></p>`;
  if (refusal !== undefined)
    return html`<p><b>It is refused as ${word(refusal.reason)}</b>${refusal.limit ? `, by ${refusal.limit}` : ''}. ${refusal.detail ?? ''}</p>`;
  return html`<p><b>It waits at place ${place?.place ?? 'not known'}</b>${place?.limit ? `, behind ${place.limit}` : ''}; ${toldText(place?.told)}.</p>`;
}
