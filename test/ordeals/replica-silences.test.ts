import { expect, test } from 'vitest';
import { silencesOf } from './replica-silences.ts';

function line(at: number, event: string, replica: string, instance: string): string {
  return `${at} ${JSON.stringify({ level: 'warn', event, replica, instance })}`;
}

test('A replica that others took for dead and that was not killed was silent, until it was back', () => {
  const log = [
    line(1, 'peer_joined', 'r1', 'a'),
    '1.2 {"event":"serving"}',
    line(2, 'peer_lost', 'r1', 'a'),
    line(3.5, 'peer_joined', 'r1', 'a'),
    line(5.2, 'peer_lost', 'r1', 'a'),
    line(9, 'peer_joined', 'r1', 'b'),
    line(12, 'peer_lost', 'r2', 'c'),
  ].join('\n');
  expect(silencesOf([log], [{ replica: 'r1', from: 5_000, until: 8_000 }])).toEqual([
    { replica: 'r1', from: 2_000, until: 3_500 },
    { replica: 'r2', from: 12_000, until: Number.POSITIVE_INFINITY },
  ]);
});
