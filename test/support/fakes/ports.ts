import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below the range that systems take for outgoing connections (32768 on Linux, 49152 elsewhere), above the well-known ones. */
const FROM = 15_000;
const TO = 32_000;
const taken = new Set<number>();

/**
 * A port of loopback that nobody listens on, and that stays its server's while that is down: no outgoing connection is given
 * it, as one that the system chooses would be, and this process gets it only once.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FROM + Math.floor(Math.random() * (TO - FROM));
    if (taken.has(port)) continue;
    taken.add(port);
    if (await isFree(port)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
