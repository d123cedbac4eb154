import { createHash } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';
import { restRunner } from './rest-runner.ts';
import { connectRunner, grpcRunner, grpcWebRunner } from './runners.ts';
import { protocolSuite } from './suite.ts';
import { type Runner, TABLE_GROUPS } from './table.ts';

/** The whole server as `sluice serve` builds it, in memory, on ports of its own. */
async function startReal(more: string): Promise<RunningServer> {
  const text = `
listen: { api: 127.0.0.1:0, grpc: 127.0.0.1:0, health: none, admin: 127.0.0.1:0 }
store: memory
drain: { delay: 0s, grace: 100ms }
http: { engine: node }
${more}
${TABLE_GROUPS}`;
  const loaded = loadConfig({ text, name: 'table.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(JSON.stringify(loaded.mistakes, undefined, 1));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  return serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: 'test', nodeVersion: process.version });
}

const OVER_HTTP: readonly (readonly [name: string, binary: boolean, make: (baseUrl: string) => Runner])[] = [
  ['Connect JSON', false, (baseUrl) => connectRunner(baseUrl, false)],
  ['Connect proto', true, (baseUrl) => connectRunner(baseUrl, true)],
  ['gRPC-Web', true, grpcWebRunner],
  ['plain HTTP by JSON', false, (baseUrl) => restRunner(baseUrl, false)],
  ['plain HTTP by query', false, (baseUrl) => restRunner(baseUrl, true)],
];

// Without credentials operators are answered on `admin` only: all of the table can be asked there.
for (const [name, binary, make] of OVER_HTTP) {
  protocolSuite(`${name} before the real admission`, binary, async () => {
    const running = await startReal('');
    return { runner: make(`http://${running.addresses['admin']}`), stop: () => running.drain() };
  });
}

protocolSuite('gRPC before the real admission', true, async () => {
  const sha256 = createHash('sha256').update('secret').digest('hex');
  const running = await startReal(`auth: { keys: [ { name: table, sha256: ${sha256}, can: [ acquire, read, manage ] } ] }`);
  return { runner: grpcRunner(running.addresses['grpc'] ?? '', 'Bearer secret'), stop: () => running.drain() };
});
