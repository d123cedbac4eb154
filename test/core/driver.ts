import { Gate } from '../../src/core/gate/gate.ts';
import type { GateOptions, GateSnapshot } from '../../src/core/gate/snapshot.ts';
import type { Costs, GroupSpec } from '../../src/core/group.ts';
import { REQUESTS } from '../../src/core/group.ts';
import type { Disposition, Lease, LeaseRecord, Permit } from '../../src/core/permit.ts';
import type { Refusal } from '../../src/core/refusal.ts';
import type { Arrival, GateRequest } from '../../src/core/request.ts';
import type { Instant, Micros } from '../../src/core/time.ts';
import { DISTANT_PAST, HOUR, NEVER, SECOND } from '../../src/core/time.ts';
import { Disk } from './disk.ts';
import { Handle, permitOf } from './handle.ts';
import { START } from './specs.ts';

/** What a test says of an ask; the rest has defaults. */
export interface AskOptions {
  readonly name?: string;
  readonly group?: string;
  readonly key?: string;
  readonly priority?: number;
  /** Requests. */
  readonly cost?: number;
  readonly costs?: Costs;
  /** Wait timeout from now; an hour unless said. */
  readonly ttl?: Micros;
  readonly lease?: Micros;
  readonly bytes?: number;
  /** Its place before. */
  readonly since?: Arrival | undefined;
  readonly reported?: boolean;
}

/** One line of the history. */
export interface LogLine {
  readonly what: 'admitted' | 'refused' | 'cancelled';
  readonly at: Instant;
  readonly handle: Handle;
}

/** How a driver is set up. */
export interface DriverOptions extends Partial<Omit<GateOptions, 'groups'>> {
  readonly groups: readonly GroupSpec[];
  readonly now?: Instant;
  /** How long the disk takes to acknowledge; 0: within the same moment; NEVER: it hangs. */
  readonly ackDelay?: Micros;
  readonly disk?: Disk;
  /** The class to drive: a mutant instead of the real one. */
  readonly gateClass?: typeof Gate;
}

/** Drives one gate by a virtual clock: takes what it says after every call, and wakes it exactly when it asks for it. */
export class Driver {
  now: Instant;
  ackDelay: Micros;
  readonly gate: Gate;
  readonly disk: Disk;
  readonly handles: Handle[] = [];
  readonly log: LogLine[] = [];
  /** Leases that lapsed or were revoked, by serial. */
  readonly ended: { serial: number; how: string; at: Instant }[] = [];
  /** Leases and aggregate leases that were to be written so far. */
  readonly written: LeaseRecord[] = [];
  /** Ticks at `wakeAt` so far: what idle costs. */
  wakes = 0;
  /** Called after each event was taken; for checkers. */
  onAdmitted: ((handle: Handle) => void) | undefined;
  #acks: { at: Instant; write: () => void; tell: () => void }[] = [];
  #renewed: (() => void) | undefined;
  #first: string;

  constructor(parts: DriverOptions) {
    this.now = parts.now ?? START;
    this.ackDelay = parts.ackDelay ?? 0;
    this.disk = parts.disk ?? new Disk();
    this.#first = parts.groups[0]?.name ?? '';
    const gateClass = parts.gateClass ?? Gate;
    this.gate = new gateClass({
      term: parts.term ?? 1n,
      groups: parts.groups,
      from: parts.from ?? DISTANT_PAST,
      recording: parts.recording ?? false,
      restored: parts.restored,
      ...(parts.reports === undefined ? {} : { reports: parts.reports }),
      ...(parts.settledMax === undefined ? {} : { settledMax: parts.settledMax }),
    });
    this.settle();
  }

  /** Index of a group; throws when the tree has none of this name. */
  group(name: string = this.#first): number {
    const index = this.gate.groupOf(name);
    if (index === undefined) throw new Error(`no group ${name}`);
    return index;
  }

  /** Asks; `before` sees the handle before the gate does. */
  ask(options: AskOptions = {}, before?: (handle: Handle) => void): Handle {
    const serial = this.handles.length + 1;
    const groupName = options.group ?? this.#first;
    const ask: GateRequest = {
      group: this.group(groupName),
      key: options.key ?? '',
      priority: options.priority ?? 1,
      costs: options.costs ?? { [REQUESTS]: options.cost ?? 1 },
      waitUntil: (this.now + (options.ttl ?? HOUR)) as Instant,
      lease: options.lease ?? 30 * SECOND,
      bytes: options.bytes ?? 0,
      holder: options.name ?? `caller ${serial}`,
      tag: { high: serial, low: serial * 7 },
      token: undefined,
      since: options.since,
      reported: options.reported,
    };
    const handle = new Handle(options.name ?? `#${serial}`, groupName, ask, this.now);
    this.handles.push(handle);
    before?.(handle);
    handle.ref = this.gate.acquire(this.now, { ...ask, token: handle });
    this.settle();
    return handle;
  }

  cancel(handle: Handle): boolean {
    const cancelled = this.gate.cancel(this.now, handle.ref);
    if (cancelled) this.#end(handle, 'cancelled');
    this.settle();
    return cancelled;
  }

  release(handle: Handle, how: Disposition = 'used', costs?: Costs): boolean | Refusal {
    const permit = permitOf(handle);
    const answer = this.gate.release(this.now, permit.serial, permit.tag, how, costs);
    this.settle();
    return answer;
  }

  /** Renews; `then` runs when the caller may be told: at once, or when what must be written is on disk. */
  renew(handle: Handle, lease: Micros, then?: (lease: Lease) => void): Lease | Refusal {
    const permit = permitOf(handle);
    const answer = this.gate.renew(this.now, permit.serial, permit.tag, lease);
    if ('expiresAt' in answer && then) this.#renewed = () => then(answer);
    this.settle();
    this.#renewed?.();
    this.#renewed = undefined;
    return answer;
  }

  /** Trims the disk to a snapshot, if the gate knows all that is on it. */
  snapshot(): void {
    if (this.#acks.length === 0) this.disk.replace(this.gate.snapshot(this.now));
  }

  /** The process dies now. Of the writes under way the first `survivors` reached the disk, unacknowledged. */
  kill(survivors = 0): Disk {
    for (const ack of this.#acks.slice(0, survivors)) ack.write();
    this.#acks = [];
    return this.disk;
  }

  /** Runs any other call of the gate, then takes what it said. */
  call<T>(work: (gate: Gate, now: Instant) => T): T {
    const answer = work(this.gate, this.now);
    this.settle();
    return answer;
  }

  /** A session ends: its waiters leave, its leases are released. */
  disconnect(handles: readonly Handle[]): void {
    for (const handle of handles) if (handle.fate === 'waiting') this.gate.cancel(this.now, handle.ref) && this.#end(handle, 'cancelled');
    this.settle();
    for (const handle of handles) if (handle.permit?.lease) this.release(handle);
  }

  advance(by: Micros): void {
    this.runTo((this.now + by) as Instant);
  }

  /** Moves time on, waking the gate exactly when it asks, acknowledging in between. */
  runTo(until: Instant): void {
    let stuck = 0;
    for (;;) {
      const ackAt = this.#acks.length === 0 ? NEVER : Math.min(...this.#acks.map((ack) => ack.at));
      const next = Math.min(this.gate.wakeAt(this.now), ackAt) as Instant;
      if (next > until) break;
      stuck = next <= this.now ? stuck + 1 : 0;
      if (stuck > 100) throw new Error(`wakeAt asks for the same moment again and again: ${next} at ${this.now}`);
      if (next > this.now) this.now = next;
      this.#acknowledge();
      this.gate.tick(this.now);
      this.wakes += 1;
      this.settle();
    }
    if (until > this.now) this.now = until;
  }

  /** Moves time on without waking the gate: the timer comes late, or the process was stopped. */
  stall(by: Micros): void {
    this.now = (this.now + by) as Instant;
  }

  /** One tick now, as a late timer would. */
  tick(): void {
    this.gate.tick(this.now);
    this.settle();
  }

  /** Takes events and reservations until the gate has nothing more to say. */
  settle(): void {
    for (let round = 0; round < 10_000; round += 1) {
      const events = this.gate.takeEvents();
      for (const event of events) {
        if (event.kind === 'admitted') this.#admitted(event.token as Handle, event.permit, event.record);
        else if (event.kind === 'refused') this.#refused(event.token as Handle, event.refusal);
        else if (event.kind === 'renewed' && event.record) {
          this.#writeLease(event.record, this.#renewed);
          this.#renewed = undefined;
        } else if (event.kind === 'standing') this.#writeLease(event.record);
        else if (event.kind === 'ended') {
          this.ended.push({ serial: event.serial, how: event.how, at: this.now });
          if (event.recorded) this.#write(this.disk.end(event.group, event.term, event.serial));
        }
      }
      const reservations = this.gate.takeReservations();
      if (reservations.length > 0) this.#write(this.disk.reserve(reservations), () => this.gate.onReservationsPersisted(this.now, reservations));
      const acked = this.#acknowledge();
      // Thousands at once are done in slices: it asks to be called again at once.
      const more = this.gate.wakeAt(this.now) <= this.now;
      if (more) this.gate.tick(this.now);
      if (events.length === 0 && reservations.length === 0 && !acked && !more) return;
    }
    throw new Error('the gate never stops talking');
  }

  /** A process that dies now and starts again: what was not acknowledged is lost. */
  restored(): GateSnapshot {
    return this.disk.restored();
  }

  /** Names of the admitted, in order. */
  admitted(): readonly string[] {
    return this.log.filter((line) => line.what === 'admitted').map((line) => line.handle.name);
  }

  /** Seconds at which the admissions happened, in order. */
  times(): readonly number[] {
    return this.log.filter((line) => line.what === 'admitted').map((line) => (line.at - START) / SECOND);
  }

  #write(write: () => void, tell: () => void = () => undefined): void {
    this.#acks.push({ at: (this.now + this.ackDelay) as Instant, write, tell });
  }

  #writeLease(record: LeaseRecord, tell?: () => void): void {
    this.written.push(record);
    this.#write(this.disk.lease(record), () => {
      this.gate.onAggregatePersisted(record);
      tell?.();
    });
  }

  #acknowledge(): boolean {
    const due = this.#acks.filter((ack) => ack.at <= this.now);
    if (due.length === 0) return false;
    this.#acks = this.#acks.filter((ack) => ack.at > this.now);
    for (const ack of due) {
      ack.write();
      ack.tell();
    }
    return true;
  }

  #admitted(handle: Handle, permit: Permit, record: LeaseRecord | undefined): void {
    this.#end(handle, 'admitted');
    handle.permit = permit;
    if (record) this.#writeLease(record, handle.answer);
    else handle.answer();
    this.onAdmitted?.(handle);
  }

  #refused(handle: Handle, refusal: Refusal): void {
    this.#end(handle, 'refused');
    handle.refusal = refusal;
  }

  #end(handle: Handle, what: LogLine['what']): void {
    handle.told += 1;
    handle.fate = what;
    handle.at = this.now;
    this.log.push({ what, at: this.now, handle });
  }
}
