import { type buildConnector, Client, type Dispatcher } from 'undici';
import type { Millis } from '../../core/time.ts';
import { InterimFilter } from '../interim-responses.ts';
import { HeadFirst } from './head-first.ts';

/** A connection that was not needed for so long is forgotten; its socket was closed long before. */
const UNUSED_MS: Millis = 60_000;

/** What connections are made of. */
export interface ConnectionPoolOptions {
  readonly origin: string;
  readonly options: Client.Options & { readonly connect: buildConnector.connector };
  /** A connection older than this is used no more. */
  readonly ageMsMax: Millis;
  /** From any moment on; never back. */
  readonly now: () => Millis;
}

/** Callbacks of a request. */
export interface ConnectionHandler extends Dispatcher.DispatchHandler {
  /** Its request is at its end, or was given up. */
  readonly over: boolean;
}

/** One connection, as undici sees it: with no socket, or one, or one after another. */
interface PooledConnection {
  readonly client: Client;
  readonly interim: InterimFilter;
  readonly headFirst: HeadFirst;
  /** When its socket was opened; undefined: it never was. */
  openedAt: number | undefined;
  free: boolean;
  freeSince: number;
  /** The last request. */
  handler: ConnectionHandler | undefined;
}

/**
 * The connections to one URL, each with one request at a time, as many as there are requests. Who wants one gets the one that was
 * used last, at a cost that does not grow with their number: undici's own `Pool` looks through all of them.
 */
export class ConnectionPool {
  readonly #options: ConnectionPoolOptions;
  readonly #all = new Set<PooledConnection>();
  /** The last used at the end. */
  readonly #free: PooledConnection[] = [];
  #closed = false;

  constructor(options: ConnectionPoolOptions) {
    this.#options = options;
  }

  /** How many there are, idle ones among them. */
  get size(): number {
    return this.#all.size;
  }

  /** Sends on a free connection, or a new one; `marked`: the body begins with `HEAD_ONLY`. After `close` the handler receives an error. */
  dispatch(options: Dispatcher.DispatchOptions, handler: ConnectionHandler, marked = false): void {
    if (this.#closed) return handler.onResponseError?.(undefined as never, new Error('The connections of this backend are closed.'));
    const line = this.#take();
    line.handler = handler;
    line.interim.arm();
    line.headFirst.arm(marked);
    // One that cannot be sent at all never made it busy, and no drain follows.
    if (line.client.dispatch(options, handler) || (handler.over && line.client.stats.size === 0)) this.#give(line);
  }

  /** Resolves when the last request is done; no new ones are taken. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#all].map(({ client }) => (client.destroyed ? undefined : client.close())));
  }

  /** Gives up every request on its way. */
  cut(): void {
    this.#closed = true;
    for (const { client } of this.#all) client.destroy().catch(ignore);
  }

  #take(): PooledConnection {
    const oldest = this.#options.now() - this.#options.ageMsMax;
    for (let line = this.#free.pop(); line !== undefined; line = this.#free.pop()) {
      line.free = false;
      if (line.openedAt === undefined || line.openedAt > oldest) return line;
      this.#forget(line);
    }
    return this.#opened();
  }

  #opened(): PooledConnection {
    const { origin, options } = this.#options;
    const interim = new InterimFilter();
    const headFirst = new HeadFirst();
    const connect: buildConnector.connector = (to, callback) =>
      options.connect(to, (...[error, socket]: Parameters<buildConnector.Callback>) => {
        // undici leaves the socket out beside an error.
        if (error !== null) return callback(error, null);
        interim.attach(socket);
        headFirst.attach(socket);
        callback(null, socket);
      });
    const client = new Client(origin, { ...options, connect });
    const line: PooledConnection = { client, interim, headFirst, openedAt: undefined, free: false, freeSince: 0, handler: undefined };
    client.on('connect', () => {
      line.openedAt = this.#options.now();
    });
    client.on('drain', () => {
      // A drain may be reported a little later than it was, when the next request is on its way.
      if (line.handler?.over) this.#give(line);
    });
    this.#all.add(line);
    return line;
  }

  #give(line: PooledConnection): void {
    if (this.#closed || line.free) return;
    line.free = true;
    line.handler = undefined;
    line.freeSince = this.#options.now();
    this.#free.push(line);
    const [first] = this.#free;
    if (first === undefined || first.freeSince + UNUSED_MS > line.freeSince) return;
    this.#free.shift();
    this.#forget(first);
  }

  #forget(line: PooledConnection): void {
    this.#all.delete(line);
    line.client.close().catch(ignore);
  }
}

function ignore(): void {}
