import type { VNode } from 'preact';
import { useState } from 'preact/hooks';
import { lettersOn, setLetters } from './commands.ts';
import { openDialog } from './dialog.ts';
import { html } from './html.ts';
import { key } from './parts.ts';

const KEYS: readonly (readonly [keys: string, what: string])[] = [
  ['/', 'find a group'],
  ['?', 'all keys'],
  ['g g', 'groups'],
  ['g d', 'deferred'],
  ['g c', 'cluster, backends'],
  ['g a', 'activity'],
  ['j k ↓ ↑', 'move'],
  ['Home End', 'first, last'],
  ['Enter', 'open'],
  ['Esc', 'back, close'],
  ['s', 'next sort'],
  ['1 – 8', 'filter'],
  ['t', 'light or dark'],
  ['p', 'pause or resume a group'],
  ['o', 'override limits'],
  ['e', 'explain a call'],
  ['x', 'revoke or evict the row'],
  ['r', 'redrive dead letters'],
  ['c', 'cancel a request'],
  ['f', 'filter requests'],
  ['Ctrl ⏎', 'confirm in a dialog'],
];

/** Shows every key. */
export function openHelp(): void {
  openDialog((close) => html`<${Help} close=${close} />`);
}

function Help({ close }: { readonly close: () => void }): VNode {
  const [on, set] = useState(lettersOn());
  const toggle = (): void => {
    setLetters(!on);
    set(!on);
  };
  return html`<h2 id="dialog-title">Keys</h2>
    <dl class="keys">${KEYS.map(([keys, what]) => html`<dt>${key(keys)}</dt><dd>${what}</dd>`)}</dl>
    <label><input type="checkbox" checked=${on} onChange=${toggle} /> Single letters are keys</label>
    <div class="buttons"><a href="licenses.txt">Licenses of what this page is made with</a><i /><button data-first onClick=${close}>Close ${key('Esc')}</button></div>`;
}
