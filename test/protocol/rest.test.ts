import { describe, it } from 'vitest';
import { chooseEngine } from '../../src/frontends/engines/choose.ts';
import { startRest } from '../frontends/rest-server.ts';
import { restRunner } from './rest-runner.ts';
import { protocolSuite } from './suite.ts';

for (const wish of ['node', 'uws'] as const) {
  const engine = await chooseEngine(wish, { clientCa: false }).catch((cause: Error) => cause);
  for (const asQuery of [false, true]) {
    const name = `plain HTTP by ${asQuery ? 'query' : 'JSON'} on ${wish === 'node' ? 'node:http' : 'uWebSockets.js'}`;
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
