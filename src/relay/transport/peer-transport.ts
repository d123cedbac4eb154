import { type PeerView, sleep, type Timers } from '../../coordination/replica.ts';
import { Fifo } from '../../core/collections/fifo.ts';
import { type Instant, MILLISECOND, type Micros, NEVER, SECOND } from '../../core/time.ts';
import { ACK_DELAY, Channels, type ReliableChannel } from './channel.ts';
import { ClockOffset } from './clock-offset.ts';
import { decodeEnvelope, decodeMessage, encodeFrame, encodeMessage, encodeReset, type RelayMessage } from './codec.ts';

/** Core messages by subject: lost, late or twice, but never changed. */
export interface MessageBus {
  publish(subject: string, bytes: Uint8Array): void;
  /** Answers how to stop. */
  subscribe(subject: string, onMessage: (bytes: Uint8Array) => void): () => void;
}

/** What became of an operation: `full`, an ask too many for now; `over`, that life of the peer is over. */
export type Sent = 'sent' | 'full' | 'ended';

/** What the links are made of. */
export interface PeerTransportDeps {
  /** The address of this life of the process. */
  readonly instance: string;
  readonly messages: MessageBus;
  readonly now: () => Instant;
  readonly timers: Timers;
  /** Runs something in the next turn of the event loop. */
  readonly defer: (run: () => void) => void;
  readonly peers: () => readonly Pick<PeerView, 'replica' | 'instance'>[];
  /** A name that no instance ever had. */
  readonly newName: () => string;
  /** Asks that wait for one peer's channel at most. */
  readonly maxWaiting: number;
  /** An operation came; `by` turns its instants into those of this process. */
  readonly onMessage: (peer: string, message: RelayMessage, by: Micros) => void;
  /** Nothing was heard of a peer for 1 s, or something again. */
  readonly onSilence: (peer: string, silent: boolean) => void;
  /** That life of the peer is over, as far as the links go. */
  readonly onPeerLost: (peer: string) => void;
  /** This process was taken for dead: it goes on under this address, and everything that was under way is void. */
  readonly onInstanceReplaced: (instance: string) => void;
  readonly onTrouble: (what: string, cause: unknown) => void;
}

/** After so long without a sign a peer's waiters are passed over: until then permits go to a replica that may be gone. Its replacement takes as long. */
const SILENT_AFTER: Micros = SECOND;
/** And after so long its life is over (docs/design/coordination.md 2.8). */
const GONE_AFTER: Micros = 15 * SECOND;
/** An address whose replica goes by another one is over after so long without a sign. */
const LEFT_AFTER: Micros = 500 * MILLISECOND;
const CHECK_EACH: Micros = 100 * MILLISECOND;
const QUIET_EACH: Micros = 5 * MILLISECOND;
/** What is said in one turn of the event loop goes in one frame: in the next turn, which comes sooner than any timer. */
const TURN: Micros = 1;
/** A timer knows nothing shorter, and spinning until then would cost more than a frame. */
const TIMER_LEAST: Micros = MILLISECOND;
/** Names of peers that are over, remembered: a frame from one is answered by a reset. */
const ENDED_MAX = 10_000;

/**
 * Channels to all other replicas, over messages that get lost. An address is one life: one that a peer gave up is notified of it
 * (`reset`) by its next frame, and begins anew under another name.
 */
export class PeerTransport {
  readonly #deps: PeerTransportDeps;
  #own: string;
  #channels: Channels<string>;
  #peers = new Map<string, PeerState>();
  readonly #ended = new Set<string>();
  /** The address of each replica when last seen. */
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

  /** Takes an operation to be delivered once and in order while both lives last. */
  send(to: string, message: RelayMessage): Sent {
    const now = this.#deps.now();
    const channel = this.#closed || this.#ended.has(to) ? undefined : this.#channels.to(to);
    if (channel === undefined) return 'ended';
    const { queue } = this.#peer(to, now);
    const isRequest = message.op === 'ask';
    if (isRequest && queue.requests >= this.#deps.maxWaiting) return 'full';
    const text = encodeMessage(message);
    // That a permit was delivered is not urgent: it goes along with the next message, or with an acknowledgement.
    if (!queue.empty || !channel.send(text, now, message.op === 'delivered' ? ACK_DELAY : TURN)) queue.push(text, isRequest);
    this.#flush(channel, now);
    return 'sent';
  }

  /** The connection came back: what was sent while it was away is lost. */
  reconnected(): void {
    const now = this.#deps.now();
    for (const peer of this.#channels.peers) {
      const channel = this.#channels.to(peer);
      channel?.reconnected(now);
      if (channel !== undefined) this.#flush(channel, now);
    }
  }

  /** This replica stops: its heartbeats end before its last callers are answered, so peers learn by other means that it lives. */
  beginShutdown(): void {
    this.#shuttingDown = true;
  }

  /** Resolves when everything that was sent has arrived, or after `within`. */
  async flush(within: Micros): Promise<void> {
    const end = this.#deps.now() + within;
    const busy = () => this.#channels.wakeAt() < NEVER || [...this.#peers.values()].some(({ queue }) => !queue.empty);
    while (busy() && this.#deps.now() < end) await sleep(this.#deps.timers, QUIET_EACH);
  }

  /** Nothing is sent or heard any more. */
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
    peer.clock.heard(envelope.now, now);
    const ops = this.#channels.receive(frame, now);
    const by = peer.clock.shift(now);
    for (const text of ops) {
      this.#onMessage(frame.from, text, by);
      // What it said may have ended this address, or the peer's.
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
      return this.#reportOnce(from, 'an operation that cannot be read', cause);
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

  /** Sends what the channel has, and sees that time passes for it. */
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

  /** Who fell silent, who is over, and who lives on though it was given up. */
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

  /** A replica that goes by another address now has left the one before; unless two have one name, which is a mistake in the configuration. */
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

  /** That address is over: nothing goes to it, and nothing of it counts any more. */
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

  /** Everything begins anew under another name; peers that live are notified which one is over. */
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

  /** Once for each peer: what is wrong in one frame is wrong in all. */
  #reportOnce(peer: string, what: string, cause: unknown): void {
    if (this.#reported.has(peer)) return;
    this.#reported.add(peer);
    this.#deps.onTrouble(peer === '' ? what : `${what}, from ${peer}`, cause);
  }
}

function bytesOf(text: string): number {
  return text.length;
}

/** Another replica as the links keep it. */
interface PeerState {
  readonly clock: ClockOffset;
  readonly queue: OutboundQueue;
  heardAt: Instant;
  silent: boolean;
}

/** Operations for one peer that its channel does not take yet, in order. Asks among them are counted: they alone may be refused. */
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

  /** Gives one after the other to `take`, while it takes them. */
  flush(take: (text: string) => boolean): void {
    for (let next = this.#ops.peek(); next !== undefined && take(next.text); next = this.#ops.peek()) {
      this.#ops.shift();
      if (next.isRequest) this.#requests--;
    }
  }
}
