import { takeAll } from '../../core/collections/take-all.ts';
import { MILLISECOND, type Micros, SECOND } from '../../core/time.ts';

/** One message on the network between two instances. `seq` 0: no operations, only an acknowledgement. */
export interface Frame<Op> {
  readonly from: string;
  readonly to: string;
  /** Number of the frame: 1 is the first of the channel. */
  readonly seq: number;
  /** Every frame up to this number has arrived. */
  readonly ack: number;
  /** The next frame is missing though later ones have arrived: send it again at once. */
  readonly gap: boolean;
  readonly ops: readonly Op[];
}

/** Frames sent and not acknowledged, at most. */
export const FRAMES_MAX = 256;

/** Bytes at most of frames that are not acknowledged, and of operations that wait to be sent. */
export const WINDOW_BYTES_MAX = 4 << 20;

/** A frame is sent as soon as it has this many bytes. */
export const FRAME_BYTES = 64 << 10;

/** What is not acknowledged is sent again after this long. */
const RETRANSMIT_AFTER: Micros = 50 * MILLISECOND;

/** While a frame is not acknowledged, operations are gathered until it is, or for this long: 1 ms, which a timer can keep without spinning. */
const GATHER_FOR: Micros = MILLISECOND;

/** An acknowledgement that no frame carries is sent by itself after this long. */
export const ACK_DELAY: Micros = 5 * MILLISECOND;

interface Sent<Op> {
  readonly ops: readonly Op[];
  readonly bytes: number;
  sentAt: Micros;
}

/** The two ends of a channel, and how large an operation is. */
export interface ReliableChannelOptions<Op> {
  readonly own: string;
  readonly peer: string;
  readonly bytesOf: (message: Op) => number;
}

/**
 * Operations from one instance to another and back, each delivered once and in order, over a network that loses, doubles,
 * delays and reorders (docs/design/coordination.md 2.8; core NATS drops what is published while disconnected, without an error).
 * A channel lasts as long as both instances do: a new instance of either gets a new channel.
 *
 *     send ─▶ gathered ─▶ frame ─▶ takeFrames ···network···▶ receive ─▶ operations, in order
 *                           └─ kept until acknowledged; again after 50 ms, or at once when a gap is reported
 */
export class ReliableChannel<Op> {
  readonly #options: ReliableChannelOptions<Op>;
  #gathered: Op[] = [];
  #gatheredBytes = 0;
  /** When to send what was gathered, if every frame is acknowledged, and if one is not. */
  #idleDue: Micros = Number.POSITIVE_INFINITY;
  #busyDue: Micros = Number.POSITIVE_INFINITY;
  readonly #sent = new Map<number, Sent<Op>>();
  #sentBytes = 0;
  #lastSeq = 0;
  #acked = 0;
  /** Every frame up to this number was delivered. */
  #delivered = 0;
  /** Frames that arrived before an earlier one. */
  readonly #early = new Map<number, readonly Op[]>();
  #ackAt: Micros = Number.POSITIVE_INFINITY;
  readonly #out: Frame<Op>[] = [];

  constructor(options: ReliableChannelOptions<Op>) {
    this.#options = options;
  }

  /** Returns false while the window is full; `send` refuses until a frame is acknowledged. */
  get writable(): boolean {
    return this.#sentBytes + this.#gatheredBytes < WINDOW_BYTES_MAX && (this.#sent.size < FRAMES_MAX || this.#gatheredBytes < FRAME_BYTES);
  }

  /** Takes an operation to be delivered. Returns false if the window is full. It may be gathered for `mayWait`, even if every frame is acknowledged. */
  send(message: Op, mono: Micros, mayWait: Micros = 0): boolean {
    if (!this.writable) return false;
    this.#idleDue = Math.min(this.#idleDue, mono + mayWait);
    this.#busyDue = Math.min(this.#busyDue, mono + Math.max(mayWait, GATHER_FOR));
    this.#gathered.push(message);
    this.#gatheredBytes += this.#options.bytesOf(message);
    if (mono >= this.#dueAt || this.#gatheredBytes >= FRAME_BYTES) this.#flush(mono);
    return true;
  }

  /** Receives a frame. Returns the operations that it completes, in order. Ignores frames of another instance, or for one. */
  receive(frame: Frame<Op>, mono: Micros): readonly Op[] {
    if (frame.from !== this.#options.peer || frame.to !== this.#options.own) return [];
    this.#acknowledged(frame.ack, mono);
    if (frame.gap) this.#resend(frame.ack + 1, mono);
    if (frame.seq === 0) return [];
    if (frame.seq <= this.#delivered || frame.seq > this.#delivered + FRAMES_MAX) {
      this.#ackAt = mono;
      return [];
    }
    this.#early.set(frame.seq, frame.ops);
    const ops: Op[] = [];
    for (let next = this.#early.get(this.#delivered + 1); next !== undefined; next = this.#early.get(this.#delivered + 1)) {
      this.#early.delete(++this.#delivered);
      ops.push(...next);
    }
    if (this.#early.size > 0) this.#acknowledge();
    else this.#ackAt = Math.min(this.#ackAt, mono + ACK_DELAY);
    return ops;
  }

  /** Advances time: sends what was gathered, sends again, acknowledges. */
  tick(mono: Micros): void {
    // An acknowledgement that is due carries what was gathered.
    if (mono >= this.#dueAt || mono >= this.#ackAt) this.#flush(mono);
    for (const [seq, sent] of this.#sent) if (mono - sent.sentAt >= RETRANSMIT_AFTER) this.#put(seq, sent, mono);
    if (mono >= this.#ackAt) this.#acknowledge();
  }

  /** Returns when to call `tick` next; infinite: not before another call. */
  wakeAt(): Micros {
    let at = Math.min(this.#ackAt, this.#sent.size < FRAMES_MAX ? this.#dueAt : Number.POSITIVE_INFINITY);
    for (const { sentAt } of this.#sent.values()) at = Math.min(at, sentAt + RETRANSMIT_AFTER);
    return at;
  }

  /** Sends every frame that is not acknowledged again, after the connection was lost and is back. */
  reconnected(mono: Micros): void {
    for (const [seq, sent] of this.#sent) this.#put(seq, sent, mono);
  }

  /** Returns and clears the frames to be sent, in order. */
  takeFrames(): readonly Frame<Op>[] {
    return takeAll(this.#out);
  }

  /** When to send what was gathered. */
  get #dueAt(): Micros {
    return this.#sent.size === 0 ? this.#idleDue : this.#busyDue;
  }

  #flush(mono: Micros): void {
    if (this.#gathered.length === 0 || this.#sent.size >= FRAMES_MAX) return;
    const sent: Sent<Op> = { ops: this.#gathered, bytes: this.#gatheredBytes, sentAt: mono };
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#idleDue = Number.POSITIVE_INFINITY;
    this.#busyDue = Number.POSITIVE_INFINITY;
    this.#sent.set(++this.#lastSeq, sent);
    this.#sentBytes += sent.bytes;
    this.#put(this.#lastSeq, sent, mono);
  }

  #put(seq: number, sent: Sent<Op>, mono: Micros): void {
    sent.sentAt = mono;
    this.#out.push(this.#frame(seq, sent.ops));
  }

  #acknowledge(): void {
    this.#out.push(this.#frame(0, []));
  }

  #frame(seq: number, ops: readonly Op[]): Frame<Op> {
    this.#ackAt = Number.POSITIVE_INFINITY;
    return { from: this.#options.own, to: this.#options.peer, seq, ack: this.#delivered, gap: this.#early.size > 0, ops };
  }

  /** Forgets the acknowledged frames. */
  #acknowledged(ack: number, mono: Micros): void {
    while (this.#acked < ack) {
      const sent = this.#sent.get(++this.#acked);
      this.#sent.delete(this.#acked);
      this.#sentBytes -= sent?.bytes ?? 0;
    }
    if (mono >= this.#dueAt) this.#flush(mono);
  }

  /** Sends a frame that the peer misses, at most once every 5 ms however often it is reported. */
  #resend(seq: number, mono: Micros): void {
    const sent = this.#sent.get(seq);
    if (sent !== undefined && mono - sent.sentAt >= RETRANSMIT_AFTER / 10) this.#put(seq, sent, mono);
  }
}

/** A frame of an ended instance may still arrive for this long. */
const REMEMBER_FOR: Micros = 60 * SECOND;

/** Options that all channels of one instance share. */
interface ChannelsOptions<Op> {
  readonly own: string;
  readonly bytesOf: (message: Op) => number;
}

/**
 * The channels of one instance, one for each other instance. A closed channel is never opened again under the same name:
 * late frames would be delivered a second time.
 */
export class Channels<Op> {
  readonly #options: ChannelsOptions<Op>;
  readonly #open = new Map<string, ReliableChannel<Op>>();
  /** Closed channels, with when they were closed. */
  readonly #closed = new Map<string, Micros>();

  constructor(options: ChannelsOptions<Op>) {
    this.#options = options;
  }

  /** Instances that a channel is open to. */
  get peers(): readonly string[] {
    return [...this.#open.keys()];
  }

  /** Returns the channel to an instance, or undefined if that instance has ended. */
  to(peer: string): ReliableChannel<Op> | undefined {
    if (this.#closed.has(peer)) return undefined;
    let channel = this.#open.get(peer);
    if (channel === undefined) {
      channel = new ReliableChannel({ ...this.#options, peer });
      this.#open.set(peer, channel);
    }
    return channel;
  }

  /** Receives a frame. Returns the operations that it completes, in order. */
  receive(frame: Frame<Op>, mono: Micros): readonly Op[] {
    if (frame.to !== this.#options.own) return [];
    return this.to(frame.from)?.receive(frame, mono) ?? [];
  }

  /** Closes the channel to an instance that has ended: nothing is sent to it, and what still arrives from it is ignored. */
  close(peer: string, mono: Micros): void {
    this.#open.delete(peer);
    this.#closed.set(peer, mono);
  }

  /** Advances time in all channels. */
  tick(mono: Micros): void {
    for (const channel of this.#open.values()) channel.tick(mono);
    for (const [peer, closedAt] of this.#closed) if (mono - closedAt > REMEMBER_FOR) this.#closed.delete(peer);
  }

  /** Returns when to call `tick` next. */
  wakeAt(): Micros {
    let at = Number.POSITIVE_INFINITY;
    for (const channel of this.#open.values()) at = Math.min(at, channel.wakeAt());
    return at;
  }

  /** Frames to be sent. */
  takeFrames(): readonly Frame<Op>[] {
    return [...this.#open.values()].flatMap((channel) => channel.takeFrames());
  }
}
