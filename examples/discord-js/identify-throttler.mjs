import { get } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';

/** Between two tries at a queue that cannot be reached, in milliseconds. */
const RETRY_MS = 1_000;

/**
 * Has shards of @discordjs/ws wait for `sluice gateway-queue`, over any number of processes:
 *
 *     const throttler = new SluiceIdentifyThrottler('http://127.0.0.1:8000');
 *     const manager = new WebSocketManager({ token, intents, rest, buildIdentifyThrottler: () => throttler });
 *
 * With discord.js: `new Client({ intents, ws: { buildIdentifyThrottler: () => throttler } })`.
 */
export class SluiceIdentifyThrottler {
  #url;

  /** `url`: of the gateway queue, over plain HTTP. */
  constructor(url) {
    this.#url = url;
  }

  /** Resolves once the shard may identify, however long that takes. Rejects only if `signal` aborts. */
  async waitForIdentify(shardId, signal) {
    for (;;) {
      signal.throwIfAborted();
      const asked = performance.now();
      if (await answered(`${this.#url}/?shard=${shardId}`, signal)) return;
      // The queue closes a connection late; one that is not there at all is not asked in a circle.
      if (performance.now() - asked < RETRY_MS) await wait(RETRY_MS, undefined, { signal });
    }
  }
}

/** Resolves with true at any answer, with false if the connection failed. No time is too long. */
function answered(url, signal) {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, signal }, (response) => {
      response.resume();
      resolve(true);
    });
    request.on('error', () => (signal.aborted ? reject(signal.reason) : resolve(false)));
  });
}
