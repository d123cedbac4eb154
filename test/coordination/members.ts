import type { Heartbeat } from '../../src/coordination/membership/session-record.ts';
import type { RegisterValue } from '../../src/coordination/registers/registers.ts';
import type { RegisterRequest } from '../../src/coordination/registers/requests.ts';
import { type MachineEvent, ReplicaMachine } from '../../src/coordination/replica-machine.ts';
import { TIMING } from '../../src/coordination/timing.ts';
import { MILLISECOND, type Micros } from '../../src/core/time.ts';

/** What becomes of a question: as it should; nobody hears it; it is done, but its answer is lost. */
export type Fate = 'ok' | 'lost' | 'unheard';

/** One member, as a test sees it. */
export interface Rigged {
  readonly name: string;
  readonly member: ReplicaMachine;
  readonly events: MachineEvent[];
  /** Not run: its process is stopped or gone. */
  stopped: boolean;
  /** Its heartbeats reach nobody, itself neither. */
  mute: boolean;
  /** Its wall clock is not what the registers say. */
  disagrees: boolean;
  fate: (question: RegisterRequest) => Fate;
}

/** Where the wall clock begins. */
export const WALL = 1_800_000_000_000_000;
const TICK: Micros = 20 * MILLISECOND;

/** Members with one set of registers, a network that takes no time, and one clock, in steps of 20 ms. */
export class Members {
  readonly registers = new Map<string, RegisterValue>();
  readonly all: Rigged[] = [];
  readonly #shards: number;
  #sessions = 0;
  #revision = 0;
  #unanswered: { readonly at: Micros; readonly by: Rigged; readonly id: number }[] = [];
  now: Micros = 0;

  constructor(shards: number) {
    this.#shards = shards;
  }

  add(name: string): Rigged {
    const member = new ReplicaMachine({
      replica: name,
      instance: `${name}-${this.all.length}`,
      shards: this.#shards,
      timing: TIMING,
      revision: { number: 1, hash: '' },
      newSession: () => `${name}.${++this.#sessions}`,
    });
    const rigged: Rigged = { name, member, events: [], stopped: false, mute: false, disagrees: false, fate: () => 'ok' };
    this.all.push(rigged);
    return rigged;
  }

  reading(by?: Rigged) {
    return { mono: this.now, wall: WALL + this.now, boot: '', agreed: by?.disagrees ? undefined : WALL + this.now };
  }

  /** Runs for so many milliseconds; a `seal` is done at once. */
  run(millis: number): void {
    for (const end = this.now + millis * MILLISECOND; this.now < end; ) {
      this.now += TICK;
      for (const { by, id } of this.#unanswered.filter(({ at }) => at <= this.now)) by.member.onResponse(id, { kind: 'unknown' }, this.reading());
      this.#unanswered = this.#unanswered.filter(({ at }) => at > this.now);
      for (const one of this.all) if (!one.stopped) one.member.tick(this.reading(one));
      this.flow();
    }
  }

  /** Carries everything that anybody wants, until nobody wants more. */
  flow(): void {
    for (let moved = true; moved; ) {
      moved = false;
      for (const one of this.all) {
        if (one.stopped) continue;
        const { requests: questions, heartbeats: beats, notices, events } = one.member.take();
        moved ||= questions.length + beats.length + notices.length + events.length > 0;
        for (const question of questions) this.#serve(one, question);
        for (const beat of beats) this.#tell(one, beat);
        for (const { instance, shard, term } of notices)
          for (const to of this.all)
            if (instance === `${to.name}-${this.all.indexOf(to)}` && !to.stopped) to.member.onShardOffered(shard, term, this.reading(to));
        for (const event of events) {
          one.events.push(event);
          if (event.kind === 'seal') one.member.sealed(event.shard, event.term, this.reading(one));
        }
      }
    }
  }

  /** Who may decide for a shard now. */
  deciders(shard: number): readonly string[] {
    return this.all.filter((one) => !one.stopped && one.member.decisionWindow(shard, this.now) !== undefined).map(({ name }) => name);
  }

  /** How many shards each may decide for. */
  loads(): Record<string, number> {
    const loads: Record<string, number> = {};
    for (const one of this.all) loads[one.name] = 0;
    for (let shard = 0; shard < this.#shards; shard++) for (const name of this.deciders(shard)) loads[name] = (loads[name] ?? 0) + 1;
    return loads;
  }

  #tell(from: Rigged, beat: Heartbeat): void {
    if (from.mute) return;
    for (const to of this.all) if (!to.stopped) to.member.onHeartbeat(beat, this.reading());
  }

  #serve(by: Rigged, question: RegisterRequest): void {
    const fate = by.fate(question);
    const { id, register } = question;
    const newest = this.registers.get(register);
    const late = () => void this.#unanswered.push({ at: this.now + 150 * MILLISECOND, by, id });
    if (fate === 'lost') return late();
    if (question.kind === 'read') return fate === 'ok' ? by.member.onResponse(id, { kind: 'value', value: newest }, this.reading(by)) : late();
    const fits = (newest?.revision ?? 0) === question.revision;
    if (fits) this.registers.set(register, { revision: ++this.#revision, bytes: question.bytes });
    if (fate === 'unheard') return late();
    by.member.onResponse(id, fits ? { kind: 'changed', revision: this.#revision } : { kind: 'conflict' }, this.reading(by));
  }
}
