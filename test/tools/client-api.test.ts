import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import * as client from '../../src/client/client.ts';
import { CLIENT_PAGE, clientExports, clientPage } from '../../tools/client-api.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = readFileSync(root + CLIENT_PAGE, 'utf8');

test('docs/client-api.md is what the sources of the client say: else run `npm run gen`', () => {
  expect(page).toBe(clientPage(root));
});

test('docs/client-api.md has every export of the client, and nothing that is private', () => {
  const headings = [...page.matchAll(/^### (\w+)$/gm)].map(([, name = '']) => name);
  expect(headings.toSorted()).toEqual(clientExports(root));
  // What is there at run time is among them, as the sources are only read as text.
  expect(Object.keys(client).filter((name) => !headings.includes(name))).toEqual([]);
  expect(page).not.toMatch(/`#/);
});
