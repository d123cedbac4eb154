import type { VNode } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { call, type Json, type Problem } from './api.ts';
import { useCommands } from './commands.ts';
import { notice, openDialog } from './dialog.ts';
import { html } from './html.ts';
import { key } from './parts.ts';
import { countText } from './text.ts';

/* Confirmations: Now, Then, what the other side sees, Undo, Command, Reason; then the call. */

/** A change that an operator may confirm. */
export interface Change {
  readonly title: string;
  readonly method: string;
  readonly path: string;
  readonly body: Json;
  /** How the group stands now. */
  readonly now: string;
  /** What follows, by contract; the server's own forecast goes before it. */
  readonly follows: string;
  /** What the other side sees: who, and what. */
  readonly other?: readonly [who: string, what: unknown];
  readonly undo: string;
  /** The same on the command line. */
  readonly command: string;
  readonly confirm: string;
  /** The harmless button. */
  readonly keep: string;
  /** Red: something ends that cannot be brought back. */
  readonly danger?: boolean;
  /** How many objects it changes; over 100 that cannot be undone, the number has to be typed. */
  readonly count?: number;
  /** Said for 10 s when it is done, before what the server adds. */
  readonly done: string;
  /** Choices that change the body, such as how long; drawn above the reason. */
  readonly choices?: (body: Json, set: (body: Json) => void) => VNode;
  readonly after?: () => void;
  /** The call takes a reason, which is kept with what was done. */
  readonly reasons?: boolean;
  /** The call can be tried: it knows `dryRun` and `expect`. One that does not must not be tried, as it would act. */
  readonly foretells?: boolean;
}

const NOTICE_MS = 10_000;
const TYPED_FROM = 100;

/** Opens the confirmation of a change. Nothing happens before it is confirmed. */
export function confirm(change: Change): void {
  openDialog((close) => html`<${Confirmation} ...${{ change, close }} />`);
}

function Confirmation({ change, close }: { readonly change: Change; readonly close: () => void }): VNode {
  const [body, setBody] = useState(change.body);
  const [effect, setEffect] = useState<Json>({});
  const [problem, setProblem] = useState<Problem>();
  const [reason, setReason] = useState('');
  const [typed, setTyped] = useState('');
  const [busy, setBusy] = useState(false);
  const [tries, setTries] = useState(0);
  const shape = JSON.stringify(body);
  useEffect(() => {
    if (change.foretells !== true) return undefined;
    let over = false;
    send(change, body, { dryRun: 'true' }).then(
      (answer) => over || setEffect(answer),
      (failure: Problem) => over || setProblem(failure),
    );
    return () => {
      over = true;
    };
  }, [shape, tries]);
  const asks = change.danger === true && (change.count ?? 0) > TYPED_FROM;
  const ready = !busy && (!asks || typed === String(change.count));
  const act = async (): Promise<void> => {
    if (!ready) return;
    setBusy(true);
    try {
      const answer = await send(change, body, {
        ...(reason !== '' && { reason }),
        ...(typeof effect['expect'] === 'string' && { expect: effect['expect'] }),
      });
      notice.text = `${change.done} ${linesOf(answer['effect']).join(' ')}`.trim();
      notice.until = Date.now() + NOTICE_MS;
      change.after?.();
      close();
    } catch (failure) {
      const refused = failure as Problem;
      // 409: the state has changed; the effect on the new one is asked for and shown, instead of acting.
      if (refused.status === 409) setTries(tries + 1);
      setProblem(refused);
      setBusy(false);
    }
  };
  useCommands({ 'Ctrl Enter': act });
  const then = linesOf(effect['effect']);
  const row = (name: string, content: unknown): VNode => html`<dt>${name}</dt><dd>${content}</dd>`;
  return html`<h2 id="dialog-title">${change.title}</h2>
    <dl>
      ${row('Now', change.now)} ${row('Then', then.length === 0 ? change.follows : then.map((line) => html`<div>${line}</div>`))}
      ${change.other && row(change.other[0], change.other[1])} ${row('Undo', typeof effect['undo'] === 'string' && effect['undo'] !== '' ? effect['undo'] : change.undo)}
      ${row('Command', html`<code>${change.command}</code>`)} ${change.choices && row('For', change.choices(body, setBody))}
    </dl>
    ${problem && html`<p class="problem" role="alert"><b>${problem.status === 409 ? 'The state has changed; nothing was done.' : `${problem.title}.`}</b> ${problem.detail}</p>`}
    <div class="buttons">
      ${change.reasons === true ? html`<input aria-label="Reason, for the log" placeholder="Reason, for the log (optional)" maxlength="200" value=${reason} onInput=${(event: InputEvent) => setReason((event.target as HTMLInputElement).value)} />` : html`<i />`}
      ${
        asks &&
        html`<input class="count" aria-label=${`Type ${change.count} to confirm`} placeholder=${`Type ${countText(change.count ?? 0)}`} value=${typed} onInput=${(event: InputEvent) => setTyped((event.target as HTMLInputElement).value.replaceAll(',', ''))} />`
      }
      <button data-first onClick=${close}>${change.keep} ${key('Esc')}</button>
      <button class=${change.danger === true ? 'danger' : 'solid'} disabled=${!ready} onClick=${act}>${change.confirm} ${key('Ctrl ⏎')}</button>
    </div>`;
}

/** Sends the call; what is added goes in the query, as a body can be lost on the way of a DELETE, and a dry run without its flag would act. */
function send({ method, path }: Change, body: Json, added: Readonly<Record<string, string>>): Promise<Json> {
  const query = new URLSearchParams(added).toString();
  return call(method, query === '' ? path : `${path}?${query}`, method === 'DELETE' ? undefined : body);
}

function linesOf(effect: unknown): readonly string[] {
  if (typeof effect === 'string') return effect === '' ? [] : [effect];
  return Array.isArray(effect) ? effect.map(String) : [];
}
