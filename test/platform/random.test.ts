import { expect, test } from 'vitest';
import { createRandom } from '../../src/platform/random.ts';

test('no byte is given twice, however many are asked for', () => {
  let next = 0;
  const random = createRandom((page) => {
    for (let at = 0; at < page.length; at++) page[at] = next++ % 251;
  });
  const given: number[] = [];
  for (const bytes of [16, 24, 0, 1, 4000, 60, 5000, 4096, 8]) {
    const made = random(bytes);
    expect(made).toHaveLength(bytes);
    given.push(made[0] ?? -1);
  }
  expect(next).toBeGreaterThanOrEqual(16 + 24 + 1 + 4000 + 60 + 5000 + 4096 + 8);
  const twice = createRandom();
  expect(Buffer.from(twice(16)).equals(twice(16))).toBe(false);
});

test('what was given stays as it is', () => {
  const random = createRandom();
  const first = random(16);
  const copy = [...first];
  for (let each = 0; each < 1000; each++) random(16);
  expect([...first]).toEqual(copy);
});
