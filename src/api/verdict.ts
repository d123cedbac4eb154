import type { OperatorNote } from '../admission/operator-notes.ts';
import type { Binding } from '../core/gate/binding.ts';
import { type Instant, type Micros, NEVER, SECOND } from '../core/time.ts';

/** A binding whose names were replaced where the reader may not see them. */
export type ShownBinding = Binding & {
  /** The pause's circumstances; undefined: not known, or it is no pause. */
  readonly note?: OperatorNote | undefined;
};

/**
 * States in one sentence what holds waiters up, and on whom it depends. Every surface prints this sentence: the API's Group and Explain, the command
 * line and the dashboard.
 */
export function verdict(binding: ShownBinding, now: Instant): string {
  return [causeOf(binding, now), loudestText(binding)].filter((part) => part !== '').join('; ');
}

function causeOf(binding: ShownBinding, now: Instant): string {
  const { kind, opensAt, key, note, holders } = binding;
  const own = key === undefined ? '' : `${key === '' ? 'callers without a key' : `key ${key}`}: `;
  if (kind === 'pause') {
    const who = note === undefined || note.by === '' ? 'paused' : `paused by ${note.by}`;
    const time = opensAt === NEVER ? 'until it is resumed' : `for ${spanText(opensAt - now)} more`;
    return `${own}${who} ${time}${note === undefined || note.reason === '' ? '' : `: ${note.reason}`}`;
  }
  if (holders !== undefined) return own + holdersText(binding, now);
  const debt = binding.debt > 0 ? `debt of ${binding.debt} ${binding.unit} is paid first, ` : '';
  return `${own}${debt}${opensAt === NEVER ? 'not known when it opens' : `opens in ${spanText(opensAt - now)}`}`;
}

function holdersText({ holders, capacity }: ShownBinding, now: Instant): string {
  const oldest = holders?.oldest;
  if (oldest === undefined) return 'no slot is open';
  const age = spanText(now - oldest.since);
  const name = oldest.holder || (oldest.key === '' ? '' : oldest.key);
  const who = name === '' ? 'an unnamed holder' : `${name}${oldest.key !== '' && oldest.key !== name ? ` (${oldest.key})` : ''}`;
  if (holders?.count === 1) return `${who} holds ${capacity === 1 ? 'the only slot' : 'what is left'} for ${age}`;
  return `${holders?.count} holders, the oldest ${who} for ${age}`;
}

function loudestText({ loudest, kind, key, holders }: ShownBinding): string {
  if (loudest === undefined || kind === 'pause' || key !== undefined || holders !== undefined || loudest.share < 0.5) return '';
  return `${loudest.key} has ${Math.round(loudest.share * 100)} % of the waiters`;
}

/** Returns a span as people read it: `0.4 s`, `25 s`, `4m 12s`, `5h 51m`, `3d 0h`. */
export function spanText(span: Micros): string {
  const seconds = Math.max(0, span) / SECOND;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const pair = (value: number, of: number, names: readonly [string, string]): string =>
    `${Math.floor(value / of)}${names[0]} ${String(value % of).padStart(names[1] === 'h' ? 1 : 2, '0')}${names[1]}`;
  if (whole < 3_600) return pair(whole, 60, ['m', 's']);
  const minutes = Math.floor(whole / 60);
  return minutes < 1_440 ? pair(minutes, 60, ['h', 'm']) : pair(Math.floor(minutes / 60), 24, ['d', 'h']);
}
