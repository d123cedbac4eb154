import { useEffect, useRef } from 'preact/hooks';
import { commandOf, type Pending } from './shortcuts.ts';

/* Which part of the page answers a key now: the newest that knows its command. */

/** What to do at a command. `false`: not meant here, ask the next. */
export type Commands = Readonly<Record<string, (() => unknown) | undefined>>;

const layers: { current: Commands }[] = [];

/** Answers commands for as long as the component is shown, before those that were shown earlier. */
export function useCommands(commands: Commands): void {
  const layer = useRef<Commands>({});
  layer.current = commands;
  useEffect(() => {
    layers.push(layer);
    return () => void layers.splice(layers.indexOf(layer), 1);
  }, [layer]);
}

/** Whether single letters are commands, as the operator set it. */
export function lettersOn(): boolean {
  return localStorage.getItem('sluice.letters') !== 'off';
}

/** Turns single letters on or off. */
export function setLetters(on: boolean): void {
  if (on) localStorage.removeItem('sluice.letters');
  else localStorage.setItem('sluice.letters', 'off');
}

let pending: Pending;

/** Listens to the keyboard for the life of the page. While `blocked` (a dialog is open), only its confirmation is a command. */
export function listenToKeys(blocked: () => boolean): void {
  document.addEventListener('keydown', (event) => {
    const focused = event.target instanceof Element ? event.target : document.body;
    const press = {
      ...{ key: event.key, ctrl: event.ctrlKey, other: event.altKey || event.metaKey },
      typing: focused.matches('input:not([type=checkbox]), textarea, select'),
    };
    const next = commandOf(press, pending, event.timeStamp, lettersOn());
    pending = next.pending;
    if (blocked() && next.command !== 'Ctrl Enter') return;
    // A button or a link with the focus is what Enter is for.
    if (next.command === undefined || (next.command === 'Enter' && focused.matches('a, button, input, summary'))) return;
    for (const { current } of [...layers].reverse()) {
      const answer = current[next.command];
      if (answer === undefined || answer() === false) continue;
      event.preventDefault();
      return;
    }
  });
}
