import { createHash, timingSafeEqual } from 'node:crypto';
import { type AdmissionRequest, type AdmissionService, NO_HANDLE } from '../admission/admission.ts';
import type { Ability, Credential } from '../admission/credential.ts';
import { parsePermitId } from '../admission/permit-id.ts';
import type { Refusal } from '../core/refusal.ts';

/** What a call is about to do; the one thing that rights are checked against. */
export interface Action {
  readonly ability: Ability;
  /** The group it is about; absent: none in particular. */
  readonly group?: string | undefined;
  /** Whose part of the group it changes: one key's, or with `of` undefined that of all keys. Absent: no key's. */
  readonly key?: { readonly of: string | undefined };
}

/** Who calls, and what they may do. Without credentials every caller is '' and may do everything. */
export interface Auth {
  /** There are credentials: callers without one are refused. */
  readonly demanded: boolean;
  /** The credential's name behind an `Authorization` header, or `unauthenticated`. */
  identify(authorization: string | undefined): string | Refusal;
  /** Returns why this caller may not; undefined: it may. Every call of every protocol comes here, directly or by `scope`. */
  check(caller: string, action: Action): Refusal | undefined;
  /** The only key whose waiters and leases this caller may see and end; undefined: every key's. */
  keyOf(caller: string): string | undefined;
  /** The only groups this caller may name; undefined: all. */
  groupsOf(caller: string): ReadonlySet<string> | undefined;
  /** Everything this caller may do, and to what; undefined members: without bound. */
  rightsOf(caller: string): { readonly can: readonly Ability[]; readonly groups?: readonly string[] | undefined; readonly key?: string | undefined };
  /** Returns the request as its caller (`ask.caller`) may make it, or `forbidden`. */
  scope(ask: AdmissionRequest): AdmissionRequest | Refusal;
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
    check(caller, action) {
      if (names.size === 0) return undefined;
      const credential = names.get(caller);
      // It was removed by a reload while its connection lived on.
      return credential === undefined ? UNAUTHENTICATED : refusalOf(credential, action);
    },
    keyOf(caller) {
      return names.get(caller)?.key;
    },
    groupsOf(caller) {
      const groups = names.get(caller)?.groups;
      return groups === undefined ? undefined : new Set(groups);
    },
    rightsOf(caller) {
      if (names.size === 0) return { can: ['acquire', 'read', 'manage'] };
      const { can = [], groups, key } = names.get(caller) ?? {};
      return { can, groups, key };
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

function refusalOf({ can, groups, key }: Credential, action: Action): Refusal | undefined {
  const { ability, group } = action;
  if (!can.includes(ability)) return forbidden(`This credential may not ${ability}; ask an operator to add it to \`can\`.`);
  // The same answer whether the group exists or not: names of others are not for it to find out.
  if (group !== undefined && groups !== undefined && !groups.includes(group)) return forbidden('This credential may not name that group.');
  if (key === undefined || action.key === undefined || action.key.of === key) return undefined;
  if (action.key.of === undefined) return forbidden('This credential may not act on all keys of a group; name its own `key` where the call has one.');
  return forbidden('This credential may not name that key; leave `key` out to take its own.');
}

function scoped(asked: AdmissionRequest, credential: Credential): AdmissionRequest | Refusal {
  const { key, classes } = credential;
  const ask = key !== undefined && asked.key === '' ? { ...asked, key } : asked;
  const refusal = refusalOf(credential, { ability: 'acquire', group: ask.group, key: { of: ask.key } });
  if (refusal !== undefined) return refusal;
  if (classes !== undefined && ask.priority !== undefined) return forbidden('This credential may not name a priority by number; name one of its classes.');
  if (classes !== undefined && ask.priorityClass !== undefined && !classes.includes(ask.priorityClass))
    return forbidden('This credential may not name that priority class.');
  return ask;
}

/** The same, for a front end whose callers may come without credentials, as those of a route do: who has one is held to it. */
export function allowAnonymous(auth: Pick<Auth, 'scope'>): Pick<Auth, 'scope'> {
  return { scope: (ask) => (ask.caller === '' ? ask : auth.scope(ask)) };
}

/** The admission for forwarding: what a request may name is cut to its credential. Forwarding ends what it was given itself, whatever became of the credential. */
export function scopedAsks(admission: AdmissionService, auth: Pick<Auth, 'scope'>): AdmissionService {
  return { ...delegate(admission), ...askGuard(admission, auth) };
}

/** The admission for callers: each acquire, renewal and release is checked against the caller's credential, before anything else. */
export function withAuthorization(admission: AdmissionService, auth: Pick<Auth, 'scope' | 'check'>): AdmissionService {
  return {
    ...delegate(admission),
    ...askGuard(admission, auth),
    async renew(caller, permit, lease) {
      const refusal = checkPermit(auth, caller, permit);
      return refusal === undefined ? admission.renew(caller, permit, lease) : { kind: 'refused', refusal };
    },
    async release({ key: _inside, ...request }) {
      const refusal = checkPermit(auth, request.caller, request.permit);
      return refusal === undefined ? admission.release(request) : { kind: 'refused', refusal };
    },
    async releaseRequest(caller, group, requestId) {
      const refusal = auth.check(caller, { ability: 'acquire', group });
      return refusal === undefined ? admission.releaseRequest(caller, group, requestId) : { kind: 'refused', refusal };
    },
  };
}

/** A permit of a group that the caller may not name is none that it could have: the answer is that of an unknown one. */
function checkPermit(auth: Pick<Auth, 'check'>, caller: string, permit: string): Refusal | undefined {
  const refusal = auth.check(caller, { ability: 'acquire' });
  if (refusal !== undefined) return refusal;
  const group = parsePermitId(permit)?.group;
  return auth.check(caller, { ability: 'acquire', group }) === undefined ? undefined : { reason: 'unknown_permit' };
}

function askGuard(admission: AdmissionService, auth: Pick<Auth, 'scope'>): Pick<AdmissionService, 'acquire' | 'explain'> {
  return {
    acquire(ask, done) {
      const own = auth.scope(ask);
      if (!('reason' in own)) return admission.acquire(own, done);
      done({ kind: 'refused', refusal: own });
      return NO_HANDLE;
    },
    async explain(ask) {
      const own = auth.scope(ask);
      return 'reason' in own ? own : admission.explain(own);
    },
  };
}

/** Passes every call on; an object of its own, so that single calls can be replaced. A method that the contract has and this has not does not compile. */
export function delegate(admission: AdmissionService): AdmissionService {
  return {
    acquire: (request, done) => admission.acquire(request, done),
    renew: (caller, permit, lease) => admission.renew(caller, permit, lease),
    release: (request) => admission.release(request),
    releaseRequest: (caller, group, requestId) => admission.releaseRequest(caller, group, requestId),
    endSession: (caller, session, resume) => admission.endSession(caller, session, resume),
    resumeSession: (caller, session) => admission.resumeSession(caller, session),
    explain: (request) => admission.explain(request),
    groups: () => admission.groups(),
    group: (name) => admission.group(name),
    replicas: () => admission.replicas(),
    limitsFor: (group, key) => admission.limitsFor(group, key),
    waiters: (group, page) => admission.waiters(group, page),
    leases: (group, page) => admission.leases(group, page),
    pause: (group, key, pauseFor, why) => admission.pause(group, key, pauseFor, why),
    resume: (group, key) => admission.resume(group, key),
    override: (group, change, why) => admission.override(group, change, why),
    report: (group, limit, remaining) => admission.report(group, limit, remaining),
    evictWaiter: (group, id, key) => admission.evictWaiter(group, id, key),
    revokeLease: (group, permit, key) => admission.revokeLease(group, permit, key),
    reconfigure: (groups) => admission.reconfigure(groups),
    drain: (grace) => admission.drain(grace),
    now: () => admission.now(),
    epoch: (at) => admission.epoch(at),
  };
}
