import { describe, it } from 'vitest';
import { selectEngine } from '../../src/http/select-engine.ts';
import { startRest } from '../api/rest/server.ts';
import { restRunner } from './rest-runner.ts';
import { protocolSuite } from './suite.ts';

for (const engineName of ['node', 'uws'] as const) {
  const engine = await selectEngine(engineName, { clientCa: false }).catch((cause: Error) => cause);
  for (const asQuery of [false, true]) {
    const name = `plain HTTP by ${asQuery ? 'query' : 'JSON'} on ${engineName === 'node' ? 'node:http' : 'uWebSockets.js'}`;
    if (engine instanceof Error) {
      describe(name, () => {
        it.skip(`is not run: ${engine.message}`, () => undefined);
      });
      continue;
    }
    protocolSuite(name, false, async () => {
      const { baseUrl, stop } = await startRest({}, engine.make);
      return { runner: restRunner(baseUrl, asQuery), stop };
    });
  }
}
