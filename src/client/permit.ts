import { sleep, type Timing } from './clock.ts';
import { parseServerDuration } from './duration.ts';
import { SluiceUnreachable } from './errors.ts';
import type { HttpTransport, Reply } from './http.ts';
import { keepAlive } from './keep-alive.ts';

/** How a permit ends. */
export interface ReleaseOptions {
  /** `used` (default): the work was done. `unused`: nothing was sent, everything that still counts is given back. `dropped`: the backend pushed back. */
  readonly outcome?: 'used' | 'unused' | 'dropped';
  /** What it really cost, by unit; not with `unused`. */
  readonly costs?: Readonly<Record<string, number>>;
  /** With `dropped`: how long no caller of the key (or group) is to be admitted, as `30s`. */
  readonly retryAfter?: string;
}

/** What a permit is made of. */
export interface PermitInit {
  readonly wire: HttpTransport;
  readonly timing: Timing;
  readonly group: string;
  /** The server's answer. */
  readonly body: Readonly<Record<string, unknown>>;
  /** At or before the grant, by `timing`. */
  readonly at: number;
}

/** Milliseconds of silence after which a short call is tried again. */
const SILENCE_MS = 5000;
/** A renewal is tried again sooner, so that one silent connection does not cost a short lease: after a sixth of it; from `least` on, or a third of shorter leases. */
const RENEWAL = { part: 1 / 6, leastMs: 1000, leastPart: 1 / 3 };
const RELEASE_TRIES = 3;

/** The right to go once; where the group limits concurrency a lease, which has to be released or kept alive. */
export class Permit {
  /** Names it to the server; a secret of its holder. */
  readonly id: string;
  readonly group: string;
  /** Grows with every lease of the group; undefined: no lease. */
  readonly fence: bigint | undefined;
  /** A backend keeps the largest floor it has seen and refuses a fence below it; undefined: no lease. */
  readonly fenceFloor: bigint | undefined;
  /** Milliseconds it lives from its grant or last renewal; undefined: it need not come back. */
  readonly leaseMs: number | undefined;
  /** Milliseconds spent in the queue. */
  readonly waitedMs: number;
  /** The group is not enforced, and would have held this caller by this limit; undefined: it would not. */
  readonly shadowLimit: string | undefined;
  readonly #init: PermitInit;
  #endsAt: number;
  #leaseMs: number | undefined;
  #released: Promise<boolean> | undefined;
  #kept: { readonly lost: AbortSignal; stop(): void } | undefined;

  constructor(init: PermitInit) {
    const { body, at, group } = init;
    const shadow = body['shadow'] as { readonly limit?: string } | undefined;
    this.#init = init;
    this.id = String(body['permit']);
    this.group = group;
    this.fence = fenceOf(body['fence']);
    this.fenceFloor = fenceOf(body['fenceFloor']);
    this.leaseMs = parseServerDuration(body['lease']);
    this.waitedMs = parseServerDuration(body['waited']) ?? 0;
    this.shadowLimit = shadow?.limit;
    this.#leaseMs = this.leaseMs;
    this.#endsAt = at + (this.leaseMs ?? 0);
  }

  /** Milliseconds until the lease lapses, by this side's clock and on the early side; Infinity: no lease. */
  get leftMs(): number {
    return this.leaseMs === undefined ? Number.POSITIVE_INFINITY : this.#endsAt - this.#init.timing.now();
  }

  /** A new life of `lease` (`30s`; absent: as long as before) from now. Throws SluiceRefused (`fenced`: it is over) or SluiceUnreachable. */
  async renew(lease?: string): Promise<void> {
    const sent = this.#init.timing.now();
    const body = answered(await this.#call('renew', lease === undefined ? {} : { lease }, renewalSilenceMs(this.#leaseMs)));
    this.#leaseMs = parseServerDuration(body['lease']) ?? this.#leaseMs;
    this.#endsAt = sent + (this.#leaseMs ?? 0);
  }

  /**
   * Renews at each third of the lease, a little early and by chance, until release. The signal is aborted with
   * SluiceLeaseLost once the lease is over: stop the work then. Without a lease it never is. Calling it again answers the same signal.
   */
  keepAlive(): AbortSignal {
    this.#kept ??= keepAlive(this.#init.timing, {
      leaseMs: () => (this.#released === undefined ? this.#leaseMs : undefined),
      leftMs: () => this.leftMs,
      renew: () => this.renew(),
    });
    return this.#kept.lost;
  }

  /**
   * Ends it and settles what it cost; stops {@link keepAlive}. Answers whether there was anything to end. A second call
   * answers as the first did. Throws SluiceRefused, or SluiceUnreachable after three tries (the lease then lapses by itself).
   */
  release(options: ReleaseOptions = {}): Promise<boolean> {
    this.#kept?.stop();
    this.#released ??= this.#release(options);
    return this.#released;
  }

  async #release(options: ReleaseOptions): Promise<boolean> {
    const { timing } = this.#init;
    for (let tries = 1; ; tries += 1) {
      const reply = await this.#call('release', options);
      if (reply.kind !== 'cut' || tries === RELEASE_TRIES) return answered(reply)['ended'] === true;
      await sleep(timing, 100 * 2 ** tries * (0.5 + timing.random() / 2), undefined);
    }
  }

  #call(name: 'renew' | 'release', body: object, silenceMs = SILENCE_MS): Promise<Reply> {
    return this.#init.wire.call({ method: 'POST', path: `/v1/permits/${encodeURIComponent(this.id)}/${name}`, body, silenceMs });
  }
}

/** Milliseconds of silence after which the renewal of a lease of this length is given up. */
function renewalSilenceMs(leaseMs = Number.POSITIVE_INFINITY): number {
  return Math.min(SILENCE_MS, Math.max(leaseMs * RENEWAL.part, Math.min(RENEWAL.leastMs, leaseMs * RENEWAL.leastPart)));
}

/** The body of an answer; throws whatever else came. */
function answered(reply: Reply): Readonly<Record<string, unknown>> {
  if (reply.kind === 'ok') return reply.body;
  if (reply.kind === 'refused') throw reply.refusal;
  throw new SluiceUnreachable('Sluice cannot be reached', { cause: reply.kind === 'cut' ? reply.cause : undefined });
}

function fenceOf(value: unknown): bigint | undefined {
  return typeof value === 'string' && /^\d+$/.test(value) ? BigInt(value) : undefined;
}
