import { DAY, type Instant, type Micros, plus, SECOND } from '../../src/core/time.ts';
import { LimitsUnavailable, type SessionStartLimit } from '../../src/gateway-queue/session-limits.ts';

/** What the fake starts with. */
export interface FakeDiscordOptions {
  readonly now: () => Instant;
  readonly total?: number;
  readonly remaining?: number;
  readonly resetAfter?: Micros;
  readonly maxConcurrency?: number;
  /** Length of a window. */
  readonly window?: Micros;
}

/** An identify as the gateway saw it. */
export interface Identify {
  readonly shard: number;
  readonly at: Instant;
}

/** Discord's end: it counts identifies by window and by bucket, and says what is left. A window begins with the first identify after the one before. */
export class FakeDiscord {
  total: number;
  maxConcurrency: number;
  /** Session limits cannot be had. */
  down = false;
  readonly identifies: Identify[] = [];
  /** When session limits were asked for. */
  readonly asked: Instant[] = [];
  readonly #now: () => Instant;
  readonly #window: Micros;
  #used: number;
  #endsAt: Instant | undefined;

  constructor(parts: FakeDiscordOptions) {
    const { now, total = 1000, remaining = total, resetAfter, maxConcurrency = 1, window = DAY } = parts;
    this.#now = now;
    this.total = total;
    this.maxConcurrency = maxConcurrency;
    this.#window = window;
    this.#used = total - remaining;
    if (this.#used > 0) this.#endsAt = plus(now(), resetAfter ?? window);
  }

  get remaining(): number {
    this.#roll();
    return this.total - this.#used;
  }

  /** A shard starts a session. */
  identify(shard: number): void {
    this.#roll();
    this.#endsAt ??= plus(this.#now(), this.#window);
    this.#used++;
    this.identifies.push({ shard, at: this.#now() });
  }

  /** Throws if two identifies of a bucket came within `period`, or more of them than the windows had. */
  judge(period: Micros, maxConcurrency = this.maxConcurrency): void {
    const last = new Map<number, Identify>();
    for (const each of this.identifies) {
      const bucket = each.shard % maxConcurrency;
      const before = last.get(bucket);
      if (before !== undefined && each.at - before.at < period)
        throw new Error(`shards ${before.shard} and ${each.shard} of bucket ${bucket} identified ${(each.at - before.at) / SECOND} s apart`);
      last.set(bucket, each);
    }
    if (this.#used > this.total) throw new Error(`${this.#used} of ${this.total} session starts were used`);
  }

  readonly limits = async (): Promise<SessionStartLimit> => {
    this.asked.push(this.#now());
    if (this.down) throw new LimitsUnavailable('the fake is down');
    const { remaining } = this;
    const resetAfter = this.#endsAt === undefined ? this.#window : this.#endsAt - this.#now();
    return { total: this.total, remaining, resetAfter, maxConcurrency: this.maxConcurrency };
  };

  #roll(): void {
    if (this.#endsAt === undefined || this.#now() < this.#endsAt) return;
    this.#endsAt = undefined;
    this.#used = 0;
  }
}
