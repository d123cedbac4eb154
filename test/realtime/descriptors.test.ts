import { expect, test } from 'vitest';
import { descriptorsOrdeal } from '../ordeals/descriptors.ts';

/* `node test/ordeals/descriptors.ts` says what it sees; here each of its promises has to hold. */

test('600 callers of a server that may open 256 files are held or closed at once, and health, admin and a lease outlive it', async () => {
  const seen = await descriptorsOrdeal(() => {});
  expect(Object.keys(seen)).toHaveLength(9);
  expect(Object.entries(seen).filter(([, so]) => !so)).toEqual([]);
});
