import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/* docs/client-api.md, from the sources of `sluice/client`: each export with its members and their comments. */

/** The page that is written. */
export const CLIENT_PAGE = 'docs/client-api.md';

/** The module whose exports are published. */
const ENTRY = 'src/client/client.ts';

/** A declaration or a member, as it is written, and its comment as one line. */
interface Entry {
  readonly signature: string;
  readonly comment: string;
}

interface Declaration extends Entry {
  readonly kind: string;
  readonly name: string;
  readonly members: readonly Entry[];
}

const HEAD = `# The TypeScript client, call by call

<!-- Written by \`npm run gen\` from src/client. -->

Everything that \`sluice/client\` exports. How to use it: [clients.md](clients.md#typescript). Durations are text with a unit (\`30s\`, \`250ms\`, \`1m30s\`).
`;

const SECTIONS: readonly (readonly [heading: string, belongs: (each: Declaration) => boolean])[] = [
  ['Calls', ({ kind, name }) => kind === 'function' || name === 'Sluice' || name === 'Permit' || name === 'Requests'],
  ['Errors', ({ name, kind }) => kind === 'class' && name.startsWith('Sluice')],
  ['Options', ({ name }) => /(Options|Query|Timing)$/.test(name)],
  ['Results', () => true],
];

/** Returns the names that the client exports, in alphabetical order. */
export function clientExports(root: string): readonly string[] {
  const entry = readFileSync(join(root, ENTRY), 'utf8');
  const listed = [...entry.matchAll(/^export (?:type )?\{([^}]*)\};$/gm)].flatMap(([, names = '']) => names.split(','));
  const declared = [...entry.matchAll(/^export (?:interface|type|class|function) (\w+)/gm)].map(([, name = '']) => name);
  return [...listed.map((name) => name.trim().replace(/^type /, '')).filter((name) => name !== ''), ...declared].toSorted();
}

/** Returns the page. Throws where an export has no declaration, or a member no form that is known. */
export function clientPage(root: string): string {
  const sources = globSync('src/client/*.ts', { cwd: root }).map((file) => readFileSync(join(root, file), 'utf8'));
  let left = clientExports(root).map((name) => declarationOf(name, sources));
  const lines = [HEAD];
  for (const [heading, belongs] of SECTIONS) {
    lines.push(`## ${heading}`, '', ...left.filter(belongs).flatMap(declarationLines));
    left = left.filter((each) => !belongs(each));
  }
  return `${lines.join('\n').trimEnd()}\n`;
}

function declarationOf(name: string, sources: readonly string[]): Declaration {
  for (const source of sources) {
    const lines = source.split('\n');
    const at = lines.findIndex((line) => new RegExp(`^export (interface|type|class|function) ${name}\\b`).test(line));
    if (at < 0) continue;
    const head = lines[at] ?? '';
    const kind = /^export (\w+)/.exec(head)?.[1] ?? '';
    const end = lines.findIndex((line, index) => index > at && line === '}');
    const members = kind === 'interface' || kind === 'class' ? membersOf(lines.slice(at + 1, end)) : [];
    return { kind, name, members, signature: head.replace(/^export /, '').replace(/ \{$|;$/, ''), comment: commentAbove(lines, at) };
  }
  throw new Error(`${name} is exported, but declared in no file of src/client.`);
}

/** Returns the public members of a body, in order: what stands at its own indentation, but for private fields and constructors. */
function membersOf(body: readonly string[]): readonly Entry[] {
  const members: Entry[] = [];
  for (let at = 0; at < body.length; at += 1) {
    if (!/^ {2}(?:async |override |readonly |get )*\w/.test(body[at] ?? '') || /^ {2}(?:constructor|(?:async |readonly |get )*#)/.test(body[at] ?? ''))
      continue;
    const from = at;
    while (at < body.length && !/[;{]$/.test(body[at] ?? '')) at += 1;
    if (body[at]?.endsWith('{') && body[at + 1]?.startsWith('    readonly')) while (at < body.length && !/^ {2}\}/.test(body[at] ?? '')) at += 1;
    const text = body.slice(from, at + 1).map((line) => line.trim());
    members.push({ signature: memberSignature(text.join(' ')), comment: commentAbove(body, from) });
  }
  return members;
}

function memberSignature(text: string): string {
  return text
    .replace(/ \{$|;$/, '')
    .replace(/^(?:async |override |readonly )+/, '')
    .replaceAll('readonly ', '')
    .replace(/^get (\w+)\(\)/, '$1')
    .replaceAll(' | undefined', '')
    .replace(/^(\w+) = '(\w+)'$/, "$1: '$2'")
    .replaceAll('; }', ' }')
    .replaceAll(/\( | \)/g, (found) => found.trim())
    .replaceAll(/,\)/g, ')');
}

/** Returns the comment that ends right above a line, as one line; '' where there is none. */
function commentAbove(lines: readonly string[], at: number): string {
  if (!(lines[at - 1] ?? '').trimEnd().endsWith('*/')) return '';
  let from = at - 1;
  while (!(lines[from] ?? '').trim().startsWith('/**')) from -= 1;
  const text = lines.slice(from, at).map((line) =>
    line
      .trim()
      .replace(/^\/?\*+\/?|\*\/$/g, '')
      .trim(),
  );
  return text
    .join(' ')
    .replaceAll(/\{@link (\w+)\}/g, '`$1`')
    .trim();
}

function declarationLines({ kind, name, signature, comment, members }: Declaration): readonly string[] {
  const lines = [`### ${name}`, '', comment, ''];
  if (kind === 'function' || kind === 'type') lines.push(`\`${signature}\``, '');
  const base = / extends (\w+)/.exec(signature)?.[1];
  if (base !== undefined) lines.push(`A kind of \`${base}\`.`, '');
  if (members.length > 0)
    lines.push('| member | what it is |', '| --- | --- |', ...members.map((each) => `| \`${cell(each.signature)}\` | ${cell(each.comment)} |`), '');
  return lines;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
