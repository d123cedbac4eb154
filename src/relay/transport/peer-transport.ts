import { type PeerView, sleep, type Timers } from '../../coordination/replica.ts';
import { Fifo } from '../../core/collections/fifo.ts';
import { type Instant, MILLISECOND, type Micros, NEVER, SECOND } from '../../core/time.ts';
import { ACK_DELAY, Channels, type ReliableChannel } from './channel.ts';
import { ClockOffset } from './clock-offset.ts';
import { decodeEnvelope, decodeMessage, encodeFrame, encodeMessage, encodeReset, type RelayMessage } from './codec.ts';

/** Core messages by subject: lost, late or twice, but never changed. */
export interface MessageBus {
  publish(subject: string, bytes: Uint8Array): void;
  /** Returns a function that unsubscribes. */
  subscribe(subject: string, onMessage: (bytes: Uint8Array) => void): () => void;
}

/** The result of `send`. `full`: too many requests wait for this peer. `ended`: that instance of the peer has ended. */
export type Sent = 'sent' | 'full' | 'ended';

/** Dependencies of {@link PeerTransport}. */
export interface PeerTransportDeps {
  /** The address of this process, until it is replaced. */
  readonly instance: string;
  readonly messages: MessageBus;
  readonly now: () => Instant;
  readonly timers: Timers;
  /** Runs something in the next turn of the event loop. */
  readonly defer: (run: () => void) => void;
  readonly peers: () => readonly Pick<PeerView, 'replica' | 'instance'>[];
  /** Returns a name that no instance ever had. */
  readonly newName: () => string;
  /** Requests that wait for the channel to one peer at most. */
  readonly maxWaiting: number;
  /** Called with each message. `by` is what to add to its instants for those of this process. */
  readonly onMessage: (peer: string, message: RelayMessage, by: Micros) => void;
  /** Called when nothing was received from a peer for 1 s, and when something is received again. */
  readonly onSilence: (peer: string, silent: boolean) => void;
  /** Called when that instance of the peer is given up. */
  readonly onPeerLost: (peer: string) => void;
  /** Called when a peer took this process for dead: it continues under this address, and everything sent before is void. */
  readonly onInstanceReplaced: (instance: string) => void;
  readonly onTrouble: (what: string, cause: unknown) => void;
}

/** A peer is silent after this time without a message or heartbeat; its waiters are passed over. Until then permits go to a replica that may be dead. */
const SILENT_AFTER: Micros = SECOND;
/** A peer that is silent for this long is given up (docs/design/coordination.md 2.8). */
const GONE_AFTER: Micros = 15 * SECOND;
/** An address whose replica has another one now is given up after this time without a message. */
const LEFT_AFTER: Micros = 500 * MILLISECOND;
const CHECK_EACH: Micros = 100 * MILLISECOND;
const QUIET_EACH: Micros = 5 * MILLISECOND;
/** Messages of one turn of the event loop are sent in one frame, in the next turn, which comes sooner than any timer. */
const TURN: Micros = 1;
/** The shortest delay of a timer; spinning until an earlier instant would cost more than a frame. */
const TIMER_LEAST: Micros = MILLISECOND;
/** Ended addresses that are remembered at most: a frame from one is answered by a reset. */
const ENDED_MAX = 10_000;

/**
 * Channels to all other replicas, over messages that get lost. A process whose address was given up by a peer receives a `reset`
 * after its next frame, and continues under a new address.
 */
export class PeerTransport {
  readonly #deps: PeerTransportDeps;
  #own: string;
  #channels: Channels<string>;
  #peers = new Map<string, PeerState>();
  readonly #ended = new Set<string>();
  /** The last known address of each replica. */
  readonly #instances = new Map<string, string>();
  readonly #reported = new Set<string>();
  #unsubscribe: () => void;
  #wakeAt: Instant = NEVER;
  #cancelWake: (() => void) | undefined;
  #cancelCheck: () => void;
  #closed = false;
  #shuttingDown = false;

  constructor(deps: PeerTransportDeps) {
    this.#deps = deps;
    this.#own = deps.instance;
    this.#channels = new Channels({ own: this.#own, bytesOf });
    this.#unsubscribe = this.#listen();
    this.#cancelCheck = deps.timers.after(CHECK_EACH, () => this.#checkPeers());
  }

  /** Takes a message to be delivered once and in order while both instances last. */
  send(to: string, message: RelayMessage): Sent {
    const now = this.#deps.now();
    const channel = this.#closed || this.#ended.has(to) ? undefined : this.#channels.to(to);
    if (channel === undefined) return 'ended';
    const { queue } = this.#peer(to, now);
    const isRequest = message.op === 'ask';
    if (isRequest && queue.requests >= this.#deps.maxWaiting) return 'full';
    const text = encodeMessage(message);
    // `delivered` is not urgent: it is sent with the next message, or with an acknowledgement.
    if (!queue.empty || !channel.send(text, now, message.op === 'delivered' ? ACK_DELAY : TURN)) queue.push(text, isRequest);
    this.#flush(channel, now);
    return 'sent';
  }

  /** Sends again what is not acknowledged, after the connection was lost and is back. */
  reconnected(): void {
    const now = this.#deps.now();
    for (const peer of this.#channels.peers) {
      const channel = this.#channels.to(peer);
      channel?.reconnected(now);
      if (channel !== undefined) this.#flush(channel, now);
    }
  }

  /** Begins the shutdown: heartbeats end before the last callers are answered, so `here` messages show peers that this replica is alive. */
  beginShutdown(): void {
    this.#shuttingDown = true;
  }

  /** Resolves when everything sent has arrived, or after `within`. */
  async flush(within: Micros): Promise<void> {
    const end = this.#deps.now() + within;
    const busy = () => this.#channels.wakeAt() < NEVER || [...this.#peers.values()].some(({ queue }) => !queue.empty);
    while (busy() && this.#deps.now() < end) await sleep(this.#deps.timers, QUIET_EACH);
  }

  /** Stops sending and receiving. */
  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    this.#cancelCheck();
    this.#cancelWake?.();
  }

  #listen(): () => void {
    const own = this.#own;
    return this.#deps.messages.subscribe(`to.${own}`, (bytes) => this.#receive(own, bytes));
  }

  #receive(own: string, bytes: Uint8Array): void {
    if (own !== this.#own || this.#closed) return;
    const now = this.#deps.now();
    let envelope: ReturnType<typeof decodeEnvelope>;
    try {
      envelope = decodeEnvelope(bytes);
    } catch (cause) {
      return this.#reportOnce('', 'a frame that cannot be read', cause);
    }
    if (envelope.kind === 'reset') {
      if (envelope.to === own) this.#replaceInstance();
      return;
    }
    const { frame } = envelope;
    if (frame.to !== own) return;
    if (this.#ended.has(frame.from)) return this.#reset(frame.from);
    const peer = this.#peer(frame.from, now);
    this.#onHeard(frame.from, peer, now);
    peer.clock.observe(envelope.now, now);
    const ops = this.#channels.receive(frame, now);
    const by = peer.clock.shift(now);
    for (const text of ops) {
      this.#onMessage(frame.from, text, by);
      // The message may have ended this address, or the peer's.
      if (own !== this.#own || this.#ended.has(frame.from)) return;
    }
    const channel = this.#channels.to(frame.from);
    if (channel === undefined) return;
    peer.queue.flush((text) => channel.send(text, now));
    this.#flush(channel, now);
  }

  #onMessage(from: string, text: string, by: Micros): void {
    let message: RelayMessage | undefined;
    try {
      message = decodeMessage(text);
    } catch (cause) {
      return this.#reportOnce(from, 'a message that cannot be read', cause);
    }
    if (message === undefined) return;
    if (message.op === 'hello') return this.#end(message.was);
    if (message.op === 'here') return;
    try {
      this.#deps.onMessage(from, message, by);
    } catch (cause) {
      this.#reportOnce(from, `${message.op} could not be done`, cause);
    }
  }

  /** Sends the frames of the channel, and schedules its next tick. */
  #flush(channel: ReliableChannel<string>, now: Instant): void {
    for (const frame of channel.takeFrames()) this.#deps.messages.publish(`to.${frame.to}`, encodeFrame(frame, now));
    this.#arm(now, channel.wakeAt() as Instant);
  }

  #arm(now: Instant, at: Instant): void {
    if (at >= this.#wakeAt || this.#closed) return;
    this.#cancelWake?.();
    this.#wakeAt = at;
    const wake = (): void => this.#wake();
    if (at - now > TURN) this.#cancelWake = this.#deps.timers.after(Math.max(TIMER_LEAST, at - now), wake);
    else {
      this.#cancelWake = undefined;
      this.#deps.defer(wake);
    }
  }

  #wake(): void {
    if (this.#closed) return;
    const now = this.#deps.now();
    this.#cancelWake?.();
    this.#cancelWake = undefined;
    this.#wakeAt = NEVER;
    this.#channels.tick(now);
    for (const frame of this.#channels.takeFrames()) this.#deps.messages.publish(`to.${frame.to}`, encodeFrame(frame, now));
    this.#arm(now, this.#channels.wakeAt() as Instant);
  }

  /** Finds peers that fell silent, that are to be given up, and that are alive though they were given up. */
  #checkPeers(): void {
    if (this.#closed) return;
    this.#cancelCheck = this.#deps.timers.after(CHECK_EACH, () => this.#checkPeers());
    const now = this.#deps.now();
    for (const { replica, instance } of this.#deps.peers()) {
      this.#onInstanceReplaced(replica, instance, now);
      if (this.#ended.has(instance)) this.#reset(instance);
      const peer = this.#peers.get(instance);
      if (peer !== undefined) this.#onHeard(instance, peer, now);
    }
    for (const name of this.#shuttingDown ? [...this.#peers.keys()] : []) this.send(name, { op: 'here' });
    for (const [name, peer] of [...this.#peers]) {
      if (now - peer.heardAt > GONE_AFTER) this.#end(name);
      else if (!peer.silent && now - peer.heardAt > SILENT_AFTER) {
        peer.silent = true;
        this.#deps.onSilence(name, true);
      }
    }
  }

  /** Gives up the former address of a replica that has a new one; not while both are in use, since then two replicas have one name, a mistake in the configuration. */
  #onInstanceReplaced(replica: string, instance: string, now: Instant): void {
    const before = this.#instances.get(replica);
    const peer = before === undefined || before === instance ? undefined : this.#peers.get(before);
    if (before !== undefined && peer !== undefined && now - peer.heardAt > LEFT_AFTER) this.#end(before);
    if (peer === undefined || this.#ended.has(before as string)) this.#instances.set(replica, instance);
  }

  #onHeard(name: string, peer: PeerState, now: Instant): void {
    peer.heardAt = now;
    if (!peer.silent) return;
    peer.silent = false;
    this.#deps.onSilence(name, false);
  }

  /** Gives up an address: nothing is sent to it, and what still arrives from it is ignored. */
  #end(name: string): void {
    if (this.#ended.has(name) || name === this.#own) return;
    this.#ended.add(name);
    if (this.#ended.size > ENDED_MAX) this.#ended.delete(this.#ended.values().next().value as string);
    this.#channels.close(name, this.#deps.now());
    this.#reported.delete(name);
    this.#peers.delete(name);
    this.#deps.onPeerLost(name);
  }

  #reset(name: string): void {
    this.#deps.messages.publish(`to.${name}`, encodeReset(this.#own, name));
  }

  /** Continues under a new address, and notifies live peers that the former one has ended. */
  #replaceInstance(): void {
    const was = this.#own;
    this.#unsubscribe();
    this.#own = this.#deps.newName();
    this.#channels = new Channels({ own: this.#own, bytesOf });
    this.#peers = new Map();
    this.#unsubscribe = this.#listen();
    for (const { instance } of this.#deps.peers()) this.send(instance, { op: 'hello', was });
    this.#deps.onInstanceReplaced(this.#own);
  }

  #peer(name: string, now: Instant): PeerState {
    let peer = this.#peers.get(name);
    if (peer === undefined) {
      peer = { clock: new ClockOffset(), queue: new OutboundQueue(), heardAt: now, silent: false };
      this.#peers.set(name, peer);
    }
    return peer;
  }

  /** Reports trouble once for each peer: what is wrong in one frame is wrong in all. */
  #reportOnce(peer: string, what: string, cause: unknown): void {
    if (this.#reported.has(peer)) return;
    this.#reported.add(peer);
    this.#deps.onTrouble(peer === '' ? what : `${what}, from ${peer}`, cause);
  }
}

function bytesOf(text: string): number {
  return text.length;
}

/** State of one peer. */
interface PeerState {
  readonly clock: ClockOffset;
  readonly queue: OutboundQueue;
  heardAt: Instant;
  silent: boolean;
}

/** Messages for one peer that its channel does not take yet, in order. Requests among them are counted: they alone may be refused. */
class OutboundQueue {
  readonly #ops = new Fifo<{ readonly text: string; readonly isRequest: boolean }>();
  #requests = 0;

  get empty(): boolean {
    return this.#ops.length === 0;
  }

  get requests(): number {
    return this.#requests;
  }

  push(text: string, isRequest: boolean): void {
    this.#ops.push({ text, isRequest });
    if (isRequest) this.#requests++;
  }

  /** Passes the messages to `take` in order, until it returns false. */
  flush(take: (text: string) => boolean): void {
    for (let next = this.#ops.peek(); next !== undefined && take(next.text); next = this.#ops.peek()) {
      this.#ops.shift();
      if (next.isRequest) this.#requests--;
    }
  }
}
