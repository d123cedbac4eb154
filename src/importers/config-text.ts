import { Document, isCollection, type Node, visit } from 'yaml';
import type { Plain } from '../config/source-value.ts';

/** A map or list whose text is longer takes a line for each of its values. */
const LINE_CHARACTERS_MAX = 110;
/** Parts whose entries stand on lines of their own. */
const SPREAD = new Set(['groups', 'backends', 'routes']);

/** Returns a configuration as YAML behind a comment; small maps and lists on one line. `head`: lines of the comment. */
export function configText(config: { readonly [name: string]: Plain }, head: readonly string[]): string {
  const document = new Document(config, { version: '1.2' });
  visit(document, {
    Collection(_key, node, ancestors) {
      // The document, the root, then the pair of a part.
      const part = ancestors.length === 1 ? '' : partOf(ancestors[2] as Node | undefined);
      const spread = ancestors.length === 1 || (ancestors.length <= 3 && SPREAD.has(part));
      if (!spread && isCollection(node) && JSON.stringify(node.toJSON()).length <= LINE_CHARACTERS_MAX) {
        node.flow = true;
        return visit.SKIP;
      }
      return undefined;
    },
  });
  const comment = head.map((line) => (line === '' ? '#' : `# ${line}`)).join('\n');
  return `${comment}\n\n${document.toString({ lineWidth: 0, flowCollectionPadding: true })}`;
}

function partOf(pair: unknown): string {
  const key = (pair as { key?: { value?: unknown } } | undefined)?.key?.value;
  return typeof key === 'string' ? key : '';
}
