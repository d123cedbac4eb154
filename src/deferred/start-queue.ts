import type { InFlight } from './in-flight.ts';

/** One attempt between its admission and its start. */
export interface StartTicket {
  /**
   * Resolves with true once all that were admitted before have their bytes and `bytes` more may be on their way; with false if
   * nothing is started any more. A body larger than the bound goes alone.
   */
  reserve(bytes: number): Promise<boolean>;
  /** Calls `start` once all that were admitted before have started or ended. Resolves with what it resolves with. */
  inTurn<T>(start: () => Promise<T>): Promise<T>;
  /** Gives the place and the bytes back. Twice does nothing. */
  end(): void;
}

/**
 * Attempts that were admitted begin in the order of their admission, whatever they are loaded from, and hold no more bytes of
 * request bodies until they end than there is room for.
 */
export class StartQueue {
  readonly #inFlight: InFlight;
  readonly #moved = (): void => this.moved();
  /** In the order of admission; what has started or ended is taken out from the front. */
  readonly #tickets: Ticket[] = [];
  /** The first one without its bytes; those before it have theirs. */
  #reserving = 0;
  #stopped = false;

  constructor(inFlight: InFlight) {
    this.#inFlight = inFlight;
  }

  /** Call when an attempt is admitted. */
  enter(): StartTicket {
    const ticket = new Ticket(this);
    this.#tickets.push(ticket);
    return ticket;
  }

  /** Grants no bytes any more: those that wait for theirs learn it. */
  stop(): void {
    this.#stopped = true;
    for (const ticket of [...this.#tickets]) ticket.refuse();
  }

  /** For tickets: something of one has changed. */
  moved(): void {
    for (; this.#reserving < this.#tickets.length; this.#reserving++) {
      const ticket = this.#tickets[this.#reserving] as Ticket;
      if (ticket.state === 'waiting') {
        if (this.#stopped || !this.#inFlight.takeBytes(ticket.bytes, this.#moved)) break;
        ticket.grant();
      } else if (ticket.state === 'loading') break;
    }
    let over = 0;
    while (this.#tickets[over]?.start() === true) over++;
    this.#tickets.splice(0, over);
    this.#reserving = Math.max(0, this.#reserving - over);
  }

  /** For tickets. */
  giveBack(bytes: number): void {
    this.#inFlight.releaseBytes(bytes);
  }

  get stopped(): boolean {
    return this.#stopped;
  }
}

class Ticket implements StartTicket {
  readonly #queue: StartQueue;
  /** `ended` may come after any other. */
  state: 'loading' | 'waiting' | 'granted' | 'started' | 'ended' = 'loading';
  bytes = 0;
  #holds = false;
  #resolve: ((granted: boolean) => void) | undefined;
  #run: (() => void) | undefined;

  constructor(queue: StartQueue) {
    this.#queue = queue;
  }

  reserve(bytes: number): Promise<boolean> {
    if (this.#queue.stopped) return Promise.resolve(false);
    this.bytes = bytes;
    this.state = 'waiting';
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#queue.moved();
    });
  }

  inTurn<T>(start: () => Promise<T>): Promise<T> {
    return new Promise((resolve) => {
      this.#run = () => resolve(new Promise((settle) => settle(start())));
      this.#queue.moved();
    });
  }

  end(): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    if (this.#holds) this.#queue.giveBack(this.bytes);
    this.#holds = false;
    this.#queue.moved();
  }

  grant(): void {
    this.state = 'granted';
    this.#holds = true;
    this.#resolve?.(true);
  }

  refuse(): void {
    if (this.state === 'waiting') this.#resolve?.(false);
  }

  /** Starts if it is ready to; returns whether it has left the queue. */
  start(): boolean {
    if (this.state === 'granted' && this.#run !== undefined) {
      this.state = 'started';
      this.#run();
    }
    return this.state === 'started' || this.state === 'ended';
  }
}
