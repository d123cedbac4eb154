import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Gate } from '../../src/core/gate/gate.ts';
import { hunt } from './mutants/hunt.ts';
import { type Mutant, mutants } from './mutants/mutants.ts';

const core = fileURLToPath(new URL('../../src/core', import.meta.url));
let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-mutants-'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A copy of the core with one fault. */
async function mutated(mutant: Mutant, name: string): Promise<typeof Gate> {
  const copy = join(folder, name);
  cpSync(core, copy, { recursive: true, filter: (source) => !source.endsWith('.json') });
  const file = join(copy, mutant.file);
  const text = readFileSync(file, 'utf8');
  if (text.split(mutant.from).length !== 2) {
    throw new Error(`src/core/${mutant.file} does not say once: ${mutant.from}\nThe code has changed: put this mutant where the rule is written now.`);
  }
  writeFileSync(
    file,
    text.replace(mutant.from, () => mutant.to),
  );
  const module = (await import(/* @vite-ignore */ pathToFileURL(join(copy, 'gate/gate.ts')).href)) as { Gate: typeof Gate };
  return module.Gate;
}

/** Controls of the tests themselves: what they cannot catch they do not prove. */
describe('seeded faults of the core', () => {
  it('the core as it is passes the hunt', () => {
    expect(hunt(Gate)).toBeUndefined();
  });

  it.each(mutants.map((mutant, index) => ({ ...mutant, index })))('is caught: $name', async (mutant) => {
    const gateClass = await mutated(mutant, `m${mutant.index}`);
    expect(gateClass).not.toBe(Gate);
    expect(hunt(gateClass), 'nothing was noticed').toBeTypeOf('string');
  });
});
