import { expect, test } from 'vitest';
import type { GateEvent } from '../../src/core/events.ts';
import { withRequestLog } from '../../src/telemetry/request-log.ts';
import { Driver } from '../core/driver.ts';
import { concurrency, group, START } from '../core/specs.ts';

test('a line for each request that is admitted or refused and each permit that ends; every event goes on', () => {
  const lines: unknown[] = [];
  const passed: GateEvent[] = [];
  const onEvent = withRequestLog({ write: (level, event, _msg, fields) => lines.push({ level, event, ...fields }), setLevel: () => {} }, (event) =>
    passed.push(event),
  );
  const driver = new Driver({ groups: [group('g', [concurrency(1)])] });
  const { gate } = driver;
  const take = gate.takeEvents.bind(gate);
  gate.takeEvents = () => {
    const events = [...take()];
    for (const event of events) onEvent(event, driver.now);
    return events;
  };
  const first = driver.ask({ key: 'a', costs: { requests: 1, tokens: 5 }, priority: 2 });
  driver.ask({ key: 'b', ttl: 1_500_000 });
  driver.advance(2_000_000);
  driver.release(first);
  expect(lines).toEqual([
    {
      level: 'info',
      event: 'request_admitted',
      group: 'g',
      key: 'a',
      priority: 2,
      arrivedAt: '2026-01-05T00:00:00.000000Z',
      costs: { requests: 1, tokens: 5 },
      waitedMs: 0,
      fence: expect.stringMatching(/^\d+$/) as string,
    },
    {
      level: 'info',
      event: 'request_refused',
      group: 'g',
      key: 'b',
      priority: 1,
      arrivedAt: '2026-01-05T00:00:00.000000Z',
      reason: 'expired',
      limit: 'concurrency',
      waitedMs: 1_500,
    },
    { level: 'info', event: 'permit_ended', group: 'g', key: 'a', fence: expect.stringMatching(/^\d+$/) as string, how: 'used', heldMs: 2_000 },
  ]);
  expect((lines[0] as { fence: string }).fence).toBe((lines[2] as { fence: string }).fence);
  expect(passed.map(({ kind }) => kind)).toEqual(['admitted', 'queued', 'refused', 'ended']);
  expect(driver.now).toBe(START + 2_000_000);
});
