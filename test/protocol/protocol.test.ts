import { connectRunner, grpcRunner, grpcWebRunner } from './runners.ts';
import { startApi, startGrpc } from './servers.ts';
import { protocolSuite } from './suite.ts';
import type { Runner } from './table.ts';

protocolSuite('gRPC', true, async () => {
  const { address, stop } = await startGrpc();
  return { runner: grpcRunner(address), stop };
});

const OVER_HTTP: readonly (readonly [name: string, binary: boolean, make: (baseUrl: string) => Runner])[] = [
  ['Connect JSON', false, (baseUrl) => connectRunner(baseUrl, false)],
  ['Connect proto', true, (baseUrl) => connectRunner(baseUrl, true)],
  ['gRPC-Web', true, grpcWebRunner],
];

for (const [name, binary, make] of OVER_HTTP) {
  protocolSuite(`${name} on node:http`, binary, async () => {
    const { baseUrl, stop } = await startApi();
    return { runner: make(baseUrl), stop };
  });
}
