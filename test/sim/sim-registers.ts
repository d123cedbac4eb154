import type { RegisterValue } from '../../src/coordination/registers/registers.ts';
import type { RegisterRequest, RegisterResponse } from '../../src/coordination/registers/requests.ts';
import { MILLISECOND } from '../../src/core/time.ts';
import type { Agenda } from './agenda.ts';
import type { Dice } from './dice.ts';
import type { Weather } from './weather.ts';

/** Nobody waits longer for a register (docs/design/coordination.md 2.6, T). */
export const ANSWER_WITHIN = 150 * MILLISECOND;

/** Asks and answers between processes and NATS, over a network that loses and delays both. */
export class SimNats {
  readonly #agenda: Agenda;
  readonly #dice: Dice;
  readonly #weather: Weather;

  constructor(deps: { agenda: Agenda; dice: Dice; weather: Weather }) {
    this.#agenda = deps.agenda;
    this.#dice = deps.dice;
    this.#weather = deps.weather;
  }

  /** `serve` runs there, once at the most; `answer` is called here, once at the most: the asker gives up by itself. */
  ask<T>(replica: number, serve: () => T, answer: (given: T) => void): void {
    const agenda = this.#agenda;
    const lost = () => this.#dice.chance(this.#weather.loss);
    if (lost() || this.#weather.asksCut(replica, agenda.now)) return;
    agenda.after(this.#weather.latency(this.#dice), () => {
      if (this.#weather.registersDown(agenda.now)) return;
      const given = serve();
      if (lost()) return;
      agenda.after(this.#weather.latency(this.#dice), () => {
        if (!this.#weather.answersCut(replica, agenda.now)) answer(given);
      });
    });
  }

  /** How many of the newest changes a read does not see: a follower that lags, or a leader that does not know yet that it was replaced. */
  lag(): number {
    return this.#weather.stale(this.#agenda.now) && this.#dice.chance(0.2) ? 1 + this.#dice.below(5) : 0;
  }
}

/** One set of registers (Q=1). */
export class SimRegisters {
  readonly #nats: SimNats;
  readonly #versions = new Map<string, RegisterValue[]>();
  /** Of the whole stream: never given twice. */
  #revision = 0;
  /** Called with every change, at the moment that it happens. */
  onChange: (register: string, bytes: Uint8Array) => void = () => {};

  constructor(nats: SimNats) {
    this.#nats = nats;
  }

  /** `answer` is called once at the most. */
  ask(replica: number, question: RegisterRequest, answer: (answer: RegisterResponse) => void): void {
    this.#nats.ask(replica, () => this.#serve(question), answer);
  }

  /** The newest value, as only the judge may see it. */
  newest(register: string): RegisterValue | undefined {
    return this.#versions.get(register)?.at(-1);
  }

  names(): Iterable<string> {
    return this.#versions.keys();
  }

  /** A disk is lost. */
  wipe(register: string): void {
    this.#versions.delete(register);
  }

  #serve(question: RegisterRequest): RegisterResponse {
    const versions = this.#versions.get(question.register) ?? [];
    const newest = versions.at(-1);
    if (question.kind === 'read') {
      return { kind: 'value', value: versions.at(-1 - this.#nats.lag()) };
    }
    if ((newest?.revision ?? 0) !== question.revision) return { kind: 'conflict' };
    const revision = ++this.#revision;
    this.#versions.set(question.register, [...versions.slice(-5), { revision, bytes: question.bytes }]);
    this.onChange(question.register, question.bytes);
    return { kind: 'changed', revision };
  }
}
