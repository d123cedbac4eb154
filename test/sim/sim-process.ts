import { AGREED_WITHIN, type ClockReading } from '../../src/coordination/clocks/shard-clock.ts';
import type { Heartbeat } from '../../src/coordination/membership/session-record.ts';
import type { RegisterResponse } from '../../src/coordination/registers/requests.ts';
import type { MachineOutput, ReplicaMachine } from '../../src/coordination/replica-machine.ts';
import { MILLISECOND, type Micros, SECOND } from '../../src/core/time.ts';
import type { Channels, Frame } from '../../src/relay/transport/channel.ts';
import type { SimWorld, Word } from './host.ts';
import { ShardGates } from './shard-gates.ts';
import { ANSWER_WITHIN } from './sim-registers.ts';

/** Where the wall clocks begin. */
const WALL = 1_800_000_000 * SECOND;

const TICK_EVERY = 20 * MILLISECOND;
const COUNT_EVERY = 150 * MILLISECOND;

/** The clocks of a machine; they go on while its process is down. */
export interface Machine {
  readonly replica: number;
  readonly bootedAt: number;
  /** Monotonic microseconds in a real one. */
  readonly speed: number;
  wallAhead: Micros;
  /** How wrong it is about the time of the registers. */
  readonly agreedAhead: Micros;
  /** Of its configuration. */
  revision: number;
}

/** One life of one replica's process: the pure parts, and what drives them. */
export class SimProcess {
  readonly instance: string;
  readonly member: ReplicaMachine;
  readonly gates: ShardGates | undefined;
  readonly #world: SimWorld;
  readonly #machine: Machine;
  readonly #channels: Channels<Word>;
  readonly #counted = new Map<string, { sent: number; received: number }>();
  #dead = false;
  #pausedUntil: Micros = 0;
  #armedAt: Micros = Number.POSITIVE_INFINITY;
  left = false;

  constructor(world: SimWorld, machine: Machine) {
    this.#world = world;
    this.#machine = machine;
    const replica = `r${machine.replica}`;
    this.instance = world.fresh(`i${machine.replica}.`);
    this.#channels = new world.parts.Channels<Word>({ own: this.instance, bytesOf: () => 100 });
    const newSession = () => world.fresh(`s${machine.replica}.`);
    const { shards, timing } = world;
    const revision = { number: machine.revision, hash: '' };
    this.member = new world.parts.Member({ replica, instance: this.instance, shards, timing, revision, newSession });
    if (world.gates !== undefined) {
      const halt = (shard: number, term: bigint) => this.member.halt(shard, term, this.reading());
      const sealed = (shard: number, term: bigint) => this.member.sealed(shard, term, this.reading());
      this.gates = new ShardGates({
        world,
        gates: world.gates,
        replica: machine.replica,
        right: (shard) => this.right(shard),
        wake: (act) => this.wake(act),
        halt,
        sealed,
      });
    }
    this.#loop(TICK_EVERY, () => this.member.tick(this.reading()));
    this.#loop(COUNT_EVERY, () => this.#count());
  }

  /** The process is no more. */
  die(): void {
    this.#dead = true;
    this.gates?.die();
  }

  /** It is stopped (SIGSTOP, a long collection, a frozen machine): everything that comes waits. */
  pause(until: Micros): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, until);
  }

  get alive(): boolean {
    return !this.#dead;
  }

  right(shard: number) {
    return this.member.decisionWindow(shard, this.reading().mono);
  }

  reading(): ClockReading {
    const { now } = this.#world.agenda;
    const { speed, bootedAt, wallAhead } = this.#machine;
    const agreed = Math.abs(wallAhead) <= AGREED_WITHIN ? WALL + now + this.#machine.agreedAhead : undefined;
    return { mono: bootedAt + Math.floor(now * speed), wall: WALL + now + wallAhead, boot: '', agreed };
  }

  /** Runs `act` now, when the process is not stopped, and then everything that follows from it. */
  wake(act: () => void): void {
    if (this.#dead) return;
    if (this.#pausedUntil > this.#world.agenda.now) {
      this.#world.agenda.at(this.#pausedUntil, () => this.wake(act));
      return;
    }
    act();
    this.#follow();
  }

  heard(beat: Heartbeat): void {
    this.wake(() => this.member.onHeartbeat(beat, this.reading()));
  }

  received(frame: Frame<Word>): void {
    this.wake(() => {
      for (const word of this.#channels.receive(frame, this.reading().mono)) this.#told(frame.from, word);
    });
  }

  /** All that was sent to `to`, and all that came from it. */
  counted(other: string): { readonly sent: number; readonly received: number } {
    return this.#counted.get(other) ?? { sent: 0, received: 0 };
  }

  #loop(every: Micros, act: () => void): void {
    this.#world.agenda.after(every + this.#world.dice.below(every / 10), () => {
      this.wake(() => {
        act();
        this.#loop(every, act);
      });
    });
  }

  #follow(): void {
    for (let wanted = this.member.take(); isSomething(wanted); wanted = this.member.take()) this.#do(wanted);
    for (const frame of this.#channels.takeFrames()) this.#world.post(this.#machine.replica, frame);
    this.#arm();
    this.#stamp();
    this.gates?.run();
  }

  /** One timer for all channels. */
  #arm(): void {
    const at = this.#channels.wakeAt();
    if (at === Number.POSITIVE_INFINITY) return;
    const { agenda } = this.#world;
    const { mono } = this.reading();
    const when = agenda.now + Math.max(1, at - mono);
    if (when >= this.#armedAt) return;
    this.#armedAt = when;
    agenda.at(when, () => {
      if (this.#armedAt === when) this.#armedAt = Number.POSITIVE_INFINITY;
      this.wake(() => this.#channels.tick(this.reading().mono));
    });
  }

  #do(wanted: MachineOutput): void {
    const { agenda, registers } = this.#world;
    for (const question of wanted.requests) {
      const answer = (given: RegisterResponse) => this.wake(() => this.member.onResponse(question.id, given, this.reading()));
      agenda.after(ANSWER_WITHIN, () => answer({ kind: 'unknown' }));
      registers.ask(this.#machine.replica, question, answer);
    }
    for (const beat of wanted.heartbeats) this.#world.broadcast(this.#machine.replica, beat);
    for (const { instance, shard, term } of wanted.notices) if (instance !== '') this.#say(instance, { kind: 'gave', shard, term });
    for (const event of wanted.events) {
      if (event.kind === 'left') this.left = true;
      else if (this.gates !== undefined) this.gates.happened(event);
      else if (event.kind === 'seal') this.member.sealed(event.shard, event.term, this.reading());
    }
  }

  /** The most that anybody could do with the rights of this moment. */
  #stamp(): void {
    const { judge, agenda, shards } = this.#world;
    for (let shard = 0; shard < shards; shard++) {
      const right = this.right(shard);
      if (right !== undefined) judge.stamped(shard, right.term, right.at, agenda.now);
    }
  }

  /** A number to everybody that is known, each time one more. */
  #count(): void {
    if (this.#world.agenda.now >= this.#world.quietFrom) return;
    const living = this.#world.instances();
    for (const peer of this.#channels.peers) if (!living.includes(peer)) this.#channels.close(peer, this.reading().mono);
    for (const other of living) {
      if (other === this.instance) continue;
      const counted = this.#countedOf(other);
      if (this.#say(other, { kind: 'count', count: counted.sent + 1 })) counted.sent++;
    }
  }

  #told(from: string, word: Word): void {
    if (word.kind === 'gave') return this.member.onShardOffered(word.shard, word.term, this.reading());
    const counted = this.#countedOf(from);
    if (word.count !== counted.received + 1) this.#world.judge.complain(`channel ${from} to ${this.instance}: ${word.count} came after ${counted.received}`);
    counted.received = word.count;
  }

  #say(to: string, word: Word): boolean {
    return this.#channels.to(to)?.send(word, this.reading().mono) ?? false;
  }

  #countedOf(other: string): { sent: number; received: number } {
    let counted = this.#counted.get(other);
    if (counted === undefined) {
      counted = { sent: 0, received: 0 };
      this.#counted.set(other, counted);
    }
    return counted;
  }
}

function isSomething({ requests: questions, heartbeats: beats, notices, events }: MachineOutput): boolean {
  return questions.length + beats.length + notices.length + events.length > 0;
}
