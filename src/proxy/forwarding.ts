import type { AdmissionService } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Tracer } from '../admission/tracing.ts';
import type { Micros } from '../core/time.ts';
import type { BufferedBody } from './body/buffered-body.ts';
import type { WatchLater } from './body/watch-later.ts';
import type { ForwardFailure, ForwardHandle, IncomingRequest, ResponseSink } from './incoming.ts';
import type { BackendSpec, Route } from './route.ts';
import type { Forwarder, RawHeaders } from './upstream/forwarder.ts';

/** What forwarding reports to telemetry; one per thing that happened. */
export type ForwardEvent =
  /** `outcome`: `answered`, `broken`, or why it failed. */
  | { readonly kind: 'attempt'; readonly route: string; readonly backend: string; readonly url: string; readonly outcome: string; readonly took: Micros }
  | { readonly kind: 'pushback'; readonly route: string; readonly backend: string; readonly retryAfter: Micros | undefined; readonly replayed: boolean }
  | { readonly kind: 'cost_missing'; readonly route: string; readonly unit: string; readonly stage: 'ask' | 'settle' }
  | { readonly kind: 'ejected' | 'restored'; readonly backend: string; readonly url: string };

/** What forwarding is made of. */
export interface ForwardingOptions {
  readonly admission: AdmissionService;
  readonly clock: Clock;
  readonly backends: readonly BackendSpec[];
  /** Makes the forwarder of a backend. */
  readonly forwarder: (spec: BackendSpec) => Forwarder;
  /** Held bytes of all requests: in memory, and on disk (0: never). */
  readonly hold: { readonly memoryBytesMax: number; readonly diskBytesMax: number; readonly folder: string };
  readonly random: (bytes: number) => Uint8Array;
  readonly events: (event: ForwardEvent) => void;
  /** Starts the spans of requests; undefined: tracing is off. */
  readonly tracer?: Tracer | undefined;
  /** Receives a throw, or a failure of the disk: a bug, or broken I/O. */
  readonly onError: (error: unknown) => void;
}

/** The same, as each request is sent with it. */
export interface ForwardingDeps extends ForwardingOptions {
  /** A new `traceparent`. */
  readonly traceparent: () => string;
  /** Permits whose leases need not be renewed yet. */
  readonly passes: WatchLater;
}

/** Where an upgrade may go; its slot is held, and its lease renewed, until `end`. */
export interface UpgradeTarget {
  /** Origin of the backend. */
  readonly url: string;
  readonly spec: BackendSpec;
  /** As for any request, fence included; `Connection` and `Upgrade` are the listener's to add. */
  readonly headers: RawHeaders;
  /** For the answer's head, after filtering with `responseHeaders`. */
  readonly added: RawHeaders;
  /** Reports that the backend answered, whatever its status: its URL is well, however long the tunnel lasts. */
  responding(): void;
  /** Ends it, once. Returns whether another way follows, or followed already: the backend could not be connected to and has another URL. */
  end(how: WayEnd): boolean;
}

/** How a way ended. */
export interface WayEnd {
  /** False: nothing reached the backend; the permit goes back. */
  readonly sent: boolean;
  /** False: counts against the URL. */
  readonly ok: boolean;
  /** The fields of an answer with 429 or 503, by which it pushed back. */
  readonly pushback?: RawHeaders;
}

/** Callbacks of an upgrade: ways until one is not ended by a failure to connect, or `onNone` once. */
export interface TunnelSink {
  onWay(way: UpgradeTarget): void;
  onNone(why: ForwardFailure): void;
  /** The lease was lost (revoked): close the tunnel. */
  onLost(cause: Error): void;
}

/** A request that is to be stored. */
export interface TakenRequest {
  /** Fields as a backend is to see them, but for what each attempt adds. */
  readonly headers: RawHeaders;
  /** Under the route's bounds of size and time; nothing is read before `receive`, and it must be dropped in the end. undefined: it has none. */
  readonly body: BufferedBody | undefined;
}

/** Forwarding, whole: what the listener calls. */
export interface Forwarding {
  /** Holds, admits, sends, answers through `sink`, releases. The backend must be known (`route.backend`). */
  deliver(incoming: IncomingRequest, route: Route, sink: ResponseSink): ForwardHandle;
  /** The same for an upgrade: holds, admits, chooses a URL, and hands both over; the listener connects and pipes. `leave` while waiting; `Way.end` after. */
  tunnel(incoming: IncomingRequest, route: Route, sink: TunnelSink): ForwardHandle;
  /** Takes a request in that is to be stored, not sent; undefined: one of its fields cannot be forwarded. */
  take(incoming: IncomingRequest, route: Route): TakenRequest | undefined;
  /**
   * Other backends: throws where they cannot be had; what it answers puts them in force, and cannot fail. What waits is then sent
   * to them, what is on its way ends where it is, and after it the connections of those that are gone are closed.
   */
  prepare(backends: readonly BackendSpec[]): () => void;
  /** Bytes and bodies held now, for metrics. */
  readonly held: { readonly memory: number; readonly disk: number; readonly bodies: number };
  /** Resolves when no request is on its way and the connections are closed; those still on their way after `grace` are given up, whatever `onAbort` is. */
  close(grace?: Micros): Promise<void>;
}
