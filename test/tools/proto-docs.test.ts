import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { PROTO_PAGE, protoPage } from '../../tools/proto-docs.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = readFileSync(root + PROTO_PAGE, 'utf8');

test('docs/protobuf.md is what the comments of the protocol say: else run `npm run gen`', () => {
  const image = execFileSync(`${root}node_modules/.bin/buf`, ['build', '-o', '-#format=json'], { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20 });
  expect(page).toBe(protoPage(image));
});

test('docs/protobuf.md has every message, enum, service and call of the protocol, and its links lead to them', () => {
  const protos = globSync('proto/sluice/v1/*.proto', { cwd: root }).map((file) => readFileSync(root + file, 'utf8'));
  const named = (expression: RegExp) => protos.flatMap((text) => [...text.matchAll(expression)].map(([, name = '']) => name));
  const headings = new Set([...page.matchAll(/^### ([\w.]+)$/gm)].map(([, name = '']) => name.split('.').at(-1)));
  const declared = named(/^\s*(?:message|enum|service) (\w+) \{/gm);
  expect(declared.length).toBeGreaterThan(80);
  expect(declared.filter((name) => !headings.has(name))).toEqual([]);
  expect(named(/^\s*rpc (\w+)\(/gm).filter((name) => !page.includes(`| \`${name}\` | `))).toEqual([]);
  const anchors = new Set(
    [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
  expect([...page.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor = '']) => anchor).filter((anchor) => !anchors.has(anchor))).toEqual([]);
});
