import type { AdmissionService } from '../../src/admission/admission.ts';
import type { Clock } from '../../src/admission/clock.ts';
import { formatError } from '../../src/config/errors.ts';
import { gatewayQueueGroup, SESSION_STARTS } from '../../src/config/gateway-queue-options.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import { type Instant, SECOND } from '../../src/core/time.ts';
import { type Caller, GatewayQueue } from '../../src/gateway-queue/gateway-queue.ts';
import { type LimitsEvent, SessionLimits } from '../../src/gateway-queue/session-limits.ts';
import { Machine } from '../admission/machine.ts';
import type { Rig } from '../admission/rig.ts';
import { START } from '../core/specs.ts';
import { type FakeClock, settled } from '../support/fakes/clock.ts';
import { FakeDiscord, type FakeDiscordOptions } from './discord.ts';

/** Options of the gateway queue as the file has them: `slack: 0, maxConcurrency: 2`. */
export function optionsOf(text: string): Config['gatewayQueue'] {
  const loaded = loadConfig({ text: `listen: { gatewayQueue: 1 }\ngatewayQueue: { slack: 0, ${text} }`, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  return loaded.config.gatewayQueue;
}

/** One shard that asked. */
export class Shard {
  readonly shard: number;
  /** Seconds after the start at which it may identify. */
  at: number | undefined;
  closed: string | undefined;
  caller!: Caller;

  constructor(shard: number) {
    this.shard = shard;
  }

  leave(): void {
    this.caller.leave();
  }
}

/** The front of a process: a queue over some admission, with a fake of Discord where there is a token. */
export class QueueFront {
  readonly queue: GatewayQueue;
  readonly limits: SessionLimits | undefined;
  readonly events: LimitsEvent[] = [];
  readonly #clock: Clock;
  readonly #discord: FakeDiscord | undefined;
  readonly #seconds: () => number;

  constructor(deps: { options: Config['gatewayQueue']; admission: AdmissionService; clock: Clock; discord: FakeDiscord | undefined; seconds: () => number }) {
    const { options, admission, clock, discord } = deps;
    this.#clock = clock;
    this.#discord = discord;
    this.#seconds = deps.seconds;
    const { group, returnWithin, refresh, countedWithin } = options;
    this.queue = new GatewayQueue({
      ...{ admission, clock, group, returnWithin, callersMax: options.backlog, spacing: options.period + options.slack },
      maxConcurrency: discord === undefined ? options.maxConcurrency : undefined,
    });
    if (discord === undefined) return;
    this.limits = new SessionLimits({
      ...{ admission, clock, group, refresh, countedWithin, source: discord.limits, limit: SESSION_STARTS, random: () => 0 },
      taken: ({ maxConcurrency }) => this.queue.setMaxConcurrency(maxConcurrency),
      onEvent: (event) => this.events.push(event),
    });
    this.limits.start();
  }

  /** A shard asks; once it may, it identifies at once, unless `dies`. */
  ask(shard: number, { dies = false } = {}): Shard {
    const asked = new Shard(shard);
    asked.caller = this.queue.arrive(shard, {
      admit: () => {
        asked.at = this.#seconds();
        if (!dies) this.#discord?.identify(shard);
        return true;
      },
      close: (reason) => {
        asked.closed = reason;
      },
    });
    return asked;
  }

  /** Kills it: it asks for nothing any more. */
  stop(): void {
    this.limits?.stop();
  }

  get now(): Instant {
    return this.#clock.now();
  }
}

/** A machine whose processes come and go, with one front at a time. */
export class QueueRig {
  readonly clock: FakeClock;
  readonly discord: FakeDiscord | undefined;
  readonly #machine: Machine;
  readonly #options: Config['gatewayQueue'];
  rig!: Rig;
  front!: QueueFront;

  constructor(text: string, discord?: Omit<FakeDiscordOptions, 'now'>) {
    this.#options = optionsOf(discord === undefined ? text : `token: { env: T }, ${text}`);
    this.#machine = new Machine([gatewayQueueGroup(this.#options)]);
    this.clock = this.#machine.clock;
    this.discord = discord && new FakeDiscord({ now: () => this.clock.now(), ...discord });
  }

  /** A process starts; the one before is dead. */
  async start(): Promise<void> {
    this.front?.stop();
    this.rig = await this.#machine.start();
    const seconds = () => this.seconds;
    this.front = new QueueFront({ options: this.#options, admission: this.rig.admission, clock: this.clock, discord: this.discord, seconds });
    await settled();
  }

  get seconds(): number {
    return (this.clock.now() - START) / SECOND;
  }

  get queue(): GatewayQueue {
    return this.front.queue;
  }

  ask(shard = 0, how?: { dies: boolean }): Shard {
    return this.front.ask(shard, how);
  }

  /** Time passes, and promises settle. */
  pass(seconds: number): Promise<void> {
    return this.clock.advanceAsync(Math.round(seconds * SECOND));
  }

  /** Session starts that the limit has left. */
  get left(): number {
    const view = this.rig.admission.group(this.#options.group);
    if ('reason' in view) throw new Error(view.reason);
    const found = view.limits.find(({ name }) => name === SESSION_STARTS);
    if (found === undefined) throw new Error('there is no such limit');
    return found.capacity - found.used;
  }
}

/** A rig whose first process runs, over a store that is fresh. */
export async function started(text = '', discord?: Omit<FakeDiscordOptions, 'now'>): Promise<QueueRig> {
  const rig = new QueueRig(text, discord);
  await rig.start();
  return rig;
}

/** When each was admitted, in seconds. */
export function times(shards: readonly Shard[]): readonly (number | undefined)[] {
  return shards.map(({ at }) => at);
}
