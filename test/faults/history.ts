/*
 * What clients and the nemesis write down while servers are hurt, and all that the checker reads: a JSON object a line.
 * Times are CLOCK_MONOTONIC in microseconds, which all processes of one machine share.
 */

/** What the servers were told, first in a history. */
export interface GroupsLine {
  readonly op: 'groups';
  readonly groups: readonly CheckedGroup[];
}

/** One ask from its sending to its end, over all its tries. */
export interface AskLine {
  readonly op: 'ask';
  /** Unique for each ask that is not a repetition: the request id where it has one. */
  readonly id: string;
  readonly group: string;
  readonly key: string;
  /** A lower number is more urgent. */
  readonly priority: number;
  readonly invoke: number;
  /** When the answer was there, or it was given up. */
  readonly complete: number;
  /** `unknown`: nobody can say; the server may have admitted it. */
  readonly outcome: 'admitted' | 'refused' | 'unknown';
  readonly reason: string;
  readonly permit: string;
  /** '' without a lease. */
  readonly fence: string;
  /** Microseconds of the lease; 0: none. */
  readonly lease: number;
  /** Wait timeout in microseconds. */
  readonly ttl: number;
}

/** One time that an ask was sent to a replica; the same ask is sent again when that came to nothing. */
export interface TryLine {
  readonly op: 'try';
  /** Of the ask. */
  readonly id: string;
  readonly group: string;
  readonly replica: number;
  readonly invoke: number;
  readonly complete: number;
  /** `broken`: the connection was refused or ended. `silent`: no answer, long after its wait timeout. A refusal's reason, or `admitted`. */
  readonly end: string;
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
  /** `r0`: one replica. */
  readonly target: string;
  readonly from: number;
  readonly until: number;
}

/** NATS took no writes, as seen by a client of its own. */
export interface OutageLine {
  readonly op: 'outage';
  readonly from: number;
  readonly until: number;
}

/** The machine itself stood still: a ticker that does nothing else was called this late. */
export interface StallLine {
  readonly op: 'stall';
  readonly from: number;
  readonly until: number;
}

/** A replica took this long to say that it lives, which costs it nothing: it was late with everything. */
export interface LagLine {
  readonly op: 'lag';
  readonly replica: number;
  readonly from: number;
  readonly until: number;
}

/** One line of a history. */
export type HistoryLine = GroupsLine | AskLine | TryLine | ReleaseLine | FaultLine | OutageLine | StallLine | LagLine;

/** A limit that counts permits over time. */
export type TimedLimit =
  /** At most `permits` in any interval of `per`. */
  | { readonly kind: 'window'; readonly permits: number; readonly per: number }
  /** At most `burst` and one more each `every`. */
  | { readonly kind: 'rate'; readonly burst: number; readonly every: number }
  | { readonly kind: 'spacing'; readonly every: number }
  /** At most twice `permits` around an edge. */
  | { readonly kind: 'fixed'; readonly permits: number; readonly per: number };

/** What a group's limits are, in the checker's own words. */
export type CheckedLimit = TimedLimit | { readonly kind: 'concurrency'; readonly max: number };

/** A group as the servers were told it. A parent's limits count all its children's permits. */
export interface CheckedGroup {
  readonly name: string;
  readonly parent?: string;
  /** Only probes ask for it. */
  readonly probed?: boolean;
  readonly limits: readonly CheckedLimit[];
}

/** Reads a history; throws at a line that is none. */
export function parseHistory(text: string): readonly HistoryLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as HistoryLine);
}

/** The lines of one kind. */
export function linesOf<Op extends HistoryLine['op']>(lines: readonly HistoryLine[], op: Op): readonly Extract<HistoryLine, { op: Op }>[] {
  return lines.filter((line): line is Extract<HistoryLine, { op: Op }> => line.op === op);
}

/** The limits that a permit of this group counts against, its own first. */
export function limitsOver(groups: readonly CheckedGroup[], name: string): readonly CheckedLimit[] {
  const found: CheckedLimit[] = [];
  for (let at = groups.find((group) => group.name === name); at !== undefined; ) {
    found.push(...at.limits);
    const { parent } = at;
    at = groups.find((group) => group.name === parent);
  }
  return found;
}
