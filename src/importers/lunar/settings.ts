import type { Plain } from '../../config/source-value.ts';
import type { SourceNode } from '../source-node.ts';
import type { LunarOptions, Options } from './draft.ts';

/* Settings that Lunar's remedies and flows have in common, as options of a group. */

/** Longest wait timeout of a group. */
const TTL_SECONDS_MAX = 86_400;
/** Largest backlog of a group. */
const BACKLOG_MAX = 10_000_000;
/** Most permits of a limit. */
const PERMITS_MAX = 1_000_000_000_000;

/** Returns a duration as text: `2.2s`, `500ms`. */
export function secondsText(seconds: number): string {
  const ms = Math.round(seconds * 1000);
  return ms >= 1000 || ms === 0 ? `${ms / 1000}s` : `${ms}ms`;
}

/** Returns `ttl` of a group: callers wait this long, and cannot set more. */
export function ttlOf(node: SourceNode, truncates: boolean): Plain | undefined {
  const seconds = node.decimal(0.001, Number.MAX_SAFE_INTEGER);
  if (seconds === undefined) return undefined;
  const taken = Math.min(seconds, TTL_SECONDS_MAX);
  if (taken < seconds) node.changed('ttl: a day, the longest there is');
  else if (truncates && !Number.isInteger(seconds)) node.changed('ttl, exactly; Lunar cuts it to whole seconds');
  else node.understood('ttl.default and ttl.max');
  return { default: secondsText(taken), max: secondsText(taken) };
}

/** Returns `backlog.requests` of a group, within its bounds. */
export function backlogOf(node: SourceNode, what: string): number | undefined {
  const size = node.integer(0, Number.MAX_SAFE_INTEGER);
  if (size === undefined) return undefined;
  if (size > BACKLOG_MAX) node.changed(`${what}: ${BACKLOG_MAX}, the most there is`);
  else node.understood(what);
  return Math.min(size, BACKLOG_MAX);
}

/** Returns a status that a refusal may have; 429 for others. */
export function statusOf(node: SourceNode): number | undefined {
  const status = node.integer(100, 599);
  if (status === undefined) return undefined;
  if (status >= 400) node.understood('refusal.status');
  else node.changed('refusal.status: 429; a refusal is 400 to 599');
  return status >= 400 ? status : 429;
}

/** Returns the number of permits of a limit. */
export function permitsOf(node: SourceNode): number | undefined {
  return node.integer(1, PERMITS_MAX);
}

/** Returns a window limit. `align` is where windows begin if they are fixed. */
export function windowLimit(name: string, permits: number, seconds: number, { windows }: LunarOptions, align: 'epoch' | 'first'): Options {
  const window = `${permits}/${secondsText(seconds)}`;
  return windows === 'rolling' ? { name, window } : { name, window, kind: 'fixed', align };
}

/** What is said of a key that a window comes from. */
export function judgeWindow(node: SourceNode, { windows }: LunarOptions): void {
  if (windows === 'fixed') node.understood('window, kind: fixed');
  else node.changed('window, rolling: at most so many in any such time, where Lunar passes twice as many around an edge (--windows fixed keeps that)');
}
