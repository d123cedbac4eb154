import type { StoredLines } from '../admission/stored-lines.ts';
import { MILLISECOND, plus } from '../core/time.ts';
import type { CallbackTransport } from './callback-transport.ts';
import { EndCallbacks } from './end-callbacks.ts';
import type { InFlight } from './in-flight.ts';
import type { RequestRow } from './request.ts';
import { NONE } from './request-index.ts';
import { type DeferredDeps, RequestLifecycle } from './request-lifecycle.ts';
import type { SharedHooks, SharedStore } from './shared-store.ts';
import type { Flight } from './store.ts';

/** Between two tries to open a shard whose streams cannot be read: doubled from the first to the second. */
const OPEN_AGAIN_MS = { first: 250, most: 4_000 } as const;
/** What was stored is looked for so often without news of it. */
const LEARN_MS = 1_000;
/** Delay and number of retries of a read from a server that lags behind what is known to be stored. */
const LAG = { waitMs: 10, looks: 20 } as const;
const SWEEP_MS = 1_000;
/** An attempt that another process sends is given up this long after its route's timeout. */
const HELD_LATER_MS = 10_000;
/** A process that is missing in this many checks, a second apart, has ended. */
const GONE_LOOKS = 3;

/** Dependencies of the owner of a shard; most are for its lifecycle. */
export interface ShardOwnerDeps extends Omit<DeferredDeps, 'store' | 'line' | 'callbacks' | 'shared'> {
  readonly shard: number;
  /** Of this ownership. */
  readonly term: bigint;
  readonly lines: StoredLines;
  /** A store of the shard that was not opened yet. */
  readonly openStore: () => SharedStore;
  readonly transport: CallbackTransport;
  /** Callbacks under way, over all shards of the process. */
  readonly callbacksInFlight: InFlight;
  readonly report: SharedHooks['report'];
  readonly ended: SharedHooks['ended'];
  readonly instance: SharedHooks['instance'];
  readonly decides: SharedHooks['decides'];
  /** An attempt of this shard, which was released, has stopped without an end, or was never sent. */
  readonly attemptOver: (sequence: number) => void;
  /** Requests of a process which of these attempts it does not send (any more): it reports each by `over`. */
  readonly askHolder: (holder: string, sequences: readonly number[]) => void;
  /** Whether a process that owned the shard before still lives. */
  readonly isAlive: (instance: string) => boolean;
}

/** A shard that is open: its store, and its requests in memory. */
export interface OpenedShard {
  readonly store: SharedStore;
  readonly requests: RequestLifecycle;
}

/**
 * The requests of one shard in one term of this process: reads them, brings them into line, sends them, and learns what other
 * replicas store. Until `release` no other process arms an attempt; after it this one arms none.
 */
export class ShardOwner {
  readonly #deps: ShardOwnerDeps;
  #opened: (OpenedShard & { readonly callbacks: EndCallbacks }) | undefined;
  /** Stored, as far as other replicas have reported. */
  #reported = 0;
  #wake: (() => void) | undefined;
  /** Nothing is started or learned any more. */
  #over = false;
  #released = false;
  /** Requests that an owner before this one still sends, and which process that is. */
  readonly #held = new Map<number, string>();
  /** Of these, those that are looked up since they were reported as ended. */
  readonly #lookedUp = new Set<number>();
  readonly #timers = new Set<() => void>();

  constructor(deps: ShardOwnerDeps) {
    this.#deps = deps;
    void this.#open();
  }

  get shard(): number {
    return this.#deps.shard;
  }

  get term(): bigint {
    return this.#deps.term;
  }

  /** undefined until all of the shard was read. */
  get opened(): OpenedShard | undefined {
    return this.#opened;
  }

  /** Attempts that are not over. */
  get sending(): number {
    return this.#opened?.requests.sending ?? 0;
  }

  /** Whether this process may be sending a request of this shard, or has its outcome yet to store. */
  isUnderWay(sequence: number): boolean {
    return this.#opened?.requests.isUnderWay(sequence) ?? false;
  }

  /** Something was stored in this shard, up to this sequence. */
  storedUpTo(sequence: number): void {
    this.#reported = Math.max(this.#reported, sequence);
    this.#wake?.();
  }

  /** An attempt that an earlier owner sent has ended: with an end, which is learned here if it was not before, or without. */
  async over(sequence: number): Promise<void> {
    if (this.#opened === undefined || !this.#held.has(sequence) || this.#lookedUp.has(sequence)) return;
    const { store, requests } = this.#opened;
    const { index } = requests;
    const slot = index.slotOf(sequence);
    if (slot === NONE) return void this.#held.delete(sequence);
    const secret = index.secretOf(slot);
    this.#lookedUp.add(sequence);
    try {
      // At the leader: a server that lags behind shows an ended request as pending.
      const found = await store.find(sequence, secret);
      const retried = await store.retried(sequence, secret);
      if (!this.#held.delete(sequence) || this.#over) return;
      if (typeof found === 'object' && found.end !== undefined) requests.endedElsewhere(found.row, found.end.state);
      else requests.resume(sequence, retried);
    } catch {
      // It is held until it can be looked up.
    } finally {
      this.#lookedUp.delete(sequence);
    }
  }

  /**
   * The shard goes to another process, or has gone. Attempts under way go on; {@link drain} ends them. The register of flights names this
   * process with each: the next owner leaves them to it as long as it lives. `inOrder`: that one surely knows that it lives.
   */
  release(inOrder: boolean): void {
    if (this.#released) return;
    this.#released = true;
    this.#stop();
    this.#detach();
    this.#opened?.requests.release(inOrder);
  }

  /** Starts nothing any more. Resolves when no attempt is under way, at the latest after the grace, and what happened is stored. The shard may be released meanwhile. */
  async drain(graceMs: number): Promise<void> {
    this.#stop();
    const requests = this.#opened?.requests;
    const drained = requests?.drain(graceMs);
    this.#detach();
    await drained;
  }

  #stop(): void {
    this.#over = true;
    this.#opened?.callbacks.stop();
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    this.#wake?.();
  }

  #detach(): void {
    if (this.#opened !== undefined) this.#deps.lines.detach(this.shard, this.#opened.requests.dispatcher);
  }

  /** Until it is open, or no longer this process's. */
  async #open(): Promise<void> {
    const { openStore, events } = this.#deps;
    for (let wait: number = OPEN_AGAIN_MS.first; !this.#over; wait = Math.min(wait * 2, OPEN_AGAIN_MS.most)) {
      const store = openStore();
      try {
        const requests = this.#lifecycle(store);
        let rows = 0;
        const { flights } = await store.open(
          (row) => {
            requests.load(row);
            rows++;
          },
          () => undefined,
        );
        if (this.#over) return;
        events({ kind: 'loaded', requests: rows, armed: requests.countFlights(flights) });
        this.#hold(requests, flights);
        this.#begin(store, requests);
        return;
      } catch (cause) {
        events({ kind: 'store_failed', cause });
      }
      await this.#sleep(wait);
    }
  }

  #lifecycle(store: SharedStore): RequestLifecycle {
    const {
      shard,
      lines,
      report,
      ended,
      instance,
      decides,
      attemptOver: over,
      term: _,
      openStore: __,
      transport: ___,
      callbacksInFlight: ____,
      ...deps
    } = this.#deps;
    const endOf: SharedHooks['endOf'] = async ({ sequence, secret }) => {
      const found = await store.find(sequence, secret);
      // Its end was kept no longer.
      return found === 'gone' ? 'done' : found?.end?.state;
    };
    const shared = {
      report,
      over,
      instance,
      decides,
      endOf,
      ended: (secret: string) => {
        ended(secret);
        this.#owe();
      },
    };
    return new RequestLifecycle({ ...deps, store, line: lines.of(shard), shared }, () => Promise.reject(new Error('the streams number what is stored')));
  }

  #begin(store: SharedStore, requests: RequestLifecycle): void {
    const { clock, transport, callbacksInFlight: inFlight, routes, random, onError } = this.#deps;
    const routeOf = ({ route, group }: Pick<RequestRow, 'route' | 'group'>) => {
      const named = routes().get(route);
      return named ?? [...routes().values()].find((each) => each.group === group);
    };
    const callbacks = new EndCallbacks({ store, clock, transport, inFlight, routeOf, random, onError });
    this.#opened = { store, requests, callbacks };
    this.#owe();
    requests.works();
    requests.dispatcher.begin();
    void this.#learn(store, requests);
    void this.#sweep(store, requests);
  }

  /** Leaves attempts to the processes that send them, until these report their end, are gone, or have had the time that an attempt may take. */
  #hold(requests: RequestLifecycle, flights: readonly Flight[]): void {
    const alive = flights.filter(({ heldBy }) => heldBy !== undefined && this.#deps.isAlive(heldBy));
    const holders = new Map(alive.map(({ sequence, heldBy }) => [sequence, heldBy as string]));
    for (const sequence of requests.hold(alive)) this.#held.set(sequence, holders.get(sequence) as string);
    if (this.#held.size === 0) return;
    const timeouts = [...this.#held.keys()].map((sequence) => requests.routeOf(requests.index.slotOf(sequence))?.timeoutMs ?? 0);
    const until = requests.now() + timeouts.reduce((most, each) => Math.max(most, each), 0) + HELD_LATER_MS;
    void this.#watchHeld(requests, until);
  }

  async #watchHeld(requests: RequestLifecycle, until: number): Promise<void> {
    const gone = new Map<string, number>();
    // At once: what these processes reported before the shard was open here was not received.
    for (; this.#held.size > 0 && !this.#over; await this.#sleep(LEARN_MS)) {
      for (const [holder, held] of Map.groupBy(this.#held, ([, heldBy]) => heldBy)) {
        const sequences = held.map(([sequence]) => sequence);
        gone.set(holder, this.#deps.isAlive(holder) ? 0 : (gone.get(holder) ?? 0) + 1);
        if ((gone.get(holder) ?? 0) >= GONE_LOOKS || requests.now() > until) for (const sequence of sequences) void this.over(sequence);
        else this.#deps.askHolder(holder, sequences);
      }
    }
  }

  /** Takes up the callbacks that are owed by now. */
  #owe(): void {
    if (this.#opened === undefined) return;
    const { store, callbacks } = this.#opened;
    for (const callback of store.takeCallbacks()) callbacks.add(callback);
  }

  /** Follows what other replicas store, and this one's edge. */
  async #learn(store: SharedStore, requests: RequestLifecycle): Promise<void> {
    let looks = 0;
    let failed = false;
    while (!this.#over) {
      try {
        const more = await store.learn(
          (row) => {
            if (!this.#over) requests.learned(row);
          },
          (row, { state }) => {
            if (!this.#over) requests.endedElsewhere(row, state);
          },
        );
        this.#owe();
        if (failed) requests.works();
        failed = false;
        if (more) {
          looks = 0;
          continue;
        }
      } catch (cause) {
        failed = true;
        requests.storeFailed(cause);
      }
      const lags = !failed && store.seen < this.#reported && looks++ < LAG.looks;
      if (!lags) {
        looks = 0;
        this.#reported = 0;
      }
      await this.#sleep(lags ? LAG.waitMs : LEARN_MS, !lags);
    }
  }

  async #sweep(store: SharedStore, requests: RequestLifecycle): Promise<void> {
    while (!this.#over) {
      await this.#sleep(SWEEP_MS);
      try {
        for (let more = true; more && !this.#over; ) more = await store.sweep(requests.now());
      } catch (cause) {
        requests.storeFailed(cause);
      }
    }
  }

  /** `news`: ends early when something was stored. */
  #sleep(ms: number, news = false): Promise<void> {
    const { clock } = this.#deps;
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        this.#timers.delete(end);
        if (news) this.#wake = undefined;
        resolve();
      };
      const cancel = clock.at(plus(clock.now(), ms * MILLISECOND), end);
      this.#timers.add(end);
      if (news) this.#wake = end;
      if (this.#over) end();
    });
  }
}
