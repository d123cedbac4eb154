import type { GroupSettings } from '../../src/admission/admission.ts';
import { ONE_REQUEST } from '../../src/core/group.ts';
import type { RequestScope, Submission, SubmitOutcome } from '../../src/deferred/deferred.ts';
import type { DeferredRoute } from '../../src/deferred/deferred-route.ts';
import type { DeferredEvent } from '../../src/deferred/request-lifecycle.ts';
import { createDeferred, type DeferredService } from '../../src/deferred/service.ts';
import type { LocalStore } from '../../src/deferred/store.ts';
import { MemoryDisk, MemoryStore } from '../../src/deferred/stores/memory.ts';
import { firstHeader } from '../../src/proxy/headers.ts';
import type { ForwardHandle, IncomingRequest, ResponseSink } from '../../src/proxy/incoming.ts';
import { Rig } from '../admission/rig.ts';
import { settled } from '../support/fakes/clock.ts';

/** One request as a backend saw it. */
export interface Seen {
  readonly at: number;
  readonly method: string;
  readonly target: string;
  readonly key: string;
  readonly attempt: number;
  readonly body: string;
}

/** What a backend does with a request; `status` 0 never answers. */
export type Behaviour = (
  seen: Seen,
) => { readonly status: number; readonly headers?: readonly string[]; readonly body?: string; readonly takesMs?: number } | { readonly fails: 502 | 503 | 504 };

/** A route to send by, with short times. */
export function routeOf(more: Partial<DeferredRoute> = {}): DeferredRoute {
  return {
    name: 'hook',
    group: 'g',
    backend: 'shop',
    forward: { name: 'hook', backend: 'shop', admission: undefined, attemptsMax: 1 } as DeferredRoute['forward'],
    costs: [],
    leaseMs: 10_000,
    timeoutMs: 30_000,
    success: '2xx',
    retry: { forMs: 86_400_000, firstMs: 1_000, maxMs: 600_000, delaysMs: undefined, attemptsMax: undefined },
    keep: { resultsMs: 3_600_000, deadMs: 86_400_000, dedupeMs: 600_000 },
    order: 'none',
    onDead: 'continue',
    pushback: 'group',
    resultBytesMax: 65_536,
    sign: undefined,
    callback: undefined,
    ...more,
  };
}

/** Deferred requests over a real local admission, a virtual clock, a scripted backend, and a store that outlives a restart. */
export class DeferredRig {
  readonly admission: Rig;
  readonly routes: Map<string, DeferredRoute>;
  readonly seen: Seen[] = [];
  readonly events: DeferredEvent[] = [];
  /** Faults are made on purpose: they are kept in {@link faults}, and not thrown. */
  hasFaults = false;
  readonly faults: unknown[] = [];
  readonly disk: MemoryDisk;
  /** Targets in the order in which they were given to the backend's client. */
  readonly started: string[] = [];
  inFlightBytesMax = 1 << 30;
  behave: Behaviour = () => ({ status: 200, body: 'ok' });
  service!: DeferredService;
  store: LocalStore;
  /** Draws for jitter; 1: the whole backoff. */
  random = 1;
  readonly #settings: readonly GroupSettings[];

  constructor(
    settings: readonly GroupSettings[],
    options: { readonly routes?: readonly DeferredRoute[]; readonly disk?: MemoryDisk; readonly rig?: Rig } = {},
  ) {
    this.#settings = settings;
    this.disk = options.disk ?? new MemoryDisk();
    this.admission = options.rig ?? new Rig(settings, { recording: false });
    this.routes = new Map((options.routes ?? [routeOf()]).map((route) => [route.name, route]));
    this.store = new MemoryStore({ disk: this.disk, bytesMax: 1 << 30 });
  }

  async start(): Promise<this> {
    await this.admission.admission.start();
    const { admission, clock } = this.admission;
    this.service = await createDeferred({
      store: this.store,
      line: admission,
      admission: admission,
      forwarding: { deliver: (incoming, _route, sink) => this.#deliver(incoming, sink) },
      clock,
      routes: () => this.routes,
      settings: (group) => this.#settings.find(({ spec }) => spec.name === group),
      events: (event) => this.events.push(event),
      onError: (error) => {
        if (!this.hasFaults) throw error;
        this.faults.push(error);
      },
      defer: (run) => void setImmediate(run),
      random: () => this.random,
      bounds: { inFlightMax: 1_000, inFlightBytesMax: this.inFlightBytesMax, downAfter: 5, probeMs: 3_000 },
    });
    return this;
  }

  /** Milliseconds since 1970, by the virtual clock. */
  get nowMs(): number {
    const { clock } = this.admission;
    return clock.epoch(clock.now());
  }

  async submit(more: Partial<Submission> = {}): Promise<Extract<SubmitOutcome, { kind: 'accepted' }>> {
    const outcome = await this.trySubmit(more);
    if (outcome.kind !== 'accepted') throw new Error(`refused: ${JSON.stringify(outcome.refusal)}`);
    return outcome;
  }

  async trySubmit(more: Partial<Submission> = {}): Promise<SubmitOutcome> {
    const outcome = await this.service.submit({ ...SUBMISSION, ...more });
    await settled();
    return outcome;
  }

  /** Time passes, and what it wakes settles. */
  async pass(seconds: number): Promise<void> {
    await this.admission.pass(seconds);
    await settled();
  }

  #deliver(incoming: IncomingRequest, sink: ResponseSink): ForwardHandle {
    let left = false;
    this.started.push(incoming.target);
    void (async () => {
      const pieces: Uint8Array[] = [];
      if (incoming.body !== undefined) for await (const piece of incoming.body.stream) pieces.push(piece as Uint8Array);
      const seen: Seen = {
        at: this.nowMs,
        method: incoming.method,
        target: incoming.target,
        key: firstHeader(incoming.headers, 'idempotency-key') ?? '',
        attempt: (incoming.sent?.attemptsBefore ?? 0) + 1,
        body: Buffer.concat(pieces).toString(),
      };
      this.seen.push(seen);
      const answer = this.behave(seen);
      const tell = (): void => {
        if (left) return;
        if ('fails' in answer) return sink.onNone({ kind: 'failed', status: answer.fails, detail: '', attempts: 1, cause: new Error('scripted') });
        if (answer.status === 0) return;
        sink.onHead({ status: answer.status, statusText: '', headers: answer.headers ?? [] });
        if (answer.body !== undefined) sink.onData(Buffer.from(answer.body), () => {});
        sink.onEnd([]);
      };
      const { clock } = this.admission;
      const takesMs = 'status' in answer ? answer.takesMs : undefined;
      if (takesMs === undefined) tell();
      else clock.at((clock.now() + takesMs * 1_000) as ReturnType<typeof clock.now>, tell);
    })();
    return {
      leave: () => {
        left = true;
      },
    };
  }
}

/** May see everything. */
export const ANYONE: RequestScope = { caller: '', all: true, groups: undefined, key: undefined };

/** A submission to the route `hook`. */
export const SUBMISSION: Submission = {
  route: 'hook',
  group: 'g',
  key: '',
  priorityClass: undefined,
  costs: ONE_REQUEST,
  host: 'shop.example',
  method: 'POST',
  target: '/orders?id=1',
  headers: ['Content-Type', 'text/plain'],
  body: Buffer.from('hello'),
  caller: '',
  idempotencyKey: '',
  dedupeId: '',
  notBeforeMs: undefined,
  deadlineMs: undefined,
  timeoutMs: undefined,
  retries: undefined,
  callback: '',
};
