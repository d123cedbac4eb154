import { describe, it } from 'vitest';
import { selectEngine } from '../../src/http/select-engine.ts';
import { engineSuite } from '../conformance/engine.suite.ts';

const needs = { clientCa: false };

engineSuite('node:http', (await selectEngine('node', needs)).make);

const uws = await selectEngine('uws', needs).catch((cause: Error) => cause);
if (uws instanceof Error) {
  describe('the engine uWebSockets.js', () => {
    it.skip(`is not run: ${uws.message}`, () => undefined);
  });
} else {
  const ownClock = 'uWebSockets.js ends it by its own clock, up to 32 s after the last byte';
  engineSuite('uWebSockets.js', uws.make, {
    'a head that does not end in time': ownClock,
    'nothing at all in time': ownClock,
    'no version': `waits for more; ${ownClock}`,
    'a bare CR in a field': `waits for more; ${ownClock}`,
    ...(uws.why.includes('without a name') ? { 'an empty field name': 'this release takes it, which is why `auto` does not take this release' } : {}),
  });
}
