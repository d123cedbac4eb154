import type { ConnectionOptions, ReconnectToServerHandler } from '@nats-io/transport-node';

/** Between two dials of one server. The client's own default is two seconds. */
const EACH_MS = 50;
const JITTER_MS = 20;

/** Servers remembered at most; clusters are small. */
const SERVERS_MAX = 100;

/**
 * When a lost connection's servers are dialled: at once, and then each every 50 to 70 ms, as `now` (in milliseconds) counts.
 * The client by itself goes by the wall clock (nats.js `dodialLoop`): set back by an hour, it dials nobody for that hour.
 */
export function reconnectDelays(now: () => number, random: () => number): Required<Pick<ConnectionOptions, 'reconnectDelayHandler' | 'reconnectToServer'>> {
  const next = new Map<string, number>();
  const reconnectToServer: ReconnectToServerHandler = ([server]) => {
    if (server === undefined) return null;
    const at = Math.max(now(), next.get(server.listen) ?? 0);
    if (next.size >= SERVERS_MAX) next.clear();
    next.set(server.listen, at + EACH_MS + random() * JITTER_MS);
    return { server, delay: Math.ceil(at - now()) };
  };
  // No dial is ever too early for the client.
  return { reconnectDelayHandler: () => Number.NEGATIVE_INFINITY, reconnectToServer };
}
