import type { Micros } from '../core/time.ts';

/** Who this process is to the NATS servers. Files are read again at each connect, so that what is in them can be replaced. */
export type NatsLogin =
  | { readonly kind: 'none' }
  /** A `.creds` file: a JWT and its seed. */
  | { readonly kind: 'credentials'; readonly file: string }
  | { readonly kind: 'user'; readonly user: string; readonly password: string }
  | { readonly kind: 'token'; readonly token: string };

/** Encryption to the NATS servers: PEM files; without `ca` the system's authorities count. */
export interface NatsTls {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** TLS from the first byte, for servers with `handshake_first`. */
  readonly first: boolean;
}

/** Where NATS is and what is kept there. */
export interface NatsOptions {
  /** `nats://host:port`; with `tls://` anywhere among them every connection is encrypted. */
  readonly servers: readonly string[];
  readonly login: NatsLogin;
  /** undefined: encrypted if the server offers it, or a URL says `tls://`. */
  readonly tls: NatsTls | undefined;
  /** Begins every subject and, in capitals, every stream: small letters, digits, `-` and `_`. */
  readonly prefix: string;
  /** What the servers call the connections; for people. */
  readonly name: string;
  /** Copies of each stream; auto: 3 where the server is clustered, else 1. */
  readonly replicas: 'auto' | 1 | 3;
  /** Bytes that the ledger may take, over all its streams. */
  readonly ledgerBytes: number;
  /** NATS must be there and in order this soon after the start. */
  readonly startWithin: Micros;
  /** A server that has not taken a connection by then is passed over. */
  readonly dialWithin: Micros;
  /** A register that has not answered by then counts as unknown. */
  readonly answerWithin: Micros;
}

/** The connections: `ledger` is for large writes, so that they never delay a heartbeat on `data`; `requests` for stored requests with their bodies. */
export type ConnectionName = 'data' | 'ledger' | 'requests';

/** What becomes of the connections, for the log and for callers that decide by it. */
export type ConnectionEvent =
  /** At the start: NATS is not there, or not ready; it is tried again. */
  | { readonly kind: 'waiting'; readonly why: string }
  | { readonly kind: 'connected'; readonly line: ConnectionName; readonly server: string; readonly version: string; readonly again: boolean }
  | { readonly kind: 'disconnected'; readonly line: ConnectionName; readonly server: string }
  /** The server is about to stop (lame duck); the connection moves to another one. */
  | { readonly kind: 'leaving'; readonly line: ConnectionName; readonly server: string }
  /** A server joined that must not be built on, or a stream is not what it was: an operator must see to it. */
  | { readonly kind: 'unfit'; readonly line: ConnectionName; readonly why: string }
  /** A server complained: a right is missing, the login has run out. */
  | { readonly kind: 'refused'; readonly line: ConnectionName; readonly why: string }
  /** For good: by `close`, never by the network. */
  | { readonly kind: 'closed'; readonly line: ConnectionName };

/** NATS cannot be used as it is: one sentence with what to do. Never holds a secret. */
export class NatsUnsupported extends Error {
  override readonly name = 'NatsUnfit';
}
