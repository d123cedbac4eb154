import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Instant } from '../../src/core/time.ts';
import { FakeDiscord, type FakeDiscordOptions } from './discord.ts';

/** CLOCK_MONOTONIC in microseconds. */
export function monotonicNow(): Instant {
  return Number(process.hrtime.bigint() / 1_000n) as Instant;
}

/** The fake of Discord behind HTTP: what `GET /api/v10/gateway/bot` answers, to the token `T`. */
export class DiscordServer {
  readonly discord: FakeDiscord;
  readonly #server: Server;

  private constructor(parts: Omit<FakeDiscordOptions, 'now'>) {
    this.discord = new FakeDiscord({ now: monotonicNow, ...parts });
    this.#server = createServer((request, response) => {
      const isKnown = request.url === '/api/v10/gateway/bot' && request.headers.authorization === 'Bot T';
      if (!isKnown) return void response.writeHead(401).end('{"message": "401: Unauthorized", "code": 0}');
      this.discord.limits().then(
        ({ total, remaining, resetAfter, maxConcurrency }) => {
          const limit = { total, remaining, reset_after: Math.ceil(resetAfter / 1_000), max_concurrency: maxConcurrency };
          response.end(JSON.stringify({ url: 'wss://gateway.discord.gg', shards: 16, session_start_limit: limit }));
        },
        () => void response.writeHead(503).end('down'),
      );
    });
  }

  static async start(parts: Omit<FakeDiscordOptions, 'now'>): Promise<DiscordServer> {
    const made = new DiscordServer(parts);
    await new Promise<void>((resolve) => void made.#server.listen(0, '127.0.0.1', resolve));
    return made;
  }

  /** Where session limits are asked for. */
  get limitsUrl(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/api/v10/gateway/bot`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => void this.#server.close(resolve));
  }
}
