import { decodeSession, type Heartbeat } from '../../src/coordination/membership/session-record.ts';
import { decodeOwnership, ownershipRegister } from '../../src/coordination/ownership/ownership-record.ts';
import { TIMING, type Timing } from '../../src/coordination/timing.ts';
import { MILLISECOND, type Micros, SECOND } from '../../src/core/time.ts';
import type { Frame } from '../../src/relay/transport/channel.ts';
import { Agenda } from './agenda.ts';
import { Dice } from './dice.ts';
import { GateWorld, type Told } from './gate-world.ts';
import type { SimWorld, Word } from './host.ts';
import { Judge } from './judge.ts';
import { SHIPPED, type SimModules } from './modules.ts';
import { SimChains } from './sim-chains.ts';
import { type Machine, SimProcess } from './sim-process.ts';
import { SimNats, SimRegisters } from './sim-registers.ts';
import { type Mishap, Weather } from './weather.ts';

/** What is simulated. */
export interface Options {
  readonly seed: number;
  readonly parts?: SimModules;
  readonly replicas?: number;
  readonly shards?: number;
  /** Faults end here, in virtual microseconds; then everything must come back. */
  readonly healed?: Micros;
  /** Real gates decide, and an independent checker counts what callers were told. */
  readonly gates?: boolean;
  readonly wipes?: boolean;
}

/** What came of it. */
export interface Verdict {
  readonly seed: number;
  /** The first thing that was wrong. */
  readonly complaint: string | undefined;
  readonly steps: number;
  readonly terms: number;
  readonly stamps: number;
  readonly permits: number;
  /** Of all that happened: the same seed gives the same. */
  readonly hash: number;
}

/** With everything healed, every shard has an owner again within this. */
const BACK_WITHIN: Micros = 4 * SECOND;

/** And keeps it for so long. */
const WATCH_FOR: Micros = 3 * SECOND;

/** Where nothing happens, shards still move to even out the load: a few messages, of which one in a thousand is lost. */
const CALM_GAP_MAX: Micros = 700 * MILLISECOND;

const CALM: Micros = 2 * SECOND;
const ASK_EVERY: Micros = 25 * MILLISECOND;

/** Several replicas with one register store, one network and one fate, from one seed. */
export class World implements SimWorld {
  readonly parts: SimModules;
  readonly agenda = new Agenda();
  readonly dice: Dice;
  readonly weather: Weather;
  readonly judge = new Judge();
  readonly registers: SimRegisters;
  readonly gates: GateWorld | undefined;
  readonly shards: number;
  readonly timing: Timing;
  readonly quietFrom: Micros;
  readonly #healed: Micros;
  readonly #machines: Machine[];
  readonly #processes: (SimProcess | undefined)[];
  #names = 0;
  #hash = 0;
  #steps = 0;

  constructor(options: Options) {
    const { seed, replicas = 3, healed = 30 * SECOND, wipes = true } = options;
    this.parts = options.parts ?? SHIPPED;
    this.dice = new Dice(seed);
    this.shards = options.shards ?? 3 + this.dice.below(4);
    // Half of them even out their load at once: many hand-overs.
    this.timing = this.dice.chance(0.5) ? TIMING : { ...TIMING, settleFor: 300 * MILLISECOND };
    this.#healed = healed;
    this.quietFrom = healed + BACK_WITHIN;
    this.weather = new Weather(this.dice, { replicas, calm: CALM, healed, wipes });
    if (this.weather.calm) this.judge.gapMax = CALM_GAP_MAX;
    const nats = new SimNats(this);
    this.registers = new SimRegisters(nats);
    this.gates = options.gates === true ? new GateWorld(new SimChains(nats)) : undefined;
    this.registers.onChange = (register, bytes) => {
      if (register.startsWith('owner.')) this.judge.changed(Number(register.slice(6)), bytes);
    };
    this.#machines = Array.from({ length: replicas }, (_, replica) => ({
      replica,
      bootedAt: this.dice.below(1e12),
      speed: 1 + (this.dice.unit() - 0.5) * 8e-4,
      wallAhead: this.dice.chance(0.3) ? Math.round((this.dice.unit() - 0.5) * 7_200 * SECOND) : this.dice.below(20 * MILLISECOND),
      agreedAhead: Math.round((this.dice.unit() - 0.5) * 400 * MILLISECOND),
      revision: 1,
    }));
    this.#processes = this.#machines.map(() => undefined);
    for (const { replica } of this.#machines) this.agenda.at(this.dice.below(300 * MILLISECOND), () => this.#boot(replica));
    for (const mishap of this.weather.mishaps) this.agenda.at(mishap.at, () => this.#befall(mishap));
    if (this.gates !== undefined) this.#ask();
  }

  /** Runs it to its end, or to the first complaint. */
  run(): Omit<Verdict, 'seed'> {
    const end = this.#healed + BACK_WITHIN + WATCH_FOR;
    while (this.judge.complaints.length === 0 && this.agenda.step(end)) this.#steps++;
    if (this.judge.complaints.length === 0) this.#atTheEnd(end);
    const { terms, stamps } = this.judge.counts;
    return { complaint: this.judge.complaints[0], steps: this.#steps, terms, stamps, permits: this.gates?.told.length ?? 0, hash: this.#hash };
  }

  fresh(prefix: string): string {
    return `${prefix}${++this.#names}`;
  }

  instances(): readonly string[] {
    return this.#processes.flatMap((process) => (process?.alive ? process.instance : []));
  }

  broadcast(from: number, beat: Heartbeat): void {
    this.#mark(beat.n + beat.own.length);
    for (const { replica: to } of this.#machines) this.#carry(from, to, () => this.#processes[to]?.heard(beat));
  }

  post(from: number, frame: Frame<Word>): void {
    const to = this.#processes.findIndex((process) => process?.instance === frame.to);
    if (to >= 0) this.#carry(from, to, () => this.#processes[to]?.received(frame));
  }

  giveBack(told: Told, how: 'renew' | 'release'): void {
    for (const process of this.#processes) {
      if (process?.alive && process.gates !== undefined) process.wake(() => void process.gates?.return(told, how));
    }
  }

  /** One way; lost, late or twice. */
  #carry(from: number, to: number, arrive: () => void): void {
    const { dice, weather, agenda } = this;
    const copies = 1 + Number(dice.chance(weather.doubling));
    for (let copy = 0; copy < copies; copy++) {
      if (dice.chance(weather.loss)) continue;
      agenda.after(weather.latency(dice), () => {
        if (!weather.cut(from, to, agenda.now)) arrive();
      });
    }
  }

  #boot(replica: number): void {
    const machine = this.#machines[replica];
    if (machine === undefined || this.#processes[replica]?.alive) return;
    this.#processes[replica] = new SimProcess(this, machine);
  }

  #befall(mishap: Mishap): void {
    const { replica } = mishap;
    const process = this.#processes[replica];
    const machine = this.#machines[replica];
    this.#mark(replica);
    if (mishap.kind === 'wall' && machine !== undefined) machine.wallAhead += Math.round(mishap.by);
    else if (mishap.kind === 'pause') process?.pause(mishap.until);
    else if (mishap.kind === 'revise' && machine !== undefined) this.#revise(machine, mishap.by);
    else if (mishap.kind === 'wipe') this.#wipe(replica);
    else if (mishap.kind === 'crash') this.#crash(replica, mishap.until);
    else if (mishap.kind === 'blackout') for (const each of this.#machines) this.#crash(each.replica, mishap.until);
    else if (mishap.kind === 'leave') {
      process?.wake(() => process.member.leave());
      this.agenda.at(mishap.until, () => {
        process?.die();
        this.#boot(replica);
      });
    }
  }

  #crash(replica: number, until: Micros): void {
    this.#processes[replica]?.die();
    this.agenda.at(until, () => this.#boot(replica));
  }

  /** Its configuration is changed; it notices when it runs. */
  #revise(machine: Machine, by: number): void {
    machine.revision += by;
    const { revision: number } = machine;
    const process = this.#processes[machine.replica];
    process?.wake(() => process.member.revise({ number, hash: '' }));
  }

  /** The live session of a replica loses its record. */
  #wipe(replica: number): void {
    for (const name of [...this.registers.names()]) {
      const value = name.startsWith('session.') ? this.registers.newest(name) : undefined;
      if (value === undefined) continue;
      const { replica: of, state } = decodeSession(value.bytes);
      if (of === `r${replica}` && state === 'live') this.registers.wipe(name);
    }
  }

  #ask(): void {
    this.agenda.after(ASK_EVERY + this.dice.below(ASK_EVERY), () => {
      const process = this.dice.pick(this.#processes);
      const shard = this.dice.below(this.shards);
      process?.wake(() => process.gates?.ask(shard));
      this.#ask();
    });
  }

  /** Everything has been whole for a while: it must be in order again. */
  #atTheEnd(end: Micros): void {
    for (let shard = 0; shard < this.shards; shard++) {
      if (end - this.judge.stampedAt(shard) > SECOND && !this.#stranded(shard))
        this.judge.complain(`shard ${shard}: nobody decides ${end - this.#healed} us after everything was healed`);
    }
    this.#newestDecides();
    for (const one of this.#processes) {
      for (const other of this.#processes) {
        if (!one?.alive || !other?.alive || one === other) continue;
        const { sent } = one.counted(other.instance);
        const { received } = other.counted(one.instance);
        if (sent !== received) this.judge.complain(`channel ${one.instance} to ${other.instance}: ${sent} sent, ${received} delivered`);
      }
    }
    this.gates?.check(this.judge, this.shards);
  }

  /** Who runs by an older configuration than another has given everything to those that run by the newest. */
  #newestDecides(): void {
    if (this.timing.settleFor > SECOND) return;
    const newest = Math.max(...this.#machines.map(({ revision }) => revision));
    for (const { replica, revision } of this.#machines) {
      const held = [...(this.#processes[replica]?.member.ownedShards() ?? [])].length;
      if (revision < newest && held > 0) this.judge.complain(`r${replica} runs by revision ${revision} of ${newest} and still has ${held} shards`);
    }
  }

  /** The record of its owner is lost, and nobody could say when its term began, or what time it is: it stands still (docs/design/coordination.md 2.4). */
  #stranded(shard: number): boolean {
    const term = this.registers.newest(ownershipRegister(shard));
    if (term === undefined) return false;
    const { owner, wall } = decodeOwnership(term.bytes);
    const last = this.registers.newest(`session.${owner}`);
    if (last !== undefined && decodeSession(last.bytes).lost === undefined) return false;
    return wall === undefined || this.#processes.every((process) => process?.reading().agreed === undefined);
  }

  #mark(what: number): void {
    this.#hash = (Math.imul(this.#hash ^ what, 0x01000193) + this.agenda.now) | 0;
  }
}

/** Lives through one seed. An exception of the code that is simulated is a complaint like any other. */
export function simulate(options: Options): Verdict {
  const { seed } = options;
  const world = new World(options);
  try {
    return { seed, ...world.run() };
  } catch (error) {
    const complaint = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { seed, complaint, steps: 0, terms: 0, stamps: 0, permits: 0, hash: 0 };
  }
}
