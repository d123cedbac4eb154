import type { Gate } from '../../src/core/gate/gate.ts';
import type { Permit } from '../../src/core/permit.ts';
import { DISTANT_PAST, type Instant, MILLISECOND, type Micros, plus, SECOND } from '../../src/core/time.ts';
import { type Batch, EMPTY_BATCH } from '../../src/ledger/batch-codec.ts';
import type { Told } from './gate-world.ts';
import type { ShardGatesDeps } from './host.ts';
import { SimWriter } from './sim-writer.ts';

/** One gate of one process in one term: opened from its chain, sealed into it. It decides only with the right to. */
export class SimGate {
  readonly term: bigint;
  readonly #deps: ShardGatesDeps;
  readonly #shard: number;
  readonly #from: Instant;
  readonly #writer: SimWriter;
  #gate: Gate | undefined;
  #state: 'opening' | 'open' | 'sealing' | 'sealed' | 'over' = 'opening';
  /** To be done with the right to decide. */
  #due: ((gate: Gate, at: Instant) => void)[] = [];
  #wakeAt: Micros = Number.POSITIVE_INFINITY;
  #renewed: (() => void) | undefined;

  constructor(deps: ShardGatesDeps, { shard, term, from }: { shard: number; term: bigint; from: Instant }) {
    this.#deps = deps;
    this.#shard = shard;
    this.term = term;
    this.#from = from;
    const { gates, world, replica } = deps;
    this.#writer = new SimWriter({
      chains: gates.chains,
      agenda: world.agenda,
      replica,
      shard,
      term,
      Replay: world.parts.Replay,
      wake: (act) => deps.wake(act),
    });
    this.#writer.open((restored) => {
      if (this.#state !== 'opening' && this.#state !== 'sealing') return;
      const { Gate: gateClass } = world.parts;
      this.#gate = new gateClass({ term, groups: gates.tree(shard), from, recording: true, restored });
      if (this.#state === 'opening') this.#state = 'open';
    });
  }

  /** It is another's now. */
  stop(): void {
    this.#state = 'over';
    this.#writer.stop();
  }

  ask(): void {
    const { dice } = this.#deps.world;
    this.#decide((gate, at) => {
      const groups = this.#deps.gates.tree(this.#shard);
      const index = gate.groupOf(dice.pick(groups).name) ?? 0;
      const waitTimeout = dice.chance(0.3) ? 0 : dice.below(3 * SECOND);
      const lease = 300 * MILLISECOND + dice.below(2 * SECOND);
      const tag = { high: dice.below(2 ** 32), low: dice.below(2 ** 32) };
      const costs = { requests: 1 };
      gate.acquire(at, {
        group: index,
        key: dice.pick(['a', 'b', 'c']),
        priority: 1,
        costs,
        waitUntil: plus(at, waitTimeout),
        lease,
        bytes: 0,
        holder: '',
        tag,
        token: undefined,
      });
    });
  }

  /** A lease of this or an earlier term comes back, or is to live longer. */
  return(told: Told, how: 'renew' | 'release'): boolean {
    const { serial, tag } = told.permit;
    return this.#decide((gate, at) => {
      if (how === 'release') {
        // The holder stopped before it said so.
        told.released = true;
        told.end = Math.min(told.end, at);
        gate.release(at, serial, tag, 'used', undefined);
        return;
      }
      const answer = gate.renew(at, serial, tag, undefined);
      if (!('expiresAt' in answer)) return;
      this.#renewed = () => {
        if (!told.released) told.end = Math.max(told.end, answer.expiresAt);
      };
    });
  }

  /** Whatever waits for the right, or for time. */
  run(): void {
    if (this.#state === 'sealing') return this.#sealNow();
    if (this.#due.length === 0 && this.#deps.world.agenda.now < this.#wakeAt) return;
    this.#decide((gate, at) => {
      this.#wakeAt = Number.POSITIVE_INFINITY;
      const due = this.#due;
      this.#due = [];
      for (const act of due) act(gate, at);
      gate.tick(at);
    });
  }

  /** Stops, then writes the exact state, when nothing else is on its way. */
  seal(): void {
    this.#state = 'sealing';
    this.#sealNow();
  }

  #sealNow(): void {
    const right = this.#deps.right(this.#shard);
    const gate = this.#gate;
    if (right?.term !== this.term || gate === undefined) {
      this.#state = 'sealed';
      this.#deps.sealed(this.#shard, this.term);
      return;
    }
    if (!this.#writer.idle) return;
    const due = this.#due;
    this.#due = [];
    for (const act of due) act(gate, right.at);
    this.#settle(gate, right.at);
    if (!this.#writer.idle) return;
    this.#state = 'sealed';
    const { leases, reservations } = gate.snapshot(right.at);
    const { limits, at } = gate.seal(right.at);
    this.#deps.halt(this.#shard, this.term);
    const records = leases.map((lease) => ({ kind: 'grant', lease }) as const);
    const batch: Batch = { ...EMPTY_BATCH, term: this.term, reservations, records, limits, part: { index: 0, of: 1, sealedAt: at } };
    this.#writer.write(batch, () => this.#deps.sealed(this.#shard, this.term));
  }

  #decide(act: (gate: Gate, at: Instant) => void): boolean {
    const right = this.#deps.right(this.#shard);
    if (this.#state !== 'open' || this.#gate === undefined || right?.term !== this.term) return false;
    act(this.#gate, right.at);
    this.#settle(this.#gate, right.at);
    return true;
  }

  #settle(gate: Gate, at: Instant): void {
    for (const event of gate.takeEvents()) {
      if (event.kind === 'admitted') this.#admitted(event.permit, event.record);
      else if (event.kind === 'renewed') {
        const tell = this.#renewed ?? (() => {});
        this.#renewed = undefined;
        if (event.record === undefined) tell();
        else this.#writer.write({ ...EMPTY_BATCH, term: this.term, records: [{ kind: 'renew', lease: event.record }] }, tell);
      } else if (event.kind === 'ended' && event.recorded) {
        const { group, term, serial } = event;
        this.#writer.write({ ...EMPTY_BATCH, term: this.term, records: [{ kind: 'end', group, term, serial }] }, () => {});
      }
    }
    this.#renewed?.();
    this.#renewed = undefined;
    const reservations = gate.takeReservations();
    if (reservations.length > 0) {
      this.#writer.write({ ...EMPTY_BATCH, term: this.term, reservations }, () => {
        this.#due.push((open, then) => open.onReservationsPersisted(then, reservations));
      });
    }
    this.#arm(gate, at);
  }

  #admitted(permit: Permit, record: Parameters<typeof grantBatch>[1] | undefined): void {
    const { gates, world } = this.#deps;
    if (permit.grantedAt < this.#from) world.judge.complain(`shard ${this.#shard}: a permit of term ${this.term} at ${permit.grantedAt}, before ${this.#from}`);
    const told: Told = { shard: this.#shard, permit, now: world.agenda.now, end: permit.lease?.expiresAt ?? DISTANT_PAST, released: false };
    const tell = () => {
      gates.told.push(told);
      if (permit.lease !== undefined) this.#hold(told);
    };
    if (record === undefined) tell();
    else this.#writer.write(grantBatch(this.term, record), tell);
  }

  /** Its holder works for a while, renews now and then, and mostly gives it back. */
  #hold(told: Told): void {
    const { world } = this.#deps;
    const { dice, agenda } = world;
    for (const [how, chance] of [
      ['renew', 0.3],
      ['release', 0.7],
    ] as const) {
      if (dice.chance(chance)) agenda.after(dice.below(2 * SECOND), () => world.giveBack(told, how));
    }
  }

  #arm(gate: Gate, at: Instant): void {
    const wake = gate.wakeAt(at);
    if (wake === Number.POSITIVE_INFINITY) return;
    const { agenda } = this.#deps.world;
    const when = agenda.now + Math.max(1, wake - at);
    if (when >= this.#wakeAt) return;
    this.#wakeAt = when;
    agenda.at(when, () => this.#deps.wake(() => {}));
  }
}

function grantBatch(term: bigint, lease: Extract<Batch['records'][number], { kind: 'grant' }>['lease']): Batch {
  return { ...EMPTY_BATCH, term, records: [{ kind: 'grant', lease }] };
}
