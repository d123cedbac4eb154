import { createServer } from 'node:http';
import { WebSocketManager } from '@discordjs/ws';
import { WebSocketServer } from 'ws';
import { SluiceIdentifyThrottler } from './identify-throttler.mjs';

/*
 * Two managers of two shards each, with one throttler's queue between them, before a gateway that speaks as much of Discord's protocol as
 * they need: Hello, Identify, Ready. Writes when each shard identified, in milliseconds, as JSON.
 */

const [url] = process.argv.slice(2);
const SHARDS = 4;
const identifies = [];

const http = createServer();
const gateway = new WebSocketServer({ server: http });
gateway.on('connection', (socket) => {
  socket.send(JSON.stringify({ op: 10, d: { heartbeat_interval: 45_000 }, s: null, t: null }));
  socket.on('message', (bytes) => {
    const { op, d } = JSON.parse(String(bytes));
    if (op === 1) socket.send(JSON.stringify({ op: 11, d: null, s: null, t: null }));
    if (op !== 2) return;
    const [shard] = d.shard;
    identifies.push({ shard, at: performance.now() });
    const ready = { v: 10, user: { id: '1' }, guilds: [], session_id: `s${shard}`, resume_gateway_url: address(), shard: d.shard, application: { id: '1' } };
    socket.send(JSON.stringify({ op: 0, d: ready, s: 1, t: 'READY' }));
  });
});
await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));

function address() {
  return `ws://127.0.0.1:${http.address().port}`;
}

/** All that a manager asks of Discord's REST API. */
const fetchGatewayInformation = () => ({
  url: address(),
  shards: SHARDS,
  session_start_limit: { total: 1000, remaining: 1000, reset_after: 86_400_000, max_concurrency: 1 },
});

const managers = [
  [0, 1],
  [2, 3],
].map(
  (shardIds) =>
    new WebSocketManager({
      token: 'T',
      intents: 0,
      rest: { get: async () => fetchGatewayInformation(), setToken: () => {} },
      fetchGatewayInformation: async () => fetchGatewayInformation(),
      shardCount: SHARDS,
      shardIds,
      buildIdentifyThrottler: () => new SluiceIdentifyThrottler(url),
    }),
);
await Promise.all(managers.map((manager) => manager.connect()));
process.stdout.write(JSON.stringify({ identifies }));
process.exit(0);
