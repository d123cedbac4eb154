import type { ComponentChildren, VNode } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { useCommands } from './commands.ts';
import { html } from './html.ts';

/** A column of a table. */
export interface Column<R> {
  readonly head: ComponentChildren;
  readonly cell: (row: R) => ComponentChildren;
  /** Pixels; undefined: what is left. */
  readonly width?: number;
  readonly right?: boolean;
  /** Name that the server sorts by. */
  readonly sort?: string;
  /** Width of the page in pixels below which it is left out: one of the style sheet's. */
  readonly drop?: 1380 | 1290 | 1180 | 1080;
}

/** What a table shows. */
export interface TableProps<R> {
  /** Says what the table lists, to people who do not see it. */
  readonly label: string;
  readonly columns: readonly Column<R>[];
  readonly rows: readonly R[];
  readonly idOf: (row: R) => string;
  /** Place of the first row in the whole list, and rows of the whole list; absent: the rows are all there is. */
  readonly first?: number;
  readonly total?: number;
  /** Asks for rows from this place on. */
  readonly onWindow?: (first: number) => void;
  readonly onOpen?: (row: R) => void;
  /** Commands about the row that is selected. */
  readonly keys?: Readonly<Record<string, (row: R) => void>>;
  readonly sort?: string;
  readonly onSort?: (sort: string) => void;
  /** Answers keys although it has no focus: the table of its screen. */
  readonly main?: boolean;
  readonly classOf?: (row: R) => string;
}

const ROW_PX = 32;
/** Rows that are kept in the page; the server is asked for no more. */
export const WINDOW_ROWS = 60;

/**
 * A real table with one tab stop: arrows, `j` and `k` move its row. Of a long list only a window of rows is in the page; scrolling asks for others.
 */
export function Table<R>(props: TableProps<R>): VNode {
  const { label, columns, rows, idOf, first = 0, total = rows.length, onWindow, onOpen, keys, sort, onSort, main } = props;
  const [chosen, choose] = useState('');
  const element = useRef<HTMLTableElement>(null);
  const focusWanted = useRef<'' | 'first' | 'last' | 'chosen'>('');
  const found = rows.findIndex((row) => idOf(row) === chosen);
  const at = Math.max(0, found);
  const current = rows[at];
  const lines = (): HTMLElement[] => [...(element.current?.tBodies[0]?.querySelectorAll<HTMLElement>('tr[tabindex]') ?? [])];
  const isMine = (): boolean => {
    const focused = document.activeElement?.closest('table');
    return focused === element.current || (main === true && (focused === null || focused === undefined));
  };
  const go = (to: number): boolean => {
    if (!isMine()) return false;
    const line = lines()[to];
    const pane = element.current?.closest('.pane');
    if (line !== undefined) line.focus();
    else pane?.scrollBy(0, to < 0 ? -ROW_PX : ROW_PX);
    return true;
  };
  const jump = (end: 'first' | 'last'): boolean => {
    if (!isMine()) return false;
    focusWanted.current = end;
    const wanted = end === 'first' ? 0 : Math.max(0, total - WINDOW_ROWS);
    element.current?.closest('.pane')?.scrollTo(0, end === 'first' ? 0 : total * ROW_PX + ROW_PX);
    if (wanted === first || onWindow === undefined) settle();
    else onWindow(wanted);
    return true;
  };
  const settle = (): void => {
    const all = lines();
    const wanted = focusWanted.current;
    // Not before the window of that end is there.
    if ((wanted === 'first' && first > 0) || (wanted === 'last' && first + rows.length < total)) return;
    const line = wanted === 'first' ? all[0] : wanted === 'last' ? all.at(-1) : wanted === 'chosen' ? all[at] : undefined;
    focusWanted.current = '';
    line?.focus({ preventScroll: wanted === 'chosen' });
  };
  useCommands({
    j: () => go(document.activeElement?.closest('table') === element.current ? at + 1 : at),
    k: () => go(at - 1),
    Home: () => jump('first'),
    End: () => jump('last'),
    Enter: onOpen && (() => (isMine() && current !== undefined ? onOpen(current) : false)),
    ...Object.fromEntries(Object.entries(keys ?? {}).map(([name, act]) => [name, () => (isMine() && current !== undefined ? act(current) : false)])),
  });
  // A row that moves in the list loses the focus in the browser; the operator does not.
  const had = element.current?.contains(document.activeElement) === true && document.activeElement instanceof HTMLTableRowElement;
  useLayoutEffect(() => {
    if (had && document.activeElement === document.body && focusWanted.current === '') focusWanted.current = 'chosen';
    if (focusWanted.current !== '') settle();
  });
  useWindow(element, first, rows.length, total, onWindow);
  const gap = (count: number): VNode | false =>
    count > 0 && html`<tr class="gap" aria-hidden="true"><td colspan=${columns.length} style=${{ height: `${count * ROW_PX}px` }} /></tr>`;
  return html`<table ref=${element} aria-label=${label} aria-rowcount=${total + 1}>
    <colgroup>${columns.map(({ width, drop }) => html`<col class=${dropped(drop)} style=${width !== undefined && { width: `${width}px` }} />`)}</colgroup>
    <thead><tr aria-rowindex="1">${columns.map((column) => headCell(column, sort, onSort))}</tr></thead>
    <tbody>
      ${gap(first)}
      ${rows.map((row, index) => {
        const id = idOf(row);
        return html`<tr
          key=${id}
          aria-rowindex=${first + index + 2}
          tabindex=${index === at ? 0 : -1}
          class=${`${index === at && (main === true || found >= 0) ? 'on' : ''} ${props.classOf?.(row) ?? ''}`}
          onFocus=${() => choose(id)}
          onClick=${(event: MouseEvent) => (event.target as Element).closest('a, button') === null && choose(id)}
          onDblClick=${() => onOpen?.(row)}
        >
          ${columns.map(({ cell, right, drop }) => html`<td class=${`${right === true ? 'r' : ''} ${dropped(drop)}`}>${cell(row)}</td>`)}
        </tr>`;
      })}
      ${gap(total - first - rows.length)}
    </tbody>
  </table>`;
}

function headCell<R>({ head, right, sort: by, drop }: Column<R>, sort: string | undefined, onSort: ((sort: string) => void) | undefined): VNode {
  const sorted = by !== undefined && by === sort;
  const name = by !== undefined && onSort !== undefined ? html`<button class="plain" onClick=${() => onSort(by)}>${head}${sorted && ' ↓'}</button>` : head;
  return html`<th scope="col" class=${`${right === true ? 'r' : ''} ${dropped(drop)}`} aria-sort=${sorted ? 'descending' : undefined}>${name}</th>`;
}

function dropped(drop: number | undefined): string {
  return drop === undefined ? '' : `d${drop}`;
}

/** Asks for another window of rows when the view comes near an end of the one that is there. */
function useWindow(
  element: { current: HTMLTableElement | null },
  first: number,
  count: number,
  total: number,
  onWindow: ((first: number) => void) | undefined,
): void {
  const latest = useRef({ first, count, total, onWindow });
  latest.current = { first, count, total, onWindow };
  useEffect(() => {
    const pane = element.current?.closest('.pane');
    if (pane === null || pane === undefined || onWindow === undefined) return undefined;
    const scrolled = (): void => {
      const now = latest.current;
      const top = Math.floor(pane.scrollTop / ROW_PX);
      const bottom = top + Math.ceil(pane.clientHeight / ROW_PX);
      const outside = top < now.first || (bottom > now.first + now.count && now.first + now.count < now.total);
      if (outside) now.onWindow?.(Math.max(0, Math.min(top - 15, now.total - WINDOW_ROWS)));
    };
    pane.addEventListener('scroll', scrolled, { passive: true });
    return () => pane.removeEventListener('scroll', scrolled);
  }, [onWindow === undefined]);
}
