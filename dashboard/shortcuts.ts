/* Which command a key stands for. Pure. */

/** A key as the browser reports it, and where. */
export interface KeyPress {
  readonly key: string;
  readonly ctrl: boolean;
  /** Alt or the platform's command key: never ours. */
  readonly other: boolean;
  /** An input, a text area or a list of choices has the focus. */
  readonly typing: boolean;
}

/** What was pressed so far of a sequence. */
export type Pending = { readonly key: 'g'; readonly at: number } | undefined;

/** A second key later than this begins anew, in milliseconds. */
const SEQUENCE_MS = 1500;

const NAMED: Readonly<Record<string, string>> = { ArrowDown: 'j', ArrowUp: 'k' };
const LONG: ReadonlySet<string> = new Set(['Enter', 'Escape', 'Home', 'End', 'j', 'k', 'PageUp', 'PageDown']);

/**
 * Returns the command of a key (`j`, `Enter`, `g d`, `Ctrl Enter`) and what is pending after it. A single letter is none while the operator
 * types, or where single letters are turned off (WCAG 2.1.4); arrows, Enter and Escape always are.
 */
export function commandOf(press: KeyPress, pending: Pending, nowMs: number, letters: boolean): { readonly command?: string; readonly pending?: Pending } {
  const { key, ctrl, other, typing } = press;
  if (other || key === 'Shift') return { pending };
  if (ctrl) return key === 'Enter' ? { command: 'Ctrl Enter' } : {};
  if (typing) return key === 'Escape' ? { command: key } : {};
  const named = NAMED[key];
  if (named !== undefined) return { command: named };
  if (key.length > 1) return LONG.has(key) ? { command: key } : {};
  if (!letters) return {};
  if (pending !== undefined && nowMs - pending.at < SEQUENCE_MS) return { command: `g ${key}` };
  if (key === 'g') return { pending: { key, at: nowMs } };
  return { command: key };
}
