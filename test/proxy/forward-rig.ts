import { PassThrough } from 'node:stream';
import type { AdmissionService, GroupSettings } from '../../src/admission/admission.ts';
import type { GroupSpec, LimitSpec } from '../../src/core/group.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import type { ForwardEvent, Forwarding } from '../../src/proxy/forwarding.ts';
import { createForwarding } from '../../src/proxy/forwarding-service.ts';
import type { ForwardFailure, ForwardHandle, IncomingRequest, ResponseSink } from '../../src/proxy/incoming.ts';
import type { BackendSpec, RequestContext, Route, RouteAdmission } from '../../src/proxy/route.ts';
import type { BackendHead, RawHeaders } from '../../src/proxy/upstream/forwarder.ts';
import { type Rig, rigged, settingsOf } from '../admission/rig.ts';
import { group } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { PlayedForwarder } from '../support/fakes/forwarder.ts';

export const FACTS: RequestContext = { params: new Map(), caller: '', clientIp: '192.0.2.7', peerIp: '192.0.2.7', peerTrusted: false, scheme: 'http' };

/** A caller who hears what becomes of its request. */
export class ForwardCaller implements ResponseSink {
  readonly sender = new PassThrough();
  readonly information: BackendHead[] = [];
  head: BackendHead | undefined;
  body = '';
  ended = 0;
  none: ForwardFailure | undefined;
  broken: Error | undefined;
  /** Last calls so far; more than one is a defect. */
  told = 0;
  wanted = 0;
  delivery!: ForwardHandle;

  onInformation(head: BackendHead): void {
    this.information.push(head);
  }

  onHead(head: BackendHead): void {
    if (this.head !== undefined) throw new Error('two heads');
    this.head = head;
  }

  onData(chunk: Uint8Array): boolean {
    this.body += Buffer.from(chunk).toString('latin1');
    return true;
  }

  onEnd(_trailers: RawHeaders): void {
    this.ended++;
    this.told++;
  }

  onNone(why: ForwardFailure): void {
    this.none = why;
    this.told++;
  }

  onBroken(cause: Error): void {
    this.broken = cause;
    this.told++;
  }

  header(name: string): string | undefined {
    const headers = this.head?.headers ?? [];
    const at = headers.findIndex((each, i) => i % 2 === 0 && each.toLowerCase() === name);
    return at < 0 ? undefined : headers[at + 1];
  }

  /** Why it was refused: the reason, or what kind of failure. */
  get refused(): string | undefined {
    return this.none?.kind === 'refused' ? this.none.refusal.reason : this.none?.kind;
  }
}

/** What a test chooses. */
export interface ForwardRigOptions {
  readonly settings?: readonly GroupSettings[];
  readonly backend?: Partial<BackendSpec>;
  /** What forwarding asks, in place of the gates themselves. */
  readonly admission?: (gates: AdmissionService) => AdmissionService;
  readonly hold?: { readonly memoryBytesMax: number; readonly diskBytesMax: number; readonly folder: string };
}

/** Forwarding over real gates, a clock that moves when told, and a backend played by hand. */
export class ForwardRig {
  readonly rig: Rig;
  readonly played = new PlayedForwarder();
  readonly events: ForwardEvent[] = [];
  readonly faults: unknown[] = [];
  forwarding!: Forwarding;

  constructor(rig: Rig) {
    this.rig = rig;
  }

  /** Sends a request; bodies are written to `sender`, which ends where `body` is given. */
  send(more: Partial<Omit<IncomingRequest, 'body'>> & { body?: string | 'open'; length?: number } = {}, route: Route = routeOf()): ForwardCaller {
    const caller = new ForwardCaller();
    const { body, length, ...rest } = more;
    if (body !== undefined && body !== 'open') caller.sender.end(body);
    const incoming: IncomingRequest = {
      method: 'GET',
      target: '/',
      headers: ['Host', 'shop'],
      facts: FACTS,
      wait: undefined,
      ...rest,
      body: body === undefined ? undefined : { length: body === 'open' ? length : body.length, stream: caller.sender, wanted: () => caller.wanted++ },
    };
    caller.delivery = this.forwarding.deliver(incoming, route, caller);
    return caller;
  }

  /** Sends, and lets promises settle. */
  async sent(...args: Parameters<ForwardRig['send']>): Promise<ForwardCaller> {
    const caller = this.send(...args);
    await quiet();
    return caller;
  }

  pass(seconds: number): Promise<void> {
    return this.rig.pass(seconds);
  }

  /** Slots of the group in use. */
  get leases(): number {
    const group = this.rig.admission.group('g');
    return 'reason' in group ? -1 : group.leases;
  }

  /** Nothing is left of any request. */
  get clean(): boolean {
    const { memory, disk, bodies } = this.forwarding.held;
    return memory + disk + bodies === 0 && this.rig.waiting() === 0 && this.leases === 0;
  }
}

/** Lets promises settle, some way down. */
export async function quiet(): Promise<void> {
  for (let i = 0; i < 8; i++) await settled();
}

/** A group `g` with these limits. */
export function groupOf(limits: readonly LimitSpec[], more: Partial<Omit<GroupSettings, 'spec'>> = {}, spec: Partial<GroupSpec> = {}): GroupSettings {
  return settingsOf(group('g', limits, spec), more);
}

/** A route to the backend `shop`, through group `g`. */
export function routeOf(admission: Partial<RouteAdmission> = {}, more: Partial<Route> = {}): Route {
  return {
    name: 'routes[0]',
    backend: 'shop',
    admission: {
      group: 'g',
      key: { from: 'header', name: 'x-tenant' },
      priorityClass: { from: 'header', name: 'x-group' },
      classes: new Set(),
      costs: [],
      wait: 30 * SECOND,
      lease: undefined,
      charge: 'body',
      pushbackMax: MINUTE,
      ...admission,
    },
    hold: { bodyBytesMax: 4 << 20, memoryBytesMax: 4 << 20, groupBytesMax: 8 << 20, receiveMax: MINUTE, bytesPerSecondMin: 100 },
    attemptsMax: 3,
    ...more,
  };
}

/** Forwarding that is open. */
export async function forwardRigged(options: ForwardRigOptions = {}): Promise<ForwardRig> {
  const rig = await rigged(options.settings ?? [groupOf([])], { recording: false });
  const all = new ForwardRig(rig);
  const spec: BackendSpec = {
    name: 'shop',
    urls: ['http://a', 'http://b'],
    timeout: { connect: SECOND, firstByte: MINUTE, idle: MINUTE },
    concurrency: undefined,
    onAbort: 'cancel',
    eject: { failures: 5, for: 10 * SECOND },
    queue: { requestsMax: 10_000, wait: 30 * SECOND },
    resolveEvery: MINUTE,
    tls: undefined,
    ...options.backend,
  };
  all.forwarding = await createForwarding({
    admission: options.admission?.(rig.admission) ?? rig.admission,
    clock: rig.clock,
    backends: [spec],
    forwarder: () => all.played,
    hold: options.hold ?? { memoryBytesMax: 16 << 20, diskBytesMax: 0, folder: '' },
    random: (bytes) => new Uint8Array(bytes).fill(1),
    events: (event) => all.events.push(event),
    onError: (error) => all.faults.push(error),
  });
  return all;
}
