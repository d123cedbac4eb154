/** When a request goes, as a range that holds for nine of ten: milliseconds from the response. */
export interface WaitRange {
  readonly earliestMs: number;
  readonly latestMs: number;
}

/** Content of a refusal; the body of an RFC 9457 problem as Sluice writes it. */
export interface RefusalBody {
  readonly reason: string;
  readonly status: number;
  readonly detail: string;
  readonly limit: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly range?: WaitRange | undefined;
}

/** Reasons after which the same request may pass later. */
const PASSING: ReadonlySet<string> = new Set(['shed', 'expired', 'infeasible', 'draining', 'undecided', 'unstored']);

/** The server refused. `message` is a sentence on what to do next. */
export class SluiceRefused extends Error {
  override readonly name = 'SluiceRefused';
  /** One of the words in docs/clients.md (`expired`, `shed`, `unknown_group`, `fenced`, ...), or `http` where something in between answered. */
  readonly reason: string;
  /** HTTP status. */
  readonly status: number;
  /** The limit that binds, `name` or `group/name` of an ancestor; undefined: none does. */
  readonly limit: string | undefined;
  /** When a retry makes sense, in milliseconds from the response; undefined: never, or not known. */
  readonly retryAfterMs: number | undefined;
  /** When the same request, asked again now, would go if it waited; undefined: not known, or many are refused at once. */
  readonly range: WaitRange | undefined;

  constructor(body: RefusalBody) {
    super(body.detail);
    this.reason = body.reason;
    this.status = body.status;
    this.limit = body.limit;
    this.retryAfterMs = body.retryAfterMs;
    this.range = body.range;
  }

  /** The same request may pass later. */
  get isPassing(): boolean {
    return PASSING.has(this.reason);
  }
}

/** No response came: no process listens, the name is not known, or the connection was cut and could not be opened again. `cause` is the last failure. */
export class SluiceUnreachable extends Error {
  override readonly name = 'SluiceUnreachable';
}

/** A lease is over while it was to be kept: it lapsed, was revoked, or it could not be renewed in time (then `cause` is the reason). */
export class SluiceLeaseLost extends Error {
  override readonly name = 'SluiceLeaseLost';
}
