import { StoredLines } from '../../src/admission/stored-lines.ts';
import { ONE_REQUEST } from '../../src/core/group.ts';
import type { Refusal } from '../../src/core/refusal.ts';
import { MILLISECOND, plus, SECOND } from '../../src/core/time.ts';
import type { NewsBus } from '../../src/deferred/cluster-news.ts';
import { ClusterRequests } from '../../src/deferred/cluster-requests.ts';
import type { RequestView, Submission } from '../../src/deferred/deferred.ts';
import { JetStreamStore } from '../../src/deferred/stores/jetstream.ts';
import { JetStreamEdge } from '../../src/deferred/stores/jetstream-edge.ts';
import { createDeferredLayout } from '../../src/nats/deferred-layout.ts';
import { StreamQuota } from '../../src/nats/stream-quota.ts';
import { firstHeader } from '../../src/proxy/headers.ts';
import type { ForwardHandle, IncomingRequest, ResponseSink } from '../../src/proxy/incoming.ts';
import { Rig, settingsOf } from '../admission/rig.ts';
import { group, rolling, START } from '../core/specs.ts';
import { FakeClock } from '../support/fakes/clock.ts';
import { MemoryStreams, memoryVerbs } from '../support/fakes/queue-records.ts';
import { seeded } from '../support/seeded.ts';
import { ANYONE, routeOf, SUBMISSION } from './rig.ts';

const SHARD = 3;
/** Of a message or a verb, one way. */
const WAY_MS_MAX = 8;
const SETTINGS = settingsOf(group('g', [rolling(100_000, SECOND)]));

/** One attempt as the backend saw it, and what became of it. */
export interface SeenAttempt {
  readonly id: string;
  readonly attempt: number;
  readonly sender: Process;
  /** undefined while it waits for its answer. */
  status: number | undefined;
}

/** Replicas in virtual time over streams in memory: owners change in order, by silence, and by kills; news and answers are late or lost. */
export class OwnersWorld {
  readonly clock = new FakeClock(START);
  readonly streams = new MemoryStreams();
  readonly layout = createDeferredLayout('sluice');
  readonly random: () => number;
  readonly seen: SeenAttempt[] = [];
  readonly faults: unknown[] = [];
  readonly processes: Process[] = [];
  /** Of verbs and of news, the share that is lost. */
  lossy = 0;
  owner: Process | undefined;
  term = 0n;

  constructor(seed: number) {
    this.random = seeded(seed);
  }

  async process(): Promise<Process> {
    const process = new Process(this, `p${this.processes.length}`);
    this.processes.push(process);
    await process.start();
    return process;
  }

  get alive(): readonly Process[] {
    return this.processes.filter(({ dead }) => !dead);
  }

  /** Time passes, and what it wakes settles. */
  async pass(ms: number): Promise<void> {
    await this.clock.advanceAsync(ms * MILLISECOND);
  }

  /** Calls `run` once, `ms` from now. */
  later(ms: number, run: () => void): void {
    this.clock.at(plus(this.clock.now(), Math.ceil(ms * MILLISECOND)), run);
  }

  /** The shard goes to this process, in order: the one that has it knows. */
  async handOver(to: Process): Promise<void> {
    const { owner: from, term } = this;
    from?.mayDecide.delete(term);
    from?.requests.handOver(SHARD, term);
    await this.pass(this.random() * 20);
    this.give(to);
    from?.requests.lost(SHARD, term);
  }

  /** The shard goes to this process since the one that has it is silent: that one hears of it `lateMs` later, and counts as dead until then. */
  async takeOver(to: Process, lateMs: number): Promise<void> {
    const { owner: from, term } = this;
    if (from !== undefined) {
      from.mayDecide.delete(term);
      from.silent = true;
      this.later(lateMs, () => {
        from.silent = false;
        if (!from.dead) from.requests.lost(SHARD, term);
      });
    }
    await this.pass(1);
    this.give(to);
  }

  /** The shard is this process's, in the next term. */
  give(to: Process): void {
    this.term++;
    const { term } = this;
    this.owner = to;
    to.mayDecide.add(term);
    to.requests.gained(SHARD, term, () => to.mayDecide.has(term));
  }

  /** Goes to the backend and back in some time; a process that was killed sends and hears nothing more. */
  deliver(sender: Process, incoming: IncomingRequest, sink: ResponseSink): ForwardHandle {
    let left = false;
    this.later(this.random() * WAY_MS_MAX, () => {
      if (sender.dead) return;
      const id = firstHeader(incoming.headers, 'idempotency-key')?.replaceAll('"', '') ?? '';
      const seen: SeenAttempt = { id, attempt: (incoming.sent?.attemptsBefore ?? 0) + 1, sender, status: undefined };
      this.seen.push(seen);
      this.later(this.random() ** 3 * 4_000, () => {
        seen.status = this.random() < 0.1 ? 500 : 200;
        if (sender.dead || left) return;
        sink.onHead({ status: seen.status, statusText: '', headers: [] });
        sink.onEnd([]);
      });
    });
    return {
      leave: () => {
        left = true;
      },
    };
  }
}

/** One replica. */
export class Process {
  readonly instance: string;
  dead = false;
  /** The others take it for dead. */
  silent = false;
  readonly mayDecide = new Set<bigint>();
  requests!: ClusterRequests;
  readonly #world: OwnersWorld;
  readonly #listeners = new Map<string, Set<(bytes: Uint8Array) => void>>();

  constructor(world: OwnersWorld, instance: string) {
    this.#world = world;
    this.instance = instance;
  }

  async start(): Promise<void> {
    const world = this.#world;
    const { clock, layout } = world;
    const rig = new Rig([SETTINGS], { recording: false, clock });
    await rig.admission.start();
    const records = memoryVerbs(world.streams, (verb) => this.#way(verb));
    const nowMs = (): number => clock.epoch(clock.now());
    const room = new StreamQuota({ records, streams: [...layout.queues, ...layout.bodies], bytes: 2 ** 50, relief: 0 });
    const edge = new JetStreamEdge({ records, layout, room, nowMs });
    const route = routeOf();
    this.requests = new ClusterRequests({
      edge,
      openStore: (shard, term) =>
        new JetStreamStore({
          records,
          layout: layout.shard(shard),
          shard,
          term,
          edge,
          room,
          nowMs,
          pause: (ms) => new Promise<void>((resolve) => world.later(ms, resolve)),
        }),
      lines: new StoredLines({ line: rig.admission, shardOf: () => SHARD }),
      shardOf: () => SHARD,
      bus: this.#bus(),
      instance: () => this.instance,
      isAlive: (instance) => world.alive.some((other) => other.instance === instance && (other === this || !other.silent)),
      transport: { send: () => Promise.reject(new Error('no callbacks here')) } as never,
      space: () => ({ bytes: 0, bytesMax: 1 }),
      admission: rig.admission,
      forwarding: { deliver: (incoming, _route, sink) => world.deliver(this, incoming, sink) },
      clock: { ...bound(clock), at: (when, wake) => clock.at(when, () => void (this.dead || wake())) },
      routes: () => new Map([[route.name, route]]),
      settings: () => SETTINGS,
      events: () => {},
      onError: (fault) => world.faults.push(fault),
      defer: (run) => void setImmediate(run),
      random: () => world.random(),
      bounds: { inFlightMax: 1_000, inFlightBytesMax: 1 << 30, downAfter: 1_000, probeMs: 3_000 },
    });
  }

  async submit(more: Partial<Submission> = {}): Promise<string> {
    const submitted = this.requests.submit({ ...SUBMISSION, costs: ONE_REQUEST, ...more });
    let outcome: Awaited<typeof submitted> | undefined;
    void submitted.then((each) => {
      outcome = each;
    });
    while (outcome === undefined) await this.#world.pass(WAY_MS_MAX);
    if (outcome.kind !== 'accepted') throw new Error(`refused: ${JSON.stringify(outcome.refusal)}`);
    return outcome.id;
  }

  async stateOf(id: string): Promise<string> {
    const view = await this.show(id);
    return 'state' in view ? `${view.state} ${view.error}`.trim() : view.reason;
  }

  async show(id: string): Promise<RequestView | Refusal> {
    let view: RequestView | Refusal | undefined;
    void this.requests.get(ANYONE, id, 0).then((each) => {
      view = each;
    });
    while (view === undefined) await this.#world.pass(WAY_MS_MAX);
    return view;
  }

  kill(): void {
    this.dead = true;
  }

  hear(subject: string, bytes: Uint8Array): void {
    if (!this.dead) for (const listener of [...(this.#listeners.get(subject) ?? [])]) listener(bytes);
  }

  /** There and back; what a dead process waits for never comes. */
  #way<T>(verb: () => T): Promise<T> {
    const world = this.#world;
    const lost = world.random() < world.lossy ? Math.floor(world.random() * 2) : -1;
    return new Promise((resolve, reject) => {
      const answer = (run: () => void): void => world.later(world.random() * WAY_MS_MAX, () => void (this.dead || run()));
      world.later(world.random() * WAY_MS_MAX, () => {
        if (lost === 0) return answer(() => reject(new Error('TIMEOUT')));
        try {
          const value = verb();
          answer(() => (lost === 1 ? reject(new Error('TIMEOUT')) : resolve(value)));
        } catch (cause) {
          answer(() => reject(cause));
        }
      });
    });
  }

  #bus(): NewsBus {
    const world = this.#world;
    return {
      publish: (subject, bytes) => {
        for (const other of world.alive)
          if (other !== this && world.random() >= world.lossy) world.later(world.random() * WAY_MS_MAX, () => other.hear(subject, bytes));
      },
      subscribe: (subject, listener) => {
        const listeners = this.#listeners.get(subject) ?? new Set();
        this.#listeners.set(subject, listeners);
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    };
  }
}

function bound(clock: FakeClock): Pick<FakeClock, 'now' | 'epoch'> {
  return { now: () => clock.now(), epoch: (at) => clock.epoch(at) };
}

/**
 * Returns what is wrong: a request that was not delivered, a number that did not grow, or a repeat of an attempt whose sender lived on
 * and that was not answered 500. `silent`: senders that were taken for dead.
 */
export function wrongDeliveries(ids: readonly string[], seen: readonly SeenAttempt[], silent: ReadonlySet<Process>): readonly string[] {
  const wrong: string[] = [];
  const byId = Map.groupBy(seen, ({ id }) => id);
  for (const id of ids) {
    const attempts = byId.get(id) ?? [];
    if (attempts.length === 0) wrong.push(`${id} was never delivered`);
    for (const [index, { attempt, sender, status }] of attempts.entries()) {
      const next = attempts[index + 1];
      if (next === undefined) continue;
      if (next.attempt <= attempt) wrong.push(`${id} was delivered as attempt ${next.attempt} after ${attempt}`);
      if (status !== 500 && !sender.dead && !silent.has(sender))
        wrong.push(`${id} was delivered again as attempt ${next.attempt}, and ${sender.instance} lived on`);
    }
  }
  return wrong;
}
