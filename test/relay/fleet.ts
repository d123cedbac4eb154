import type { AdmissionRequest, GroupSettings } from '../../src/admission/admission.ts';
import type { Clock } from '../../src/admission/clock.ts';
import type { ShardContext } from '../../src/admission/deps.ts';
import { LocalAdmission } from '../../src/admission/local-admission.ts';
import type { LeaderLease } from '../../src/coordination/coordinator.ts';
import type { PeerView, ShardLocation, Timers } from '../../src/coordination/replica.ts';
import { Gate } from '../../src/core/gate/gate.ts';
import { DISTANT_PAST, type Instant, MILLISECOND, type Micros, plus, SECOND } from '../../src/core/time.ts';
import { createLedger } from '../../src/ledger/log-ledger.ts';
import { MemoryStore } from '../../src/ledger/stores/memory.ts';
import { Relay, type RelayBounds, type RelayEvent } from '../../src/relay/relay.ts';
import { askOf, Caller } from '../admission/rig.ts';
import { START } from '../core/specs.ts';
import { Dice } from '../sim/dice.ts';
import { DEFAULT_ADMISSION_LIMITS, DEFAULT_RELAY_BOUNDS } from '../support/default-bounds.ts';
import { FakeClock, settled } from '../support/fakes/clock.ts';
import { FakeCoordinator } from '../support/fakes/coordinator.ts';
import { FakeLedger } from '../support/fakes/ledger.ts';

/** What the network does to messages. */
export interface Network {
  /** Part of messages lost, doubled, and late by up to a tenth of a second. */
  readonly loss: number;
  readonly doubling: number;
  readonly lateness: number;
}

const QUIET: Network = { loss: 0, doubling: 0, lateness: 0 };

/** Core messages on a fake clock. */
export class Bus {
  readonly #clock: FakeClock;
  readonly #dice: Dice;
  readonly #listeners = new Map<string, Set<(bytes: Uint8Array) => void>>();
  network = QUIET;
  /** From and to: true, nothing passes. */
  cut: (from: string, to: string) => boolean = () => false;
  sent = 0;

  constructor(clock: FakeClock, dice: Dice) {
    this.#clock = clock;
    this.#dice = dice;
  }

  /** As one node sees it. */
  of(node: string) {
    return {
      publish: (subject: string, bytes: Uint8Array) => this.publish(node, subject, bytes),
      subscribe: (subject: string, listener: (bytes: Uint8Array) => void) => {
        const listeners = this.#listeners.get(subject) ?? new Set();
        this.#listeners.set(subject, listeners.add(listener));
        return () => void listeners.delete(listener);
      },
    };
  }

  publish(from: string, subject: string, bytes: Uint8Array): void {
    this.sent++;
    const { loss, doubling, lateness } = this.network;
    const copies = this.#dice.chance(loss) ? 0 : this.#dice.chance(doubling) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const delay = 200 + this.#dice.below(400) + (this.#dice.chance(lateness) ? this.#dice.below(100 * MILLISECOND) : 0);
      this.#clock.at(plus(this.#clock.now(), delay), () => {
        if (this.cut(from, subject)) return;
        for (const listener of [...(this.#listeners.get(subject) ?? [])]) listener(bytes.slice());
      });
    }
  }
}

/** A clock that shows another time and runs the same. */
export function shifted(clock: FakeClock, by: Micros): Clock {
  return { now: () => plus(clock.now(), by), epoch: (at) => clock.epoch(plus(at, -by)), at: (when, wake) => clock.at(plus(when, -by), wake) };
}

interface NodeOptions {
  readonly fleet: Fleet;
  readonly name: string;
  readonly ahead: Micros;
}

/** One replica: its local admission, its relay, and a coordinator that does what the test says. */
export class Node {
  readonly name: string;
  readonly clock: Clock;
  readonly admission: LocalAdmission;
  readonly relay: Relay;
  readonly events: RelayEvent[] = [];
  readonly told: string[] = [];
  readonly view = new Map<number, ShardLocation>();
  readonly #fleet: Fleet;
  #lives = 0;
  instance: string;
  dead = false;

  constructor({ fleet, name, ahead }: NodeOptions) {
    this.name = name;
    this.instance = `${name}-0`;
    this.#fleet = fleet;
    this.clock = shifted(fleet.clock, ahead);
    let bytes = 0;
    this.admission = new LocalAdmission({
      clock: this.clock,
      coordinator: new FakeCoordinator(),
      ledger: new FakeLedger(),
      settings: fleet.settings,
      onGateEvent: () => {},
      onEvent: () => {},
      random: (count) => Uint8Array.from({ length: count }, () => (bytes = (bytes * 5 + 17) % 251)),
      bounds: DEFAULT_ADMISSION_LIMITS,
      gate: (parts) => new Gate(parts),
      recording: true,
      defer: (run) => void setImmediate(run),
      shardOf: fleet.shardOf,
    });
    const timers: Timers = { after: (delay, act) => this.clock.at(plus(this.clock.now(), delay), act) };
    const replica = {
      instance: this.instance,
      locate: (shard: number): ShardLocation => this.view.get(shard) ?? { at: 'nowhere' },
      peers: (): readonly PeerView[] => fleet.peersOf(this),
      onShardOffered: (shard: number, term: bigint) => void this.told.push(`${shard} ${term}`),
      replaceInstance: (instance: string) => fleet.replaceInstance(this, instance),
      leave: () => fleet.leave(this),
    };
    this.relay = new Relay({
      admission: this.admission,
      replica,
      self: () => ({ replica: name, revision: 1, hash: '', shards: [...this.view.values()].filter(({ at }) => at === 'here').length }),
      messages: fleet.bus.of(name),
      clock: this.clock,
      timers,
      defer: (run) => void fleet.clock.at(plus(fleet.clock.now(), 50), run),
      newName: () => `${name}-${++this.#lives}`,
      settings: fleet.settings,
      shardOf: fleet.shardOf,
      bounds: { ...DEFAULT_RELAY_BOUNDS, ...fleet.bounds },
      limits: true,
      shareAdmission: (settings) => fleet.alone(this, settings),
      onEvent: (event) => this.events.push(event),
    });
  }

  /** Asks this node's admission. */
  ask(more: Partial<AdmissionRequest> = {}): Caller {
    const caller = new Caller();
    caller.held = this.relay.admission.acquire(askOf(more), (outcome) => {
      caller.told++;
      caller.outcome = outcome;
      caller.at = this.#fleet.clock.now();
      if (outcome.kind === 'admitted' && this.delivers) caller.held?.delivered();
    });
    if (caller.outcome?.kind === 'admitted' && this.delivers) caller.held.delivered();
    return caller;
  }

  /** Answers reach their callers at once. */
  delivers = true;
}

/** What a test chooses. */
export interface FleetOptions {
  readonly nodes?: readonly string[];
  readonly seed?: number;
  readonly bounds?: Partial<RelayBounds>;
}

/** Some replicas over one bus, one clock and one store, with a script in place of coordination. */
export class Fleet {
  readonly clock = new FakeClock(START);
  readonly dice: Dice;
  readonly bus: Bus;
  readonly settings: readonly GroupSettings[];
  readonly bounds: Partial<RelayBounds>;
  readonly nodes: readonly Node[];
  readonly shardOf = (root: string): number => root.charCodeAt(root.length - 1) % 4;
  readonly #store = new MemoryStore({ bytes: 1 << 26 });
  readonly owners = new Map<number, { readonly node: Node; readonly term: bigint }>();
  /** The last term of each shard that ended without a seal. */
  readonly lostTerms = new Map<number, bigint>();
  #term = 0n;

  constructor(settings: readonly GroupSettings[], options: FleetOptions = {}) {
    this.settings = settings;
    this.bounds = options.bounds ?? {};
    this.dice = new Dice(options.seed ?? 1);
    this.bus = new Bus(this.clock, this.dice);
    // Their process clocks have nothing to do with each other.
    this.nodes = (options.nodes ?? ['a', 'b', 'c']).map((name, index) => new Node({ fleet: this, name, ahead: index * 1_000 * SECOND }));
  }

  async start(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.admission.start()));
  }

  node(name: string): Node {
    const node = this.nodes.find((each) => each.name === name);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  /** Who hears of whom. */
  hears: (listener: Node, other: Node) => boolean = () => true;

  peersOf(node: Node): readonly PeerView[] {
    const others = this.nodes.filter((other) => other !== node && !other.dead && this.hears(node, other));
    return others.map(({ name, instance }) => ({ replica: name, instance, revision: 1, hash: '', shards: 0 }));
  }

  /** A new term begins for a shard; the last owner has lost it, or (`sealed`) handed it over. */
  async give(shard: number, node: Node, more: { readonly sealed?: boolean; readonly from?: Micros } = {}): Promise<void> {
    const last = this.owners.get(shard);
    if (last !== undefined && !last.node.dead) {
      if (more.sealed === true) await last.node.admission.seal(shard, () => {});
      else {
        last.node.admission.loseShard(shard, last.term);
        this.lostTerms.set(shard, last.term);
      }
      this.place(shard, undefined);
    }
    const term = ++this.#term;
    this.owners.set(shard, { node, term });
    const clock = shifted(this.clock, -3 * SECOND);
    const store = this.#store;
    const shared = { append: store.append.bind(store), read: store.read.bind(store), trim: store.trim.bind(store), close: async () => {} };
    const from = last === undefined ? DISTANT_PAST : plus(clock.now(), more.from ?? 0);
    const ground: ShardContext = { clock, ledger: createLedger({ store: shared, clock, term, from }), leaderLease: this.#leaderLease(clock, term, from) };
    node.view.set(shard, { at: 'here', term });
    void node.admission.openShard(shard, ground, node.relay.barrier(shard, term));
    node.relay.onReplica({ kind: 'placed', shard, at: { at: 'here', term } });
    for (const other of this.nodes) if (other !== node) this.#see(other, shard, { at: 'peer', instance: node.instance, term });
  }

  /** Slots of shard time that always end a second ahead; a time outside of them waits for the next renewal, as it would of a session. */
  #leaderLease(clock: Clock, term: bigint, from: Instant): LeaderLease {
    const until = (): Instant => plus(clock.now(), SECOND);
    const renewal = (): Promise<void> => new Promise((resolve) => void clock.at(plus(clock.now(), SECOND / 5), resolve));
    return { term, from, until, extend: (now) => (now < until() ? undefined : renewal()) };
  }

  /** Everybody sees that nobody decides, or who does. */
  place(shard: number, owner: { readonly node: Node; readonly term: bigint } | undefined): void {
    for (const node of this.nodes) {
      if (owner === undefined) this.#see(node, shard, { at: 'nowhere' });
      else if (owner.node !== node) this.#see(node, shard, { at: 'peer', instance: owner.node.instance, term: owner.term });
    }
  }

  #see(node: Node, shard: number, at: ShardLocation): void {
    if (node.dead) return;
    node.view.set(shard, at);
    node.relay.onReplica({ kind: 'placed', shard, at });
  }

  /** From now on nothing of it goes anywhere. */
  kill(node: Node): void {
    node.dead = true;
    node.relay.close();
    for (const [shard, owner] of this.owners) {
      if (owner.node !== node) continue;
      node.admission.loseShard(shard, owner.term);
      this.place(shard, undefined);
    }
    for (const other of this.nodes) if (!other.dead) other.relay.onReplica({ kind: 'peers' });
  }

  /** As heartbeats would tell it. */
  replaceInstance(node: Node, instance: string): void {
    node.instance = instance;
    for (const [shard, owner] of this.owners) if (owner.node === node) this.place(shard, owner);
  }

  async leave(node: Node): Promise<void> {
    const heir = this.nodes.find((other) => other !== node && !other.dead);
    if (heir === undefined) return;
    for (const [shard, owner] of [...this.owners]) if (owner.node === node) await this.give(shard, heir, { sealed: true });
  }

  /** An admission over memory. */
  async alone(node: Node, settings: readonly GroupSettings[]): Promise<LocalAdmission> {
    const admission = new LocalAdmission({
      clock: node.clock,
      coordinator: new FakeCoordinator(),
      ledger: new FakeLedger(),
      settings,
      onGateEvent: () => {},
      onEvent: () => {},
      random: (count) => new Uint8Array(count).fill(7),
      bounds: DEFAULT_ADMISSION_LIMITS,
      gate: (parts) => new Gate(parts),
      recording: false,
      defer: (run) => void setImmediate(run),
    });
    await admission.start();
    return admission;
  }

  pass(seconds: number): Promise<void> {
    return this.clock.advanceAsync(Math.round(seconds * SECOND));
  }
}

/** A fleet whose shards all belong to its first node, a quarter of a second later. */
export async function launched(settings: readonly GroupSettings[], options: FleetOptions = {}): Promise<Fleet> {
  const fleet = new Fleet(settings, options);
  await fleet.start();
  for (const shard of [0, 1, 2, 3]) await fleet.give(shard, fleet.nodes[0] as Node);
  await settled();
  await fleet.pass(0.25);
  return fleet;
}
