import type { Credential } from '../admission/credential.ts';
import type { ApiKey, Reference } from './auth-options.ts';
import type { ClusterOptions } from './cluster-options.ts';
import type { Variables } from './overlay.ts';

/** What references are looked up in. */
export interface SecretSources {
  readonly env: Variables;
  /** Reads a file as text; rejects when it cannot. */
  readonly readFile: (path: string) => Promise<string>;
}

/** The keys with their hashes looked up, or a sentence for each that cannot be had. Done at the start and at each reload, so that a hash can be changed in its file. */
export async function resolveKeys(
  keys: readonly ApiKey[],
  sources: SecretSources,
): Promise<{ readonly keys: readonly Credential[]; readonly mistakes: readonly string[] }> {
  const mistakes: string[] = [];
  const resolved: Credential[] = [];
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

async function look(reference: Reference, sources: SecretSources): Promise<Found> {
  const found = await fetched(reference, sources);
  if (found.kind === 'missing' || reference.from === 'here') return found;
  // As `sha256sum` writes it, with a file's name behind the digits.
  const [, hash] = /^([0-9a-fA-F]{64})(\s.*)?$/s.exec(found.value) ?? [];
  return hash === undefined ? { kind: 'missing', why: `${whereOf(reference)} does not hold 64 hex digits` } : { kind: 'found', value: hash.toLowerCase() };
}

/** What a reference leads to, without the white space around it. */
async function fetched(reference: Reference, { env, readFile }: SecretSources): Promise<Found> {
  if (reference.from === 'here') return { kind: 'found', value: reference.value };
  const text = reference.from === 'env' ? env[reference.env] : await readFile(reference.file).catch(() => undefined);
  return text === undefined ? { kind: 'missing', why: `${whereOf(reference)} is not there, or cannot be read` } : { kind: 'found', value: text.trim() };
}

function whereOf(reference: Reference): string {
  if (reference.from === 'here') return 'the file of the configuration';
  return reference.from === 'env' ? `the variable ${reference.env}` : `the file ${reference.file}`;
}

/** The secrets of one option, looked up. `mistakes` gets a sentence for each that cannot be had or is empty. */
export async function resolveSecrets(option: string, references: readonly Reference[], sources: SecretSources, mistakes: string[]): Promise<readonly string[]> {
  const secrets: string[] = [];
  for (const reference of references) {
    const found = await fetched(reference, sources);
    if (found.kind === 'found' && found.value !== '') secrets.push(found.value);
    else mistakes.push(`${option}: ${found.kind === 'missing' ? found.why : `${whereOf(reference)} is empty`}`);
  }
  return secrets;
}

/** Who a replica is to NATS. */
export type ClusterLogin =
  | { readonly kind: 'none' }
  | { readonly kind: 'credentials'; readonly file: string }
  | { readonly kind: 'user'; readonly user: string; readonly password: string }
  | { readonly kind: 'token'; readonly token: string };

/** The login to NATS with its secrets looked up, or a sentence for what cannot be had. Done at the start. */
export async function resolveLogin(
  cluster: Pick<ClusterOptions, 'credentials' | 'user' | 'password' | 'token'>,
  sources: SecretSources,
): Promise<{ readonly login: ClusterLogin; readonly mistakes: readonly string[] }> {
  const mistakes: string[] = [];
  const secret = async (name: 'password' | 'token', reference: Reference): Promise<string> => {
    const found = await fetched(reference, sources);
    if (found.kind === 'found' && found.value !== '') return found.value;
    mistakes.push(`cluster.${name}: ${found.kind === 'missing' ? found.why : `${whereOf(reference)} is empty`}`);
    return '';
  };
  const { credentials, user, password, token } = cluster;
  if (credentials !== undefined) return { login: { kind: 'credentials', file: credentials.file }, mistakes };
  if (token !== undefined) return { login: { kind: 'token', token: await secret('token', token) }, mistakes };
  if (user === undefined || password === undefined) return { login: { kind: 'none' }, mistakes };
  return { login: { kind: 'user', user, password: await secret('password', password) }, mistakes };
}
