import type { Ability } from '../admission/credential.ts';
import { ValueError } from './errors.ts';
import { className, groupName } from './group-options.ts';
import { keyName, oneOf, string } from './scalars.ts';
import { list, option, optional, refine, required, scalar, struct, unsupported, type ValueOf } from './schema.ts';
import { entryOf, formatSourceValue, type SourceValue } from './source-value.ts';

/** A value that may be kept out of the file: given outright, or read from a file or a variable when the server starts. */
export type Reference =
  | { readonly from: 'here'; readonly value: string }
  | { readonly from: 'file'; readonly file: string }
  | { readonly from: 'env'; readonly env: string };

const SHA256 = /^[0-9a-fA-F]{64}$/;

const RULE = 'Write the 64 hex digits of `printf %s "$KEY" | sha256sum`, or { file: PATH } or { env: NAME } that hold them.';

/** The hash of an API key. The key itself never stands in a file. */
const hash = scalar<Reference>({
  unit: 'SHA-256',
  bounds: '64 hex digits, { file: PATH } or { env: NAME }',
  json: {
    anyOf: [
      { type: 'string', pattern: SHA256.source },
      { type: 'object', properties: { file: { type: 'string' } }, required: ['file'], additionalProperties: false },
      { type: 'object', properties: { env: { type: 'string' } }, required: ['env'], additionalProperties: false },
    ],
  },
  read: readHash,
});

/** `{ file: PATH }` or `{ env: NAME }`; undefined: it is neither. */
export function referenceIn(raw: SourceValue): Reference | undefined {
  if (raw.kind !== 'map' || raw.entries.length !== 1) return undefined;
  const file = entryOf(raw, 'file');
  if (file?.kind === 'scalar' && typeof file.value === 'string' && file.value !== '') return { from: 'file', file: file.value };
  const env = entryOf(raw, 'env');
  if (env?.kind === 'scalar' && typeof env.value === 'string' && /^[A-Za-z_]\w*$/.test(env.value)) return { from: 'env', env: env.value };
  return undefined;
}

function readHash(raw: SourceValue): Reference | ValueError {
  const reference = referenceIn(raw);
  if (reference !== undefined) return reference;
  if (raw.kind === 'scalar' && SHA256.test(raw.text)) return { from: 'here', value: raw.text.toLowerCase() };
  // Not shown: it may be the key itself, put where its hash belongs.
  return new ValueError(raw.kind === 'scalar' ? 'this is not a SHA-256 hash' : `${formatSourceValue(raw)} is not a SHA-256 hash`, RULE);
}

const apiKey = struct({
  name: required(
    string({
      unit: 'name',
      pattern: /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
      rule: 'Letters, digits, ".", "_" and "-", a letter or digit first, at most 64.',
      lengthMax: 64,
    }),
    'Its holder: named in logs, and the scope of request ids.',
  ),
  sha256: required(hash, 'SHA-256 of the key, which callers send as `Authorization: Bearer KEY`.'),
  can: option(
    list(oneOf<Ability>('acquire', 'read', 'manage'), 8),
    ['acquire'],
    'acquire: permits of its groups; read: groups, waiters and leases; manage: pause, override, evict, revoke.',
  ),
  groups: optional(list(groupName, 10_000), 'The groups it may name, in every call; for others no reply shows whether they exist.', 'every group'),
  key: optional(keyName, 'The only key it may name, pause, and see and end waiters and leases of; taken when a request names none.', 'any key'),
  classes: optional(list(className, 1000), 'The priority classes it may name.', 'every class and number'),
});

/** An API key as read. */
export type ApiKey = ValueOf<typeof apiKey>;

/** Who may call. */
export const authOptions = refine(
  struct({
    keys: option(list(apiKey, 10_000), [], 'API keys; only hashes are kept.'),
    jwt: optional(unsupported('Use auth.keys.'), 'Tokens of an identity provider: not built in this version.'),
    clientCa: optional(
      unsupported('Use auth.keys; listen.*.tls.clientCa demands certificates of callers already.'),
      'Certificates as credentials: not built in this version.',
    ),
  }),
  (auth, report) => {
    for (const part of ['name', 'sha256'] as const) {
      const seen = new Map<string, number>();
      for (const [index, key] of (auth.keys ?? []).entries()) {
        const value = part === 'name' ? key?.name : key?.sha256 === undefined ? undefined : JSON.stringify(key.sha256);
        if (value === undefined) continue;
        const first = seen.get(value);
        if (first !== undefined) report(['keys', index, part], new ValueError(`auth.keys[${first}] has the same ${part}`, 'Give each key its own.'));
        else seen.set(value, index);
      }
    }
  },
);
