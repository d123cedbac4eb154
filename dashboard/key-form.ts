import type { VNode } from 'preact';
import { useState } from 'preact/hooks';
import { link } from './api.ts';
import { html } from './html.ts';

/** Asks for a key where the server wants one and no proxy before it adds one; it is kept for this tab only. */
export function KeyForm(): VNode {
  const [value, set] = useState('');
  const use = (): void => {
    takeKey(value.trim());
    location.reload();
  };
  return html`<div class="pane first">
    <h1>This server asks for a key</h1>
    <p class="t2">An API key whose <code>can</code> has <code>read</code>, to look, or <code>manage</code> too, to act. It is kept in this tab until the tab is closed.</p>
    <div class="fields"><label>Key <input type="password" autocomplete="off" onInput=${(event: InputEvent) => set((event.target as HTMLInputElement).value)} onKeyDown=${(event: KeyboardEvent) => event.key === 'Enter' && use()} /></label><button class="solid" onClick=${use}>Use it</button></div>
  </div>`;
}

/** Takes a key for this tab; an empty one is forgotten. */
function takeKey(key: string): void {
  if (key === '') sessionStorage.removeItem('sluice.key');
  else sessionStorage.setItem('sluice.key', key);
  link.needsKey = false;
}
