import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Authenticator,
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  errors,
  type NatsConnection,
  type ReconnectToServerHandler,
  type Status,
} from '@nats-io/transport-node';
import { MILLISECOND } from '../core/time.ts';
import { type ConnectionEvent, type ConnectionName, type NatsLogin, type NatsOptions, NatsUnsupported } from './options.ts';
import { unsupportedVersion } from './version.ts';

/** A server must take a record of the ledger with its headers in one message: nats-server's default. */
const PAYLOAD_MIN = 1 << 20;

/** Between two tries at the start, growing from the first to the second. */
const RETRY_MS = { first: 250, most: 2000 } as const;

/** Of a line that is opened. */
interface NatsClientDeps {
  readonly name: ConnectionName;
  readonly options: NatsOptions;
  readonly inboxPrefix: string;
  readonly onEvent: (change: ConnectionEvent) => void;
  /** When to give up, on the clock of `performance.now`. */
  readonly until: number;
}

/**
 * Connects, trying again until `until`. Rejects with {@link NatsUnsupported}: no server is there, the login is refused, or a server that
 * cannot be built on.
 */
export async function connectNats(deps: NatsClientDeps): Promise<NatsClient> {
  const options = connectOptions(deps);
  for (let wait: number = RETRY_MS.first; ; wait = Math.min(2 * wait, RETRY_MS.most)) {
    try {
      const connection = await connect(options);
      const unfit = unfitServer(connection);
      if (unfit === undefined) return new NatsClient(deps, connection);
      await connection.close();
      throw new NatsUnsupported(unfit);
    } catch (cause) {
      if (cause instanceof NatsUnsupported) throw cause;
      if (cause instanceof errors.AuthorizationError)
        throw new NatsUnsupported('NATS refuses the login; correct cluster.credentials, cluster.user or cluster.token.');
      const why = `NATS at ${deps.options.servers.join(', ')} cannot be reached: ${reason(cause)}`;
      if (performance.now() + wait > deps.until)
        throw new NatsUnsupported(`${why}; start it, correct cluster.nats or cluster.tls, or raise cluster.startWithin.`, { cause });
      deps.onEvent({ kind: 'waiting', why });
      await sleep(wait);
    }
  }
}

/** One connection that never gives up. */
export class NatsClient {
  readonly connection: NatsConnection;
  readonly inboxPrefix: string;
  readonly #name: ConnectionName;
  readonly #onEvent: (change: ConnectionEvent) => void;
  #connected = true;
  #watched: Promise<void>;

  constructor(deps: Pick<NatsClientDeps, 'name' | 'inboxPrefix' | 'onEvent'>, connection: NatsConnection) {
    this.connection = connection;
    this.inboxPrefix = deps.inboxPrefix;
    this.#name = deps.name;
    this.#onEvent = deps.onEvent;
    this.#watched = this.#watch();
    this.#onEvent({ kind: 'connected', line: this.#name, again: false, ...this.#server });
  }

  /** As far as the client knows: a server that froze is noticed by pings, within a second. */
  get connected(): boolean {
    return this.#connected && !this.connection.isClosed();
  }

  /** Of the server it is connected to, or was. */
  get version(): string {
    return this.connection.info?.version ?? '';
  }

  /** Sends what waits to be sent, and hangs up. */
  async close(): Promise<void> {
    if (this.connected) await this.connection.drain().catch(() => {});
    await this.connection.close();
    await this.#watched;
  }

  get #server(): { readonly server: string; readonly version: string } {
    return { server: this.connection.info?.server_name ?? this.connection.getServer(), version: this.version };
  }

  async #watch(): Promise<void> {
    for await (const status of this.connection.status()) this.#onStatus(status);
    this.#connected = false;
    this.#onEvent({ kind: 'closed', line: this.#name });
  }

  #onStatus(status: Status): void {
    const line = this.#name;
    if (status.type === 'disconnect') {
      this.#connected = false;
      this.#onEvent({ kind: 'disconnected', line, server: status.server });
    } else if (status.type === 'reconnect') {
      this.#connected = true;
      this.#onEvent({ kind: 'connected', line, again: true, ...this.#server });
      const unfit = unfitServer(this.connection);
      if (unfit !== undefined) this.#onEvent({ kind: 'unfit', line, why: unfit });
    } else if (status.type === 'ldm') {
      this.#onEvent({ kind: 'leaving', line, server: status.server });
      // With one server there is nowhere to go before it ends.
      if (this.connection.getServers().length > 1) void this.connection.reconnect();
    } else if (status.type === 'error') {
      this.#onEvent({ kind: 'refused', line, why: reason(status.error) });
    }
  }
}

/** Why the server that this is connected to cannot be built on. */
function unfitServer({ info }: NatsConnection): string | undefined {
  if (info === undefined) return undefined;
  const server = `NATS server ${info.server_name ?? info.server_id}`;
  const version = unsupportedVersion(info.version);
  if (version !== undefined) return `${server}: ${version}.`;
  if (info.headers !== true) return `${server} has headers switched off; switch them on.`;
  if (info.max_payload < PAYLOAD_MIN) return `${server} takes messages of ${info.max_payload} bytes only; set its max_payload to 1MB or more.`;
  return undefined;
}

function connectOptions({ name, options, inboxPrefix }: NatsClientDeps): ConnectionOptions {
  const { login, tls } = options;
  const encrypted = tls !== undefined || options.servers.some((server) => server.startsWith('tls://'));
  return {
    servers: options.servers.map((server) => server.replace(/^(nats|tls):\/\//, '')),
    name: `${options.name} ${name}`,
    inboxPrefix,
    ...authenticatorOf(login),
    ...(encrypted ? { tls: tlsOptions(tls) } : {}),
    // Defaults are ten attempts, and a dead server noticed after four minutes (docs/design/coordination.md, 7).
    maxReconnectAttempts: -1,
    ...reconnectDelays(() => performance.now(), Math.random),
    timeout: options.dialWithin / MILLISECOND,
    pingInterval: 300,
    maxPingOut: 2,
    // A login that a server refuses twice may be right again after the next change there.
    ignoreAuthErrorAbort: true,
    noAsyncTraces: true,
  };
}

function tlsOptions(tls: NatsOptions['tls']): NonNullable<ConnectionOptions['tls']> {
  return {
    ...(tls?.ca === undefined ? {} : { caFile: tls.ca }),
    ...(tls?.cert === undefined ? {} : { certFile: tls.cert }),
    ...(tls?.key === undefined ? {} : { keyFile: tls.key }),
    ...(tls?.first === true ? { handshakeFirst: true } : {}),
  };
}

function authenticatorOf(login: NatsLogin): Pick<ConnectionOptions, 'authenticator' | 'user' | 'pass' | 'token'> {
  switch (login.kind) {
    case 'none':
      return {};
    case 'user':
      return { user: login.user, pass: login.password };
    case 'token':
      return { token: login.token };
    case 'credentials':
      return { authenticator: credentialsOf(login.file) };
  }
}

/** Reads the file at each connect; one that is just being replaced, or is gone, leaves the last good one in force. */
function credentialsOf(file: string): Authenticator {
  let last: Authenticator | undefined;
  const authenticator: Authenticator = (nonce) => {
    try {
      const next = credsAuthenticator(readFileSync(file));
      const answer = next(nonce);
      last = next;
      return answer;
    } catch (cause) {
      if (last === undefined) throw cause;
      return last(nonce);
    }
  };
  try {
    authenticator('');
  } catch {
    // Without the reason: an error of the parser could quote what is in it.
    throw new NatsUnsupported(`${file} is not there, or is no NATS credentials file; correct cluster.credentials.`);
  }
  return authenticator;
}

/** The end of the chain of causes, where the reason is. */
function reason(cause: unknown): string {
  const deepest = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  if (!(deepest instanceof Error)) return String(deepest);
  // A connection to several addresses fails with all their errors, and no message.
  if (deepest instanceof AggregateError) return deepest.errors.map(reason).join('; ');
  return deepest.message || deepest.name;
}

/** Between two dials of one server. The client's own default is two seconds. */
const DIAL_EACH_MS = 50;
const DIAL_JITTER_MS = 20;

/** Servers remembered at most; clusters are small. */
const SERVERS_MAX = 100;

/**
 * When a lost connection's servers are dialled: at once, and then each every 50 to 70 ms, as `now` (in milliseconds) counts.
 * The client by itself goes by the wall clock (nats.js `dodialLoop`): set back by an hour, it dials no server for that hour.
 */
export function reconnectDelays(now: () => number, random: () => number): Required<Pick<ConnectionOptions, 'reconnectDelayHandler' | 'reconnectToServer'>> {
  const next = new Map<string, number>();
  const reconnectToServer: ReconnectToServerHandler = ([server]) => {
    if (server === undefined) return null;
    const at = Math.max(now(), next.get(server.listen) ?? 0);
    if (next.size >= SERVERS_MAX) next.clear();
    next.set(server.listen, at + DIAL_EACH_MS + random() * DIAL_JITTER_MS);
    return { server, delay: Math.ceil(at - now()) };
  };
  // No dial is ever too early for the client.
  return { reconnectDelayHandler: () => Number.NEGATIVE_INFINITY, reconnectToServer };
}
