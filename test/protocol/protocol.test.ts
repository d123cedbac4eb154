import { describe, it } from 'vitest';
import { selectEngine } from '../../src/http/select-engine.ts';
import { connectRunner, grpcRunner, grpcWebRunner } from './runners.ts';
import { startApi, startGrpc } from './servers.ts';
import { protocolSuite } from './suite.ts';
import type { Runner } from './table.ts';

protocolSuite('gRPC', true, async () => {
  const { address, stop } = await startGrpc();
  return { runner: grpcRunner(address), stop };
});

const OVER_HTTP: readonly (readonly [name: 'Connect JSON' | 'Connect proto' | 'gRPC-Web', binary: boolean, make: (baseUrl: string) => Runner])[] = [
  ['Connect JSON', false, (baseUrl) => connectRunner(baseUrl, false)],
  ['Connect proto', true, (baseUrl) => connectRunner(baseUrl, true)],
  ['gRPC-Web', true, grpcWebRunner],
];

for (const engineName of ['node', 'uws'] as const) {
  const engine = await selectEngine(engineName, { clientCa: false }).catch((cause: Error) => cause);
  for (const [protocol, binary, make] of OVER_HTTP) {
    const name = `${protocol} on ${engineName === 'node' ? 'node:http' : 'uWebSockets.js'}`;
    if (engine instanceof Error) {
      describe(name, () => {
        it.skip(`is not run: ${engine.message}`, () => undefined);
      });
      continue;
    }
    protocolSuite(name, binary, async () => {
      const { baseUrl, stop } = await startApi({ make: engine.make });
      return { runner: make(baseUrl), stop };
    });
  }
}
