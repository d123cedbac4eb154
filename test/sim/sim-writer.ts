import type { GateSnapshot } from '../../src/core/gate/snapshot.ts';
import { MILLISECOND } from '../../src/core/time.ts';
import { type Batch, EMPTY_BATCH } from '../../src/ledger/batch-codec.ts';
import type { Replay } from '../../src/ledger/replay.ts';
import type { Agenda } from './agenda.ts';
import type { Link, SimChains } from './sim-chains.ts';

const ANSWER_WITHIN = 300 * MILLISECOND;

/** What writes one chain in one term. */
export interface WriterDeps {
  readonly chains: SimChains;
  readonly agenda: Agenda;
  readonly replica: number;
  readonly shard: number;
  readonly term: bigint;
  readonly Replay: typeof Replay;
  wake(act: () => void): void;
}

type Opened = (restored: GateSnapshot | undefined) => void;

/** Appends one batch after the other; none is told to be there that is not. */
export class SimWriter {
  readonly #parts: WriterDeps;
  readonly #waiting: { readonly batch: Batch; readonly then: () => void }[] = [];
  #last = 0;
  #busy = false;
  #over = false;

  constructor(parts: WriterDeps) {
    this.#parts = parts;
  }

  /** Reads everything, and writes that this term begins: success says that everything was read, and that no older term writes any more. */
  open(then: Opened): void {
    this.#busy = true;
    this.#open({ ...EMPTY_BATCH, part: undefined, term: this.#parts.term, opening: true }, then);
  }

  write(batch: Batch, then: () => void): void {
    this.#waiting.push({ batch, then });
    this.#next();
  }

  get idle(): boolean {
    return !this.#busy && this.#waiting.length === 0;
  }

  stop(): void {
    this.#over = true;
  }

  #open(opening: Batch, then: Opened): void {
    this.#read(0, (links) => {
      if (links.some(({ batch }) => batch.term > this.#parts.term)) return;
      const mine = links.findIndex(({ batch }) => batch === opening);
      const replay = new this.#parts.Replay();
      for (const { batch } of mine < 0 ? links : links.slice(0, mine)) replay.apply(batch);
      const done = (sequence: number) => {
        this.#last = sequence;
        this.#busy = false;
        then(replay.restored());
        this.#next();
      };
      const written = links[mine];
      if (written !== undefined) return done(written.sequence);
      this.#append(opening, links.at(-1)?.sequence ?? 0, (sequence) => (sequence === undefined ? this.#open(opening, then) : done(sequence)));
    });
  }

  #next(): void {
    const first = this.#waiting[0];
    if (this.#busy || first === undefined) return;
    this.#busy = true;
    const done = (sequence: number) => {
      this.#last = sequence;
      this.#busy = false;
      this.#waiting.shift();
      first.then();
      this.#next();
    };
    const attempt = () => {
      this.#append(first.batch, this.#last, (sequence) => {
        if (sequence !== undefined) done(sequence);
        else look();
      });
    };
    // Unknown, or a conflict: perhaps with itself.
    const look = () => {
      this.#read(this.#last, (links) => {
        const mine = links.find(({ batch }) => batch === first.batch);
        if (mine !== undefined) done(mine.sequence);
        else if (!links.some(({ batch }) => batch.term > this.#parts.term)) attempt();
      });
    };
    attempt();
  }

  /** undefined: a conflict, or no answer in time. */
  #append(batch: Batch, last: number, then: (sequence: number | undefined) => void): void {
    const { chains, replica, shard } = this.#parts;
    this.#once<number | 'conflict'>(
      (answer) => chains.append(replica, { shard, batch, last }, answer),
      (given) => then(given === 'conflict' ? undefined : given),
    );
  }

  #read(after: number, then: (links: readonly Link[]) => void): void {
    const { chains, replica, shard } = this.#parts;
    this.#once<readonly Link[]>(
      (answer) => chains.read(replica, shard, after, answer),
      (links) => (links === undefined ? this.#read(after, then) : then(links)),
    );
  }

  /** Asks, and goes on with the answer or without one after a while. */
  #once<T>(ask: (answer: (given: T) => void) => void, then: (given: T | undefined) => void): void {
    let open = true;
    const answer = (given: T | undefined) => {
      this.#parts.wake(() => {
        if (!open || this.#over) return;
        open = false;
        then(given);
      });
    };
    ask(answer);
    this.#parts.agenda.after(ANSWER_WITHIN, () => answer(undefined));
  }
}
