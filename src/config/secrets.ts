import type { ApiKey, Reference } from './auth-options.ts';
import type { Variables } from './overlay.ts';

/** What references are looked up in. */
export interface SecretSources {
  readonly env: Variables;
  /** Reads a file as text; rejects when it cannot. */
  readonly readFile: (path: string) => Promise<string>;
}

/** An API key whose hash is at hand. */
export type ResolvedKey = Omit<ApiKey, 'sha256'> & { readonly sha256: string };

/** The keys with their hashes looked up, or a sentence for each that cannot be had. Done at the start and at each reload, so that a hash can be changed in its file. */
export async function resolveKeys(
  keys: readonly ApiKey[],
  sources: SecretSources,
): Promise<{ readonly keys: readonly ResolvedKey[]; readonly mistakes: readonly string[] }> {
  const mistakes: string[] = [];
  const resolved: ResolvedKey[] = [];
  for (const [index, key] of keys.entries()) {
    const found = await look(key.sha256, sources);
    if (found.kind === 'missing') mistakes.push(`auth.keys[${index}].sha256 (${key.name}): ${found.why}`);
    else resolved.push({ ...key, sha256: found.value });
  }
  const hashes = resolved.map(({ sha256 }) => sha256);
  for (const [index, hash] of hashes.entries()) {
    if (hashes.indexOf(hash) < index) mistakes.push(`auth.keys: ${resolved[index]?.name} has the same hash as another key; give each its own`);
  }
  return { keys: resolved, mistakes };
}

type Found = { readonly kind: 'found'; readonly value: string } | { readonly kind: 'missing'; readonly why: string };

async function look(reference: Reference, { env, readFile }: SecretSources): Promise<Found> {
  if (reference.from === 'here') return { kind: 'found', value: reference.value };
  const where = reference.from === 'env' ? `the variable ${reference.env}` : `the file ${reference.file}`;
  const text = reference.from === 'env' ? env[reference.env] : await readFile(reference.file).catch(() => undefined);
  if (text === undefined) return { kind: 'missing', why: `${where} is not there, or cannot be read` };
  // As `sha256sum` writes it, with a file's name behind the digits.
  const [, hash] = /^([0-9a-fA-F]{64})(\s.*)?$/s.exec(text.trim()) ?? [];
  return hash === undefined ? { kind: 'missing', why: `${where} does not hold 64 hex digits` } : { kind: 'found', value: hash.toLowerCase() };
}
