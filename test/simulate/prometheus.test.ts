import { expect, test } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import { drawExported } from '../../src/simulate/prometheus.ts';

const matrix = (...result: readonly object[]) => JSON.stringify({ status: 'success', data: { resultType: 'matrix', result } });

test('as many come between two samples as the counter grew; one that falls began anew', () => {
  const drawn = drawExported(
    matrix({
      metric: { group: 'g', class: 'high' },
      values: [
        [100, '7'],
        [160, '107'],
        [220, '50'],
      ],
    }),
    { seed: 1, hold: SECOND },
  );
  if (typeof drawn === 'string') throw new Error(drawn);
  expect(drawn.requests).toHaveLength(150);
  expect(drawn.requests.filter(({ at }) => drawn.startedAt + at < 160 * SECOND)).toHaveLength(100);
  expect(drawn.requests[0]).toMatchObject({ at: 0, group: 'g', priority: 'high', hold: SECOND });
});

test.each([
  ['{', 'This is no JSON.'],
  ['{"data":{"resultType":"vector","result":[]}}', 'This is no answer to a range query of Prometheus (resultType "matrix").'],
  ['null', 'This is no JSON.'],
  [matrix({ metric: {}, values: [] }), 'A series has no label `group`: sum by (group).'],
  [
    matrix({
      metric: { group: 'g' },
      values: [
        [1, '0'],
        [0, '1'],
      ],
    }),
    'A sample is no number, or older than the one before.',
  ],
  [
    matrix({
      metric: { group: 'g' },
      values: [
        [0, '0'],
        [1, 'NaN'],
      ],
    }),
    'A sample is no number, or older than the one before.',
  ],
  [
    matrix({
      metric: { group: 'g' },
      values: [
        [0, '0'],
        [1, '1e12'],
      ],
    }),
    'These are more than 10000000 requests: take a shorter range.',
  ],
])('what is no export is refused: %s', (text, sentence) => {
  expect(drawExported(text, { seed: 1, hold: 0 })).toBe(sentence);
});
