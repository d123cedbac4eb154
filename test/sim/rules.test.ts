import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SHIPPED } from './modules.ts';
import { loadWithout } from './mutate.ts';
import { removed } from './rules.ts';
import { simulate } from './world.ts';

/** A rule that the code has changed around may need some more seeds than when its first one was written down. */
const SEEDS = 60;

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-rules-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Controls of the simulation itself: a rule that can be taken out unnoticed is not proved by it. */
describe('without this rule the simulation fails', () => {
  it.each(removed.map((each, index) => ({ ...each, index })))('$rule', async (each) => {
    const parts = await loadWithout(each, join(folder, `r${each.index}`));
    expect(parts.Member).not.toBe(SHIPPED.Member);
    let complaint: string | undefined;
    for (let seed = each.seed; complaint === undefined && seed < each.seed + SEEDS; seed++) {
      complaint = simulate({ seed, parts, gates: each.gates === true }).complaint;
    }
    expect(complaint, 'nothing was noticed').toBeTypeOf('string');
  });
});
