import type { VNode } from 'preact';
import { useEffect, useReducer, useRef } from 'preact/hooks';
import { html } from './html.ts';

/* The one dialog of the page. */

/** What was done last, for 10 s. */
export const notice: { text: string; until: number } = { text: '', until: 0 };

type Content = (close: () => void) => VNode;

let shown: Content | undefined;
let redraw: (() => void) | undefined;

/** Opens a dialog; the browser keeps the focus inside, and gives it back when the dialog closes. */
export function openDialog(content: Content): void {
  shown = content;
  redraw?.();
}

/** Where the dialog appears. */
export function DialogHost(): VNode | null {
  const [, draw] = useReducer((count: number) => count + 1, 0);
  redraw = () => draw(undefined as never);
  return shown === undefined ? null : html`<${Dialog} content=${shown} />`;
}

function Dialog({ content }: { readonly content: Content }): VNode {
  const element = useRef<HTMLDialogElement>(null);
  const close = (): void => element.current?.close();
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    // The harmless button has the focus, so that a stray Enter changes nothing.
    dialog?.querySelector<HTMLElement>('[data-first]')?.focus();
  }, []);
  return html`<dialog
    ref=${element}
    aria-labelledby="dialog-title"
    onClose=${() => {
      shown = undefined;
      redraw?.();
    }}
  >
    ${content(close)}
  </dialog>`;
}

/** Whether a dialog is open: then the keys of the screen do nothing. */
export function dialogOpen(): boolean {
  return shown !== undefined;
}
