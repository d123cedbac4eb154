/** What a refusal says; the body of an RFC 9457 problem as Sluice writes it. */
export interface RefusalBody {
  readonly reason: string;
  readonly status: number;
  readonly detail: string;
  readonly limit: string | undefined;
  readonly retryAfterMs: number | undefined;
}

/** Reasons after which the same ask may pass later. */
const PASSING: ReadonlySet<string> = new Set(['shed', 'expired', 'infeasible', 'draining', 'undecided', 'unstored']);

/** The server said no. `message` says in a sentence what to do next. */
export class SluiceRefused extends Error {
  override readonly name = 'SluiceRefused';
  /** One of the words in docs/clients.md (`expired`, `shed`, `unknown_group`, `fenced`, ...), or `http` where something in between answered. */
  readonly reason: string;
  /** HTTP status. */
  readonly status: number;
  /** The limit that binds, `name` or `group/name` of an ancestor; undefined: none does. */
  readonly limit: string | undefined;
  /** When asking again makes sense, in milliseconds from the answer; undefined: never, or nobody knows. */
  readonly retryAfterMs: number | undefined;

  constructor(parts: RefusalBody) {
    super(parts.detail);
    this.reason = parts.reason;
    this.status = parts.status;
    this.limit = parts.limit;
    this.retryAfterMs = parts.retryAfterMs;
  }

  /** The same ask may pass later. */
  get isPassing(): boolean {
    return PASSING.has(this.reason);
  }
}

/** No answer came: nobody listens, the name is not known, or the connection was cut and could not be had again. `cause` is the last failure. */
export class SluiceUnreachable extends Error {
  override readonly name = 'SluiceUnreachable';
}

/** A lease is over while it was to be kept: it lapsed, was revoked, or nobody could renew it in time (then `cause` says why). */
export class SluiceLeaseLost extends Error {
  override readonly name = 'SluiceLeaseLost';
}
