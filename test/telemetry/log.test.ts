import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { createLog } from '../../src/telemetry/log.ts';

function scene(level: 'info' | 'silent') {
  const to = new PassThrough();
  const log = createLog(level, to);
  const lines = () =>
    ((to.read() as Buffer | null)?.toString() ?? '')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { log, lines };
}

test('a line is one JSON object with level, time, event, fields and a sentence', () => {
  const { log, lines } = scene('info');
  log.write('warn', 'ledger_unavailable', 'The ledger cannot be written.', { root: 'llm', err: new Error('disk full') });
  const [line] = lines();
  expect(line).toMatchObject({ level: 'warn', event: 'ledger_unavailable', msg: 'The ledger cannot be written.', root: 'llm', err: { message: 'disk full' } });
  expect(Object.keys(line ?? {})).toEqual(['level', 'time', 'event', 'root', 'err', 'msg']);
  expect(new Date(String(line?.['time'])).toISOString()).toBe(line?.['time']);
});

test('the level can be changed while it runs', () => {
  const { log, lines } = scene('silent');
  log.write('error', 'unseen', 'Not shown.');
  log.setLevel('debug');
  log.write('debug', 'seen', 'Shown.');
  log.write('trace', 'unseen', 'Not shown.');
  expect(lines().map(({ event }) => event)).toEqual(['seen']);
});
