import type { VNode } from 'preact';
import type { Problem } from './api.ts';
import { html } from './html.ts';

/** Draws why one panel has nothing to show; the others live on. */
export function problemBox({ title, detail }: Problem, retry: () => void): VNode {
  return html`<div class="problem" role="status"><b>${title}.</b> ${detail} <button onClick=${retry}>Retry</button></div>`;
}
