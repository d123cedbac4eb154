import { expect, test } from 'vitest';
import { clusterWarnings } from '../../src/server/log-events.ts';

const own = { name: 'a', revision: 4, hash: 'x', shards: 3, self: true };
const other = { ...own, name: 'b', self: false };

test('a ready replica says that it reaches nobody, and who runs by another revision or other groups', () => {
  expect(clusterWarnings(false, [own, other])).toEqual([]);
  expect(clusterWarnings(true, [own])).toEqual(['cluster: unreachable']);
  const others = [own, { ...other, revision: 3, hash: 'w' }, { ...other, name: 'c', hash: 'y' }];
  expect(clusterWarnings(false, others)).toEqual(['cluster: b runs revision 3 (w), this one 4 (x)', 'cluster: c runs revision 4 (y), this one 4 (x)']);
});
