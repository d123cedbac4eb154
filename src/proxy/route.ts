import type { Micros } from '../core/time.ts';

/** Where a text of a request comes from. */
export type Source =
  /** A header, by lower-case name; the first of repeated ones. */
  | { readonly from: 'header'; readonly name: string }
  /** A segment that the path pattern names: `/resource/{id}`. */
  | { readonly from: 'path'; readonly name: string }
  /** A member of the query, decoded; the first of repeated ones. */
  | { readonly from: 'query'; readonly name: string }
  /** The credential's name. */
  | { readonly from: 'caller' }
  /** The address of the client, as trusted proxies report it. */
  | { readonly from: 'client_ip' }
  /** Always this. */
  | { readonly from: 'value'; readonly value: string };

/** Steps into a JSON value: names of members, and numbers of items (negative: from the end). */
export type JsonPath = readonly (string | number)[];

/** What one unit costs. */
export interface CostRule {
  readonly unit: string;
  /** Read before admission; undefined: `fallback` always. A `json` path holds up to 1 MiB of the body to look for it. */
  readonly ask: Source | { readonly from: 'json'; readonly path: JsonPath } | undefined;
  /** Where `ask` says nothing, or no whole number from 0. */
  readonly fallback: number;
  /** Where the backend's answer (JSON, or the last events of an SSE stream) contains what it really cost; undefined: the cost charged at admission stays. */
  readonly settle: JsonPath | undefined;
}

/** How a route's requests are admitted. */
export interface RouteAdmission {
  readonly group: string;
  readonly key: Source | undefined;
  /** Names a class of the group; undefined, or a name the group does not know: the group's default. */
  readonly priorityClass: Source | undefined;
  /** Names of classes the group knows. */
  readonly classes: ReadonlySet<string>;
  /** Beside `requests: 1`. */
  readonly costs: readonly CostRule[];
  /** Wait timeout of a request that sets none (the group's default). */
  readonly wait: Micros;
  /** Life of the lease; undefined: the group's default. It is renewed while the backend works. */
  readonly lease: Micros | undefined;
  /**
   * `body`: admitted, and charged, once the body is there, or may stream (`early.ts`): a slow sender holds no capacity.
   * `headers`: at once, the body streams through unbuffered if the request need not wait, whatever its sender does.
   */
  readonly charge: 'body' | 'headers';
  /** Longest pause a backend's pushback makes (the group's `pushback.max`). */
  readonly pushbackMax: Micros;
}

/** How much of a body is held, and how long it may take; bytes. */
export interface HoldLimits {
  /** A longer body is `too_large`, before anything is charged. */
  readonly bodyBytesMax: number;
  /** Beyond, a body goes to disk; a longer one may stream. */
  readonly memoryBytesMax: number;
  /** Held for all requests of one group, in memory and on disk. */
  readonly groupBytesMax: number;
  /** A body must be whole within this long of its sender's time (charge `body`). */
  readonly receiveMax: Micros;
  /** After the first 5 s a sender below this many bytes a second is given up. */
  readonly bytesPerSecondMin: number;
}

/** Fields of requests that are not sent on, by lower-case names and beginnings of names. */
export interface DroppedHeaders {
  readonly names: ReadonlySet<string>;
  readonly prefixes: readonly string[];
}

/** One route, compiled; matching is the listener's. */
export interface Route {
  /** For logs and metrics: `routes[3]`, or its path. */
  readonly name: string;
  readonly backend: string;
  /** undefined: passes straight through. */
  readonly admission: RouteAdmission | undefined;
  readonly hold: HoldLimits;
  /** Times a request is sent at most, pushback and failures together; 1: never again. */
  readonly attemptsMax: number;
  /** undefined: all fields are sent on that may be. */
  readonly drops?: DroppedHeaders | undefined;
}

/** TLS towards a backend. */
export interface BackendTls {
  /** PEM texts of the authorities to trust; undefined: the system's. */
  readonly ca: string | undefined;
  /** PEM texts to show. */
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** Name in the certificate, and in SNI; undefined: the URL's host. */
  readonly servername: string | undefined;
}

/** Headers in which a backend says what is left of a quota of its own; lower-case names. */
export interface QuotaHeaders {
  /** At 0 it wants quiet, whatever the status. */
  readonly remaining: string | undefined;
  /** When there is more; undefined: the known names. */
  readonly reset: string | undefined;
  /** The same, where it is there, before `reset`; undefined: Retry-After. */
  readonly retryAfter: string | undefined;
}

/** One backend, compiled. */
export interface BackendSpec {
  readonly name: string;
  /** Origins: `http://10.0.0.1:7780`, `https://shop.internal`; without path, query or credentials. At least one. */
  readonly urls: readonly string[];
  readonly timeout: {
    readonly connect: Micros;
    /** From the end of the request to the answer's head. */
    readonly firstByte: Micros;
    /** Between two pieces of the answer. */
    readonly idle: Micros;
  };
  /** Requests on their way at once, for each URL, in this replica; undefined: no bound. */
  readonly concurrency: number | undefined;
  /** Requests that wait for a URL with room at most, and for how long those wait that have no wait timeout of their own. */
  readonly queue: { readonly requestsMax: number; readonly wait: Micros };
  /** What becomes of a request whose caller left: given up, or carried to its end with its slot held. */
  readonly onAbort: 'cancel' | 'finish';
  /** Consecutive failures that eject a URL, and for how long; then one request probes it. */
  readonly eject: { readonly failures: number; readonly for: Micros };
  /** Connections older than this are not used again, so that a changed DNS record is followed. */
  readonly resolveEvery: Micros;
  /** undefined: what is left is not looked at. */
  readonly quotaHeaders?: QuotaHeaders | undefined;
  readonly tls: BackendTls | undefined;
}

/** What is known of a request beside its bytes; the listener's findings. */
export interface RequestContext {
  /** Segments that the path pattern names, decoded. */
  readonly params: ReadonlyMap<string, string>;
  /** The credential's name; '' without auth. */
  readonly caller: string;
  /** Address of the client, as trusted proxies report it. */
  readonly clientIp: string;
  /** Address of the other end of the connection. */
  readonly peerIp: string;
  /** The other end is a trusted proxy: its Forwarded and X-Forwarded-* are kept and added to. */
  readonly peerTrusted: boolean;
  readonly scheme: 'http' | 'https';
}
