import type { SourceNode } from '../source-node.ts';

/** Which requests a URL of Lunar takes. */
export interface Address {
  /** `api.example.com`, `*.example.com`; undefined: any host. */
  readonly host: string | undefined;
  /** A path pattern of ours; undefined: any path. */
  readonly path: string | undefined;
}

const HOST = /^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:\d{1,5})?$/;
const NAMED = /^\{[A-Za-z_][A-Za-z0-9_-]{0,63}\}$/;
const WORD = /^[^/{}*?#\s\\]+$/;

/** Reads `api.example.com/resource/{id}`, `https://api.example.com/v1/*`, `*`. Judges the key; reports a URL that cannot be a route. */
export function addressOf(node: SourceNode): Address | undefined {
  const text = node.text()?.trim();
  if (text === undefined) return undefined;
  if (text === '*' || text === '.*' || text === '*/*') {
    node.understood('a route for any host and path');
    return { host: undefined, path: undefined };
  }
  const bare = text.replace(/^https?:\/\//, '');
  const slash = bare.indexOf('/');
  const host = (slash < 0 ? bare : bare.slice(0, slash)).toLowerCase();
  const path = slash < 0 ? '/' : pathOf(bare.slice(slash));
  if (host !== '*' && !HOST.test(host)) {
    node.mistake('this URL has no host that a route could match', 'Write host and path: api.example.com/v1/*.');
    return undefined;
  }
  if (path === undefined) {
    node.mistake('a route cannot match this path', 'Write words, {name} for one segment, and * at the end: api.example.com/resource/{id}.');
    return undefined;
  }
  if (slash < 0) node.changed('match.host, and match.path: / alone; for all its paths write HOST/* in the file that is imported');
  else node.understood('match.host and match.path');
  return { host: host === '*' ? undefined : host, path: path === '/*' ? undefined : path };
}

/** Returns a path pattern; undefined if it cannot be one. Names that stand twice, or are none here, stand for any segment. */
function pathOf(text: string): string | undefined {
  const seen = new Set<string>();
  const segments = text.slice(1).split('/');
  if (text.length > 1024 || segments.length > 100) return undefined;
  const read: string[] = [];
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    if (segment === '' && last) continue;
    if (NAMED.test(segment) && !seen.has(segment)) {
      seen.add(segment);
      read.push(segment);
    } else if (/^\{[^{}]*\}$/.test(segment) || segment === '*') read.push('*');
    else if (WORD.test(segment)) read.push(segment);
    else return undefined;
  }
  return `/${read.join('/')}`;
}

/** Orders addresses as Lunar chooses among them: the more particular first. Negative: `a` first. */
export function byParticularity(a: Address, b: Address): number {
  return hostRank(a.host) - hostRank(b.host) || comparePaths(a.path, b.path);
}

function hostRank(host: string | undefined): number {
  return host === undefined ? 2 : host.startsWith('*') ? 1 : 0;
}

function comparePaths(a: string | undefined, b: string | undefined): number {
  const [left, right] = [a, b].map((path) => (path === undefined ? ['*'] : path.slice(1).split('/')));
  for (let index = 0; index < Math.max(left?.length ?? 0, right?.length ?? 0); index++) {
    const rank = segmentRank(left, index) - segmentRank(right, index);
    if (rank !== 0) return rank;
  }
  return 0;
}

/** Words before names, names before what ends, and a * that takes all the rest last. */
function segmentRank(segments: readonly string[] | undefined, index: number): number {
  const segment = segments?.[index];
  if (segment === undefined) return segments?.at(-1) === '*' ? 3 : 2;
  if (segment === '*' && index === (segments?.length ?? 0) - 1) return 3;
  return segment.startsWith('{') || segment === '*' ? 1 : 0;
}
