import { createHash, timingSafeEqual } from 'node:crypto';
import type { AdmissionAsk, AdmissionService, Held } from '../admission/admission.ts';
import type { Refusal } from '../core/refusal.ts';

/** What a credential lets its holder do: ask for permits; look at groups, waiters and leases; change them. */
export type Ability = 'acquire' | 'read' | 'manage';

/** An API key as the configuration has it; the key itself is nowhere. */
export interface Credential {
  /** Unique; scopes request ids and sessions. */
  readonly name: string;
  /** SHA-256 of the key, 64 hex digits in lower case. */
  readonly sha256: string;
  readonly can: readonly Ability[];
  /** The groups it may name; undefined: all. */
  readonly groups: readonly string[] | undefined;
  /** The only key it may name, taken where an ask names none; undefined: any. */
  readonly key: string | undefined;
  /** The classes it may name; undefined: any class, and numbers too. */
  readonly classes: readonly string[] | undefined;
}

/** Who calls, and what they may do. Without credentials everybody is '' and may do everything. */
export interface Auth {
  /** There are credentials: nobody is let in without. */
  readonly demanded: boolean;
  /** The credential's name behind an `Authorization` header, or `unauthenticated`. */
  identify(authorization: string | undefined): string | Refusal;
  /** Why this caller may not; undefined: it may. */
  mayNot(caller: string, ability: Ability): Refusal | undefined;
  /** What the ask becomes for its caller (`ask.caller`), or `forbidden`. */
  scope(ask: AdmissionAsk): AdmissionAsk | Refusal;
  /** Other credentials from now on; for calls that come in later. */
  replace(credentials: readonly Credential[]): void;
}

const UNAUTHENTICATED: Refusal = { reason: 'unauthenticated', detail: 'Send `Authorization: Bearer` with an API key of this server.' };

/** Joins the credentials of the configuration. Keys are compared by hash and in constant time. */
export function createAuth(credentials: readonly Credential[]): Auth {
  let names = byName(credentials);
  let hashes = byHash(credentials);
  return {
    get demanded() {
      return names.size > 0;
    },
    identify(authorization) {
      if (names.size === 0) return '';
      const [, key] = /^Bearer +([\x21-\x7e]{1,1024})$/i.exec(authorization ?? '') ?? [];
      if (key === undefined) return UNAUTHENTICATED;
      const digest = createHash('sha256').update(key).digest();
      const found = hashes.get(digest.toString('hex'));
      return found !== undefined && timingSafeEqual(digest, Buffer.from(found.sha256, 'hex')) ? found.name : UNAUTHENTICATED;
    },
    mayNot(caller, ability) {
      if (names.size === 0 || names.get(caller)?.can.includes(ability)) return undefined;
      return forbidden(`This credential may not ${ability}; ask an operator to add it to \`can\`.`);
    },
    scope(ask) {
      if (names.size === 0) return ask;
      const credential = names.get(ask.caller);
      // It was removed by a reload while its connection lived on.
      return credential === undefined ? UNAUTHENTICATED : scoped(ask, credential);
    },
    replace(next) {
      names = byName(next);
      hashes = byHash(next);
    },
  };
}

function byName(credentials: readonly Credential[]): ReadonlyMap<string, Credential> {
  return new Map(credentials.map((each) => [each.name, each]));
}

function byHash(credentials: readonly Credential[]): ReadonlyMap<string, Credential> {
  return new Map(credentials.map((each) => [each.sha256, each]));
}

function forbidden(detail: string): Refusal {
  return { reason: 'forbidden', detail };
}

function scoped(ask: AdmissionAsk, { can, groups, key, classes }: Credential): AdmissionAsk | Refusal {
  if (!can.includes('acquire')) return forbidden('This credential may not acquire; ask an operator to add it to `can`.');
  // The same answer whether the group exists or not: names of others are not for it to find out.
  if (groups !== undefined && !groups.includes(ask.group)) return forbidden('This credential may not name that group.');
  if (classes !== undefined && ask.priority !== undefined) return forbidden('This credential may not name a priority by number; name one of its classes.');
  if (classes !== undefined && ask.priorityClass !== undefined && !classes.includes(ask.priorityClass))
    return forbidden('This credential may not name that priority class.');
  if (key === undefined || ask.key === key) return ask;
  return ask.key === '' ? { ...ask, key } : forbidden('This credential may not name that key; leave `key` out to take its own.');
}

/** The same, for a front end whose callers may come without credentials, as those of a route do: who has one is held to it. */
export function optionally(auth: Pick<Auth, 'scope'>): Pick<Auth, 'scope'> {
  return { scope: (ask) => (ask.caller === '' ? ask : auth.scope(ask)) };
}

const NOTHING_HELD: Held = Object.freeze({ leave() {}, delivered() {}, place: () => undefined, since: () => undefined });

/** The door, for callers who must be who they say: asks are cut to what their credential may name, before anything else. */
export function guarded(admission: AdmissionService, auth: Pick<Auth, 'scope'>): AdmissionService {
  const guard: Pick<AdmissionService, 'acquire' | 'explain'> = {
    acquire(ask, done) {
      const own = auth.scope(ask);
      if (!('reason' in own)) return admission.acquire(own, done);
      done({ kind: 'refused', refusal: own });
      return NOTHING_HELD;
    },
    async explain(ask) {
      const own = auth.scope(ask);
      return 'reason' in own ? own : admission.explain(own);
    },
  };
  // Through the prototype: every other call goes to the door itself.
  return Object.assign(Object.create(bound(admission)) as AdmissionService, guard);
}

/** The same calls with `this` bound, so that private fields are found behind another prototype; each bound once. */
function bound(admission: AdmissionService): AdmissionService {
  const calls = new Map<unknown, unknown>();
  return new Proxy(admission, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (!calls.has(value)) calls.set(value, value.bind(target));
      return calls.get(value);
    },
  });
}
