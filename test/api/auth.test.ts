import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { AdmissionRequest, AdmissionService, Outcome } from '../../src/admission/admission.ts';
import type { Credential } from '../../src/admission/credential.ts';
import { createAuth, scopedAsks, withAuthorization } from '../../src/api/auth.ts';
import { ANONYMOUS, parseAcquire } from '../../src/api/validation.ts';
import { NEVER } from '../../src/core/time.ts';

const sha256 = (key: string) => createHash('sha256').update(key).digest('hex');

function credential(parts: Partial<Credential> = {}): Credential {
  return { name: 'search', sha256: sha256('secret'), can: ['acquire'], groups: undefined, key: undefined, classes: undefined, ...parts };
}

function ask(parts: Partial<AdmissionRequest> = {}): AdmissionRequest {
  const made = parseAcquire({ group: 'llm' }, ANONYMOUS);
  if ('reason' in made) throw new Error(made.detail);
  return { ...made, caller: 'search', ...parts };
}

const reasonOf = (value: object) => ('reason' in value ? value.reason : undefined);

describe('a caller is known by its key', () => {
  const auth = createAuth([credential(), credential({ name: 'ops', sha256: sha256('other') })]);

  test.each([
    ['Bearer secret', 'search'],
    ['bearer   other', 'ops'],
  ])('%s', (header, name) => expect(auth.identify(header)).toBe(name));

  test.each([
    undefined,
    '',
    'secret',
    'Bearer',
    'Bearer ',
    'Bearer Secret',
    'Basic secret',
    'Bearer secret, Bearer other',
    `Bearer ${sha256('secret')}`,
    `Bearer ${'x'.repeat(2000)}`,
  ])('not by %s', (header) => {
    expect(auth.identify(header)).toMatchObject({ reason: 'unauthenticated' });
  });
});

test('without credentials everybody is nobody in particular, and may do everything', () => {
  const auth = createAuth([]);
  expect(auth.identify(undefined)).toBe('');
  expect(auth.identify('Bearer anything')).toBe('');
  expect(auth.check('', { ability: 'manage', group: 'llm', key: { of: undefined } })).toBeUndefined();
  const plain = ask({ caller: '' });
  expect(auth.scope(plain)).toBe(plain);
});

test('a credential may do what it can, and nothing else', () => {
  const auth = createAuth([credential({ can: ['read'] })]);
  expect(auth.check('search', { ability: 'read' })).toBeUndefined();
  expect(auth.check('search', { ability: 'manage' })).toMatchObject({ reason: 'forbidden' });
  expect(auth.check('nobody', { ability: 'read' })).toMatchObject({ reason: 'unauthenticated' });
  expect(reasonOf(auth.scope(ask()))).toBe('forbidden');
});

describe('a credential fixes what its holder may name:', () => {
  const auth = createAuth([credential({ groups: ['llm'], key: 'acme', classes: ['staging'] })]);

  test('the key is taken where none is named', () => expect(auth.scope(ask())).toMatchObject({ key: 'acme' }));
  test('its own key and class pass', () =>
    expect(auth.scope(ask({ key: 'acme', priorityClass: 'staging' }))).toMatchObject({ key: 'acme', priorityClass: 'staging' }));
  test('another key', () => expect(reasonOf(auth.scope(ask({ key: 'zeta' })))).toBe('forbidden'));
  test('another class', () => expect(reasonOf(auth.scope(ask({ priorityClass: 'production' })))).toBe('forbidden'));
  test('a number in place of a class', () => expect(reasonOf(auth.scope(ask({ priority: 0 })))).toBe('forbidden'));
  test('another group, there or not', () => {
    expect(auth.scope(ask({ group: 'other' }))).toEqual(auth.scope(ask({ group: 'none' })));
    expect(reasonOf(auth.scope(ask({ group: 'other' })))).toBe('forbidden');
  });
});

test('after a reload the old key is unknown, on living connections too', () => {
  const auth = createAuth([credential()]);
  auth.replace([credential({ name: 'new', sha256: sha256('fresh') })]);
  expect(auth.identify('Bearer secret')).toMatchObject({ reason: 'unauthenticated' });
  expect(auth.identify('Bearer fresh')).toBe('new');
  expect(reasonOf(auth.scope(ask()))).toBe('unauthenticated');
});

describe('admission with authorization', () => {
  class Admission {
    readonly #asked: AdmissionRequest[] = [];
    acquire(asked: AdmissionRequest, done: (outcome: Outcome) => void) {
      this.#asked.push(asked);
      done({ kind: 'refused', refusal: { reason: 'expired' } });
      return { leave() {}, delivered() {}, place: () => undefined };
    }
    explain(): object {
      return { reason: 'expired' };
    }
    now(): number {
      return this.#asked.length;
    }
  }
  const inner = new Admission();
  const admission = withAuthorization(inner as unknown as AdmissionService, createAuth([credential({ groups: ['llm'] })]));

  test('answers what is forbidden itself, once, and holds nothing', async () => {
    const outcomes: Outcome[] = [];
    const held = admission.acquire(ask({ group: 'other' }), (outcome) => outcomes.push(outcome));
    held.cancel();
    expect(outcomes).toMatchObject([{ kind: 'refused', refusal: { reason: 'forbidden' } }]);
    expect(await admission.explain(ask({ group: 'other' }))).toMatchObject({ reason: 'forbidden' });
    expect(admission.now()).toBe(0);
  });

  test('passes everything else to the admission behind it', () => {
    const outcomes: Outcome[] = [];
    admission.acquire(ask(), (outcome) => outcomes.push(outcome));
    expect(outcomes).toMatchObject([{ refusal: { reason: 'expired' } }]);
    expect(admission.now()).toBe(1);
  });
});

describe('every call reaches the admission behind with all its arguments', () => {
  const request = ask();
  const done = (): void => {};
  const permit = 'llm.1.0000000000000000';
  const page = { size: 1, token: 't' };
  const change = { limits: new Map(), enforce: true, for: 1, forgive: true };
  const release = { caller: '', permit, disposition: 'dropped', costs: { tokens: 1 }, retryAfter: 1 } as const;
  /** A method that the contract has and this table has not does not compile, nor one with an argument too few. */
  const calls: { readonly [Method in keyof AdmissionService]: Required<Parameters<AdmissionService[Method]>> } = {
    acquire: [request, done],
    renew: ['', permit, 1],
    release: [release],
    releaseRequest: ['', 'llm', 'r'],
    endSession: ['', 's', 1],
    resumeSession: ['', 's'],
    explain: [request],
    groups: [],
    group: ['llm'],
    replicas: [],
    limitsFor: ['llm', 'k'],
    waiters: ['llm', page],
    leases: ['llm', page],
    pause: ['llm', 'k', 1, { by: '', reason: '' }],
    resume: ['llm', 'k'],
    override: ['llm', change, { by: '', reason: '' }],
    report: ['llm', 'rate', { permits: 2, used: 1, late: 0, endsIn: 1 }],
    evictWaiter: ['llm', 'w', 'k'],
    revokeLease: ['llm', permit, 'k'],
    reconfigure: [[]],
    drain: [1],
    now: [],
    epoch: [NEVER],
  };
  const reached: unknown[] = [];
  const behind = new Proxy({} as AdmissionService, {
    get:
      (_, method) =>
      (...args: unknown[]) =>
        void reached.push([method, ...args]),
  });
  const open = createAuth([]);

  for (const [wrapper, admission] of Object.entries({ callers: withAuthorization(behind, open), forwarding: scopedAsks(behind, open) }))
    test.for(Object.entries(calls))(`${wrapper}: %s`, async ([method, args]) => {
      await (admission[method as keyof AdmissionService] as (...given: readonly unknown[]) => unknown)(...args);
      expect(reached.splice(0)).toEqual([[method, ...args]]);
    });

  test('callers: a key to pause is dropped, forwarding: it is passed on', async () => {
    await withAuthorization(behind, open).release({ ...release, key: 'other' });
    await scopedAsks(behind, open).release({ ...release, key: 'other' });
    expect(reached.splice(0)).toEqual([
      ['release', release],
      ['release', { ...release, key: 'other' }],
    ]);
  });
});
