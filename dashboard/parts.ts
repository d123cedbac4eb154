import type { VNode } from 'preact';
import { html } from './html.ts';
import { emphasized } from './text.ts';

/* Small things that several screens draw. */

/** What colours a part: `red` stuck, lost or dead; `amber` late, paused or overridden; `green` a good dot; '' calm. */
export type Tone = 'red' | 'amber' | 'green' | '';

/** Shapes beside a word, so that no state is told by colour alone. */
const GLYPHS = {
  cross: 'M2 2l8 8M10 2l-8 8',
  square: 'M2.5 2h7a.5.5 0 01.5.5v7a.5.5 0 01-.5.5h-7a.5.5 0 01-.5-.5v-7a.5.5 0 01.5-.5z',
  bars: 'M3 2v8M4 2v8M8 2v8M9 2v8',
  triangle: 'M6 2l4.5 8h-9z',
  ring: 'M6 2.2a3.8 3.8 0 110 7.6 3.8 3.8 0 010-7.6z',
  dot: 'M6 5a1 1 0 110 2 1 1 0 010-2z',
  disc: 'M6 2a4 4 0 110 8 4 4 0 010-8z',
} as const;

/** Name of a shape. */
export type Glyph = keyof typeof GLYPHS;

const FILLED: ReadonlySet<Glyph> = new Set(['square', 'triangle', 'dot', 'disc']);

/** Draws a shape in the colour of its tone. */
export function glyph(shape: Glyph, tone: Tone = ''): VNode {
  return html`<svg class=${`g ${tone}`} viewBox="0 0 12 12" aria-hidden="true">
    <path d=${GLYPHS[shape]} fill=${FILLED.has(shape) ? 'currentColor' : 'none'} stroke="currentColor" stroke-width="1.6" />
  </svg>`;
}

/** How each state of a group looks; the words are the server's. */
export const STATES: Readonly<Record<string, { readonly shape: Glyph; readonly tone: Tone; readonly word: string }>> = {
  undecided: { shape: 'cross', tone: 'red', word: 'Undecided' },
  stuck: { shape: 'square', tone: 'red', word: 'Stuck' },
  paused: { shape: 'bars', tone: 'amber', word: 'Paused' },
  late: { shape: 'triangle', tone: 'amber', word: 'Late' },
  moving: { shape: 'ring', tone: '', word: 'Moving' },
  open: { shape: 'dot', tone: '', word: 'Open' },
};

/** Draws the state of a group: shape and word. */
export function stateMark(state: string): VNode | undefined {
  const look = STATES[state];
  return look && html`<span class=${`state ${look.tone}`}>${glyph(look.shape, look.tone)}${look.word}</span>`;
}

/** Draws how much of something is used, 0 to 1. */
export function bar(part: number, tone: Tone = '', width = 44): VNode {
  const filled = Math.min(1, Math.max(0, part));
  return html`<svg class=${`bar ${tone}`} style=${{ width: `${width}px` }} viewBox=${`0 0 ${width} 8`} preserveAspectRatio="none" aria-hidden="true">
    <rect class="track" width=${width} height="8" rx="2" /><rect width=${filled === 0 ? 0 : Math.max(1.5, filled * width)} height="8" rx="2" />
  </svg>`;
}

/** Points of a trend of 15 minutes. */
const TREND_POINTS = 30;

/** Draws arrivals beside admissions, each on one common scale; the gap between them is tinted where the first exceed the second. */
export function sparkline(arrived: readonly number[], admitted: readonly number[], width = 92, height = 20): VNode {
  const top = Math.max(1e-9, ...arrived, ...admitted);
  const step = width / (TREND_POINTS - 1);
  // A younger history ends at the right like any other.
  const start = width - (admitted.length - 1) * step;
  const points = (series: readonly number[]): string[] =>
    series.map((value, at) => `${(start + at * step).toFixed(1)} ${(height - 1 - (value / top) * (height - 2)).toFixed(1)}`);
  const [over, under] = [points(arrived), points(admitted)];
  // Counts of one step of time waver; a gap counts where a tenth of the arrivals stays behind.
  const gap = arrived.some((value, at) => value > 1.1 * (admitted[at] ?? 0) && value - (admitted[at] ?? 0) > top / 10);
  const line = (of: string[]): string => `M${of.join('L')}`;
  return html`<svg class=${`spark ${gap ? 'gap' : ''}`} viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
    ${gap && html`<path class="tint" d=${`${line(over)}L${[...under].reverse().join('L')}Z`} /><path class="in" d=${line(over)} />`}
    ${admitted.length > 1 && html`<path class="out" d=${line(under)} />`}
  </svg>`;
}

/** Sets the names in a sentence in bold. */
export function sentence(text: string, names: readonly string[]): readonly (string | VNode)[] {
  return emphasized(text, names).map((part, at) => (at % 2 === 1 ? html`<b>${part}</b>` : part));
}

/** Draws a key of the keyboard. */
export function key(name: string): VNode {
  return html`<kbd>${name}</kbd>`;
}

/** Draws a small word in a frame. */
export function tag(text: string, tone: Tone = ''): VNode {
  return html`<span class=${`tag ${tone}`}>${text}</span>`;
}

/** Draws the head of a panel: its name, and what there is to say of it in grey. */
export function panelHead(name: string, about: unknown = '', right?: unknown): VNode {
  return html`<div class="phead"><h2>${name}</h2><span>${about}</span><i />${right}</div>`;
}
