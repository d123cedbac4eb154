/** How the block before which a comment stands is run: `<!-- sh: terminal; stop: npm start -->`. */
export type Way =
  /** In the reader's own shell, to its end. Also without a comment. */
  | { readonly kind: 'shell' }
  /** In terminals that stay open: one for the block, or one for each line; each has to write `ready`. First those whose command holds `stop` end, by Ctrl-C. */
  | { readonly kind: 'terminals'; readonly commands: readonly string[]; readonly ready: RegExp; readonly stop: string | undefined }
  /** Not at all. */
  | { readonly kind: 'none'; readonly why: string };

/** A block of shell commands of a document. */
export interface Block {
  /** Where its first command stands, from 1. */
  readonly line: number;
  readonly text: string;
  readonly way: Way;
}

/** What a server of Sluice or of NATS writes when it serves. */
const READY = /"event":"serving"|Server is ready/;

/** Returns the shell blocks of a document in order. Throws for a comment that is not understood, or that stands before no block. */
export function blocksOf(markdown: string): readonly Block[] {
  const lines = markdown.split('\n');
  const blocks: Block[] = [];
  for (const [index, line] of lines.entries()) {
    const said = /^<!-- sh: (.*) -->$/.exec(line)?.[1];
    if (said !== undefined && lines[index + 1] !== '```sh') throw new Error(`line ${index + 1}: a comment for a shell block stands before none`);
    if (line !== '```sh') continue;
    const text = lines.slice(index + 1, lines.indexOf('```', index + 1)).join('\n');
    blocks.push({ line: index + 2, text, way: wayOf(/^<!-- sh: (.*) -->$/.exec(lines[index - 1] ?? '')?.[1], text) });
  }
  return blocks;
}

function wayOf(said: string | undefined, text: string): Way {
  if (said === undefined) return { kind: 'shell' };
  const [, why] = /^not run: (.+)$/.exec(said) ?? [];
  if (why !== undefined) return { kind: 'none', why };
  const [kind, ...rest] = said.split('; ');
  const options = new Map(rest.map((each) => [each.replace(/: .*/, ''), each.replace(/^[^:]*: /, '')]));
  const unknown = [...options.keys()].filter((name) => name !== 'stop' && name !== 'ready');
  if ((kind !== 'terminal' && kind !== 'terminals') || unknown.length > 0) throw new Error(`"sh: ${said}" is not understood`);
  const ready = options.get('ready');
  const commands = kind === 'terminal' ? [text] : text.split('\n').filter((line) => line.trim() !== '');
  return { kind: 'terminals', commands, ready: ready === undefined ? READY : new RegExp(ready), stop: options.get('stop') };
}
