/*
 * What clients and the nemesis write down while servers are hurt, and all that the checker reads: a JSON object a line.
 * Times are CLOCK_MONOTONIC in microseconds, which all processes of one machine share.
 */

/** One ask from its sending to its answer. */
export interface AskLine {
  readonly op: 'ask';
  /** Unique for each ask that is not a repetition: the request id where it has one. */
  readonly id: string;
  readonly group: string;
  readonly key: string;
  readonly priority: number;
  readonly invoke: number;
  /** When the answer was there, or the connection broke. */
  readonly complete: number;
  /** `unknown`: nobody can say; the server may have admitted it. */
  readonly outcome: 'admitted' | 'refused' | 'unknown';
  readonly reason: string;
  readonly permit: string;
  /** '' without a lease. */
  readonly fence: string;
  /** Microseconds of the lease; 0: none. */
  readonly lease: number;
  /** Which replica was asked. */
  readonly replica: number;
}

/** A permit given back. */
export interface ReleaseLine {
  readonly op: 'release';
  readonly permit: string;
  readonly invoke: number;
  readonly complete: number;
  readonly ok: boolean;
}

/** A fault, from its beginning until all is as before. */
export interface FaultLine {
  readonly op: 'fault';
  readonly kind: string;
  readonly target: string;
  readonly from: number;
  readonly until: number;
}

/** One line of a history. */
export type HistoryLine = AskLine | ReleaseLine | FaultLine;

/** What a group's limits are, in the checker's own words. */
export type CheckedLimit =
  /** At most `permits` in any interval of `per`. */
  | { readonly kind: 'window'; readonly permits: number; readonly per: number }
  /** At most `burst` and one more each `every`. */
  | { readonly kind: 'rate'; readonly burst: number; readonly every: number }
  | { readonly kind: 'spacing'; readonly every: number }
  /** At most twice `permits` around an edge. */
  | { readonly kind: 'fixed'; readonly permits: number; readonly per: number }
  | { readonly kind: 'concurrency'; readonly max: number };

/** A group as the servers were told it. A parent's limits count all its children's permits. */
export interface CheckedGroup {
  readonly name: string;
  readonly parent?: string;
  readonly limits: readonly CheckedLimit[];
}

/** Reads a history; throws at a line that is none. */
export function parseHistory(text: string): readonly HistoryLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as HistoryLine);
}
