import { type Report, ValueError } from '../config/errors.ts';
import { parseDuration } from '../config/units.ts';
import { GROUP_NAME, isKey, LEASE_MAX, TTL_MAX, UNITS_MAX } from '../core/bounds.ts';
import { type Costs, ONE_REQUEST, PRIORITY_MAX } from '../core/group.ts';
import { MILLISECOND, type Micros, SECOND } from '../core/time.ts';
import { REQUESTS_MAX, type SimulatedRequest } from './simulated-request.ts';

/** Requests of a trace, sorted; and what was left out of them. */
export interface Trace {
  readonly requests: readonly SimulatedRequest[];
  /** When the first came: microseconds since 1970; undefined: the trace counts from 0. */
  readonly startedAt: Micros | undefined;
  /** Lines of a log for other events. */
  readonly skipped: number;
  /** Leases that the log does not see end: they are held to its last line. */
  readonly open: number;
}

type Line = Readonly<Record<string, unknown>>;

/** A request as read, with its absolute time. */
interface Recorded extends Omit<SimulatedRequest, 'at' | 'hold'> {
  readonly arrivedAt: Micros;
  hold: Micros;
}

/**
 * Reads a trace, line by line: requests as docs/simulate.md gives them, or the server's log with `log.requests` on, in any order, of one
 * server or of several. Every mistake is reported with its line.
 */
export class TraceReader {
  readonly #report: Report;
  readonly #source: string;
  readonly #recorded: Recorded[] = [];
  /** Leases not seen to end, by permit; and what was seen to end before its admission was read. */
  readonly #held = new Map<string, { readonly request: Recorded; readonly grantedAt: Micros }>();
  readonly #ends = new Map<string, Micros>();
  #line = 0;
  #skipped = 0;
  #last = 0;
  #isDated: boolean | undefined;
  #isFull = false;

  constructor(source: string, report: Report) {
    this.#source = source;
    this.#report = report;
  }

  /** Takes the next line. Returns false when more lines are not worth reading. */
  take(text: string): boolean {
    this.#line++;
    if (text.trim() === '') return true;
    const line = parsed(text);
    if (line === undefined) {
      this.#wrong('', new ValueError('this line is no JSON object', 'Write one object a line (docs/simulate.md).'));
      return true;
    }
    if (typeof line['event'] === 'string') this.#logged(line, line['event']);
    else this.#written(line);
    if (this.#recorded.length <= REQUESTS_MAX) return true;
    if (!this.#isFull) this.#wrong('', new ValueError(`there are more than ${REQUESTS_MAX} requests`, 'Take a part of the trace.'));
    this.#isFull = true;
    return false;
  }

  /** After the last line. */
  finish(): Trace {
    for (const { request, grantedAt } of this.#held.values()) request.hold = Math.max(0, this.#last - grantedAt);
    const recorded = this.#recorded.sort((a, b) => a.arrivedAt - b.arrivedAt);
    const start = recorded[0]?.arrivedAt ?? 0;
    return {
      requests: recorded.map(({ arrivedAt, ...rest }) => ({ at: arrivedAt - start, ...rest })),
      startedAt: this.#isDated === true ? start : undefined,
      skipped: this.#skipped,
      open: this.#held.size,
    };
  }

  #wrong(path: string, fault: ValueError): void {
    this.#report({ source: this.#source, line: this.#line, column: 1 }, path === '' ? [] : [path], fault);
  }

  #written(line: Line): void {
    const unknown = Object.keys(line).find((name) => !FIELDS.has(name));
    if (unknown !== undefined)
      return this.#wrong('', new ValueError(`there is no field ${JSON.stringify(unknown.slice(0, 40))} here`, `Use ${[...FIELDS].join(', ')}.`));
    const arrivedAt = this.#instant(line['at']);
    const group = this.#text(line, 'group', (name) => GROUP_NAME.test(name));
    if (arrivedAt === undefined || group === undefined) return;
    const hold = this.#span(line, 'hold', LEASE_MAX) ?? 0;
    const settled = line['settled'] === undefined ? undefined : this.#costs(line, 'settled');
    this.#recorded.push({
      arrivedAt,
      group,
      key: line['key'] === undefined || line['key'] === '' ? '' : (this.#text(line, 'key', isKey) ?? ''),
      priority: this.#priority(line),
      costs: this.#costs(line, 'costs'),
      wait: this.#span(line, 'ttl', TTL_MAX),
      hold,
      settled,
    });
    this.#last = Math.max(this.#last, arrivedAt + hold);
  }

  /** Lines of `log.requests`; others are counted and passed over. */
  #logged(line: Line, event: string): void {
    const admitted = event === 'request_admitted';
    if (event !== 'permit_ended' && event !== 'request_refused' && !admitted) {
      this.#skipped++;
      return;
    }
    const loggedAt = this.#instant(line['time']);
    if (loggedAt === undefined) return;
    this.#last = Math.max(this.#last, loggedAt);
    const permit = `${String(line['group'])} ${String(line['fence'])}`;
    if (event === 'permit_ended') return this.#ended(permit, Number(line['heldMs']) * MILLISECOND);
    const arrivedAt = this.#instant(line['arrivedAt']);
    const group = this.#text(line, 'group', (name) => GROUP_NAME.test(name));
    const waited = Math.round(Number(line['waitedMs']) * MILLISECOND);
    if (arrivedAt === undefined || group === undefined || !(waited >= 0)) return;
    const request: Recorded = {
      arrivedAt,
      group,
      key: typeof line['key'] === 'string' ? line['key'] : '',
      priority: typeof line['priority'] === 'number' ? line['priority'] : undefined,
      costs: line['costs'] === undefined ? ONE_REQUEST : this.#costs(line, 'costs'),
      // How long it would have waited is known of those only who waited that long.
      wait: line['reason'] === 'expired' ? waited : undefined,
      hold: 0,
      settled: undefined,
    };
    this.#recorded.push(request);
    if (line['fence'] === undefined) return;
    const held = this.#ends.get(permit);
    if (held === undefined) this.#held.set(permit, { request, grantedAt: arrivedAt + waited });
    else request.hold = held;
    this.#ends.delete(permit);
  }

  #ended(permit: string, held: Micros): void {
    if (!(held >= 0)) return;
    const known = this.#held.get(permit);
    if (known === undefined) this.#ends.set(permit, Math.round(held));
    else known.request.hold = Math.round(held);
    this.#held.delete(permit);
  }

  /** Seconds from the start, or an instant of RFC 3339; never both in one trace. */
  #instant(value: unknown): Micros | undefined {
    const isDated = typeof value === 'string';
    const at = isDated ? dated(value) : typeof value === 'number' && value >= 0 && value <= SECONDS_MAX ? Math.round(value * SECOND) : undefined;
    if (at === undefined || (this.#isDated ?? isDated) !== isDated) {
      this.#wrong(
        'at',
        new ValueError('this is no time', 'Write seconds from the start as a number, or an instant as in 2026-01-31T12:00:00.5Z, in all lines alike.'),
      );
      return undefined;
    }
    this.#isDated = isDated;
    return at;
  }

  #text(line: Line, name: string, accepts: (text: string) => boolean): string | undefined {
    const value = line[name];
    if (typeof value === 'string' && accepts(value)) return value;
    this.#wrong(name, new ValueError(value === undefined ? `${name} is missing` : `this is no ${name}`, `Write the name of a ${name}.`));
    return undefined;
  }

  #span(line: Line, name: string, max: Micros): Micros | undefined {
    const value = line[name];
    if (value === undefined) return undefined;
    const span = typeof value === 'number' ? Math.round(value * SECOND) : typeof value === 'string' ? parseDuration(value) : undefined;
    if (span !== undefined && span >= 0 && span <= max) return span;
    this.#wrong(name, new ValueError('this is no length of time', 'Write seconds as a number, or a duration as in "1m30s".'));
    return undefined;
  }

  #priority(line: Line): string | number | undefined {
    const { class: named, priority } = line as { readonly class?: unknown; readonly priority?: unknown };
    if (typeof named === 'string' && priority === undefined) return named;
    if (named === undefined && (priority === undefined || (Number.isInteger(priority) && (priority as number) >= 0 && (priority as number) <= PRIORITY_MAX)))
      return priority as number | undefined;
    this.#wrong(
      named === undefined ? 'priority' : 'class',
      new ValueError('this is no priority', `Name a class, or a priority from 0 to ${PRIORITY_MAX}; not both.`),
    );
    return undefined;
  }

  #costs(line: Line, name: string): Costs {
    const value = line[name];
    if (value === undefined) return ONE_REQUEST;
    const costs = Object.create(null) as Record<string, number>;
    const entries = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : undefined;
    for (const [unit, units] of entries ?? []) if (Number.isInteger(units) && units >= 0 && units <= UNITS_MAX) costs[unit] = units;
    if (entries === undefined || Object.keys(costs).length !== entries.length)
      this.#wrong(name, new ValueError('these are no costs', 'Write whole numbers by unit, as in {"tokens": 300}.'));
    return costs;
  }
}

const FIELDS: ReadonlySet<string> = new Set(['at', 'group', 'key', 'class', 'priority', 'costs', 'ttl', 'hold', 'settled']);

/** Of a trace that counts from its start: ten years. */
const SECONDS_MAX = 10 * 366 * 86_400;

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/;

function dated(text: string): Micros | undefined {
  const found = RFC_3339.exec(text);
  if (found === null) return undefined;
  const [, fraction = ''] = found;
  const whole = Date.parse(text.replace(fraction, ''));
  return Number.isNaN(whole) ? undefined : whole * MILLISECOND + Math.round(Number(`0${fraction === '' ? '.0' : fraction}`) * SECOND);
}

function parsed(text: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Line) : undefined;
  } catch {
    return undefined;
  }
}
