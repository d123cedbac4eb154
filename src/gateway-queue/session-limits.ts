import type { AdmissionService } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import { LATE_MAX } from '../core/limits/reported-window.ts';
import { MILLISECOND, MINUTE, type Micros, plus, SECOND } from '../core/time.ts';

/** How many sessions an application may start, as Discord reports it. */
export interface SessionStartLimit {
  /** Starts per window, at least 1. */
  readonly total: number;
  /** Starts that are left of the running window. */
  readonly remaining: number;
  /** Time until the running window ends. */
  readonly resetAfter: Micros;
  /** Buckets that may start at the same time, at least 1. */
  readonly maxConcurrency: number;
}

/** The limits could not be fetched; the message states the cause. */
export class LimitsUnavailable extends Error {
  override readonly name = 'LimitsUnavailable';
  /** Time to wait before the next try, from the response; undefined: it states none. */
  readonly retryAfter: Micros | undefined;

  constructor(message: string, more: { readonly retryAfter?: Micros | undefined; readonly cause?: unknown } = {}) {
    super(message, { cause: more.cause });
    this.retryAfter = more.retryAfter;
  }
}

/** Fetches the limits once. Rejects with {@link LimitsUnavailable}; gives up by itself. */
export type LimitsSource = () => Promise<SessionStartLimit>;

/** What happened to the limits; for the log and metrics. */
export type LimitsEvent =
  | { readonly kind: 'limits_taken'; readonly limits: SessionStartLimit }
  | { readonly kind: 'limits_failed'; readonly cause: unknown; readonly failures: number; readonly retryIn: Micros };

/** What keeping the limits up to date needs. */
export interface SessionLimitsDeps {
  readonly source: LimitsSource;
  readonly admission: Pick<AdmissionService, 'group' | 'report'>;
  readonly clock: Clock;
  readonly group: string;
  /** The limit of the group whose windows the source reports. */
  readonly limit: string;
  readonly refresh: Micros;
  /** From a grant until its session start is surely in the source's count. */
  readonly countedWithin: Micros;
  /** 0 to 1. */
  readonly random: () => number;
  /** Called with every answer, once the limit has taken it. */
  readonly taken: (limits: SessionStartLimit) => void;
  readonly onEvent: (event: LimitsEvent) => void;
}

/** First pause after a failure, and between two responses in which the same window has ended; it doubles. */
const BACKOFF: Micros = 5 * SECOND;
const BACKOFF_MAX: Micros = 5 * MINUTE;

/** A longer wait in a response is cut to this. */
const RETRY_AFTER_MAX: Micros = 60 * MINUTE;

/** A window that is to end at once is asked about again after this, once. */
const SOON: Micros = 200 * MILLISECOND;

/**
 * Keeps the limits of session starts up to date: fetches them at the start, at each multiple of `refresh`, when a window ends, and after failures with
 * exponential backoff. What the group's limit has is all there is until the next answer: a source that fails opens nothing.
 */
export class SessionLimits {
  readonly #deps: SessionLimitsDeps;
  #failures = 0;
  /** Answers in a row whose window was about to end. */
  #ending = 0;
  #cancel: (() => void) | undefined;
  #stopped = false;
  /** Answers so far. */
  #answers = 0;
  #asking = false;

  constructor(deps: SessionLimitsDeps) {
    this.#deps = deps;
  }

  /** Fetches for the first time; does not wait for the response. Call it once. */
  start(): void {
    this.#wake();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  #wake(): void {
    if (this.#asking || this.#stopped) return;
    this.#asking = true;
    const { onEvent } = this.#deps;
    this.#fetch().then(
      (next) => this.#again(next),
      (cause: unknown) => {
        const retryIn = this.#backoff(cause);
        onEvent({ kind: 'limits_failed', cause, failures: this.#failures, retryIn });
        this.#again(retryIn);
      },
    );
  }

  #again(delay: Micros): void {
    this.#asking = false;
    if (this.#stopped) return;
    const { clock } = this.#deps;
    this.#cancel = clock.at(plus(clock.now(), delay), () => this.#wake());
  }

  /** Resolves with the time until the next fetch. */
  async #fetch(): Promise<Micros> {
    const { source, admission, group, limit, clock, countedWithin, taken, onEvent } = this.#deps;
    const asked = clock.now();
    const limits = await source();
    if (this.#stopped) return 0;
    const { total, remaining, resetAfter } = limits;
    const late = Math.min(LATE_MAX, countedWithin + (clock.now() - asked));
    const refused = await admission.report(group, limit, { permits: total, used: Math.max(0, total - remaining), late, endsIn: resetAfter });
    if (refused !== undefined) throw new LimitsUnavailable(`group ${group} does not take the limits now: ${refused.reason}`);
    this.#failures = 0;
    taken(limits);
    onEvent({ kind: 'limits_taken', limits });
    this.#answers++;
    return this.#next(limits, await this.#left());
  }

  /** Resolves with what the limit has left now, undefined if its owner cannot be asked. */
  async #left(): Promise<number | undefined> {
    const { admission, group, limit } = this.#deps;
    const view = await admission.group(group);
    const found = 'reason' in view ? undefined : view.limits.find(({ name }) => name === limit);
    return found && found.capacity - found.used;
  }

  #next({ remaining, resetAfter }: SessionStartLimit, left: number | undefined): Micros {
    const { countedWithin } = this.#deps;
    const refresh = this.#untilRefresh();
    this.#ending = resetAfter < SOON ? this.#ending + 1 : 0;
    if (this.#ending > 1) return Math.min(refresh, BACKOFF_MAX, BACKOFF * 2 ** Math.min(20, this.#ending - 2));
    const end = Math.max(SOON, resetAfter);
    // Nothing passes here though the source has some left: it had not counted what passed last.
    const settled = left === 0 && remaining > 0 ? countedWithin + SECOND : refresh;
    // Whatever passed before this process began is surely counted then.
    const first = this.#answers === 1 ? countedWithin + SECOND : refresh;
    return Math.min(refresh, end, settled, first);
  }

  /** Time to the next multiple of `refresh` since 1970: replicas fetch at the same moments, so that they hardly ever know different limits. */
  #untilRefresh(): Micros {
    const { refresh, clock } = this.#deps;
    const now = clock.now();
    const left = refresh - ((clock.epoch(now) * MILLISECOND) % refresh);
    return left < SECOND ? left + refresh : left;
  }

  #backoff(cause: unknown): Micros {
    const pause = Math.min(BACKOFF * 2 ** Math.min(20, this.#failures), Math.max(BACKOFF, Math.min(BACKOFF_MAX, this.#deps.refresh)));
    this.#failures++;
    const wait = cause instanceof LimitsUnavailable ? Math.min(RETRY_AFTER_MAX, cause.retryAfter ?? 0) : 0;
    // Never sooner than the response allows; replicas that failed together do not come back together.
    return Math.ceil(Math.max(pause, wait) * (1 + this.#deps.random() / 4));
  }
}
