import type { DeferredAccess } from '../../../src/api/deferred/access.ts';
import type { SubmitRoute } from '../../../src/api/deferred/submit-routes.ts';
import type { Refusal } from '../../../src/core/refusal.ts';
import type { DeferredRequests, RequestFilter, RequestScope, RequestView, Submission, SubmitOutcome } from '../../../src/deferred/deferred.ts';
import { requestId } from '../../../src/deferred/request.ts';
import type { RouteAdmission } from '../../../src/proxy/route.ts';

/** One request of the fake, for tests to look into and to end. */
export interface FakeRequest {
  readonly submission: Submission;
  readonly bytes: Buffer;
  view: RequestView;
}

/** Deferred requests in an array: does what the contract says of tickets, scopes, filters and pages, and delivers nothing by itself. */
export class FakeDeferred implements DeferredRequests {
  readonly all: FakeRequest[] = [];
  /** Answers a submission before anything else. */
  script: ((submission: Submission) => Refusal | undefined) | undefined;
  /** Ids that are no longer kept. */
  readonly gone = new Set<string>();
  /** Called before a submission is answered: for the order and the number of those under way. */
  hold: ((submission: Submission) => Promise<void>) | undefined;
  underWay = 0;
  underWayMax = 0;
  readonly #waiting = new Set<() => void>();

  async submit(submission: Submission): Promise<SubmitOutcome> {
    const chunks: Uint8Array[] = [];
    if (submission.body instanceof Uint8Array) chunks.push(submission.body);
    else for await (const chunk of submission.body) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    this.underWayMax = Math.max(this.underWayMax, ++this.underWay);
    await this.hold?.(submission);
    this.underWay--;
    const refusal = this.script?.(submission);
    if (refusal !== undefined) return { kind: 'refused', refusal };
    const known = this.all.find((each) => sameKey(each.submission, submission));
    if (known !== undefined) {
      const same = known.bytes.equals(bytes) && known.submission.target === submission.target;
      if (!same && submission.dedupeId === '')
        return { kind: 'refused', refusal: { reason: 'conflict', detail: 'This key was used for another request.' }, payloadDiffers: true };
      return { kind: 'accepted', id: known.view.id, sequence: 1, existing: true, keyExpiresAt: 1_900_000_000_000 };
    }
    const sequence = this.all.length + 1;
    const id = requestId(sequence, '0123456789abcdef');
    const { group, key, route, method, target } = submission;
    const deadlineAt = submission.deadlineMs === undefined ? 0 : 1_800_000_000_000 + submission.deadlineMs;
    const view: RequestView = {
      ...{ id, state: 'pending', group, key, route, method, target, bodyBytes: bytes.byteLength, acceptedAt: 1_800_000_000_000 + sequence },
      ...{
        notBefore: submission.notBeforeMs ?? 0,
        deadlineAt,
        attempts: 0,
        nextAttemptAt: 0,
        waitsFor: '',
        error: '',
        tries: [],
        response: undefined,
        callback: 'none',
        goneAt: 0,
      },
    };
    this.all.push({ submission, bytes, view });
    return { kind: 'accepted', id, sequence, existing: false, keyExpiresAt: undefined };
  }

  /** Changes a request, and wakes those who wait for it. */
  change(id: string, change: Partial<RequestView>): void {
    const found = this.all.find(({ view }) => view.id === id);
    if (found === undefined) throw new Error(`The fake has no request ${id}.`);
    found.view = { ...found.view, ...change };
    for (const wake of this.#waiting) wake();
  }

  /** Calls that wait for the end of a request. */
  get waiting(): number {
    return this.#waiting.size;
  }

  async get(scope: RequestScope, id: string, waitMs: number, signal?: AbortSignal): Promise<RequestView | Refusal> {
    const found = this.#find(scope, id);
    if ('reason' in found) return found;
    if (waitMs > 0 && signal?.aborted !== true && (found.view.state === 'pending' || found.view.state === 'sending')) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => over(), waitMs);
        const over = (): void => {
          clearTimeout(timer);
          this.#waiting.delete(over);
          resolve();
        };
        this.#waiting.add(over);
        signal?.addEventListener('abort', over);
      });
    }
    return found.view;
  }

  async cancel(scope: RequestScope, id: string): Promise<{ readonly cancelled: boolean; readonly aborted: boolean } | Refusal> {
    const found = this.#find(scope, id);
    if ('reason' in found) return found;
    const { state } = found.view;
    if (state === 'done' || state === 'cancelled') return { cancelled: false, aborted: false };
    this.change(id, { state: 'cancelled' });
    return { cancelled: true, aborted: state === 'sending' };
  }

  async list(
    scope: RequestScope,
    filter: RequestFilter,
    size: number,
    token: string,
  ): Promise<{ readonly requests: readonly RequestView[]; readonly next: string } | Refusal> {
    const from = token === '' ? 0 : Number(token);
    const found = this.all.filter(({ view }, at) => at >= from && fits(filter, view) && this.#mayList(scope, view));
    const next = found.length > size ? String(this.all.indexOf(found[size] as FakeRequest)) : '';
    return { requests: found.slice(0, size).map(({ view }) => view), next };
  }

  async redrive(scope: RequestScope, id: string): Promise<Refusal | undefined> {
    const found = this.#find(scope, id);
    if ('reason' in found) return found;
    if (found.view.state !== 'dead') return { reason: 'conflict', detail: `This request is ${found.view.state}.` };
    this.change(id, { state: 'pending' });
    return undefined;
  }

  async redriveAll(scope: RequestScope, filter: RequestFilter, max: number): Promise<{ readonly redriven: number; readonly next: string } | Refusal> {
    const found = this.all.filter(({ view }) => view.state === 'dead' && fits(filter, view) && this.#mayList(scope, view));
    for (const { view } of found.slice(0, max)) this.change(view.id, { state: 'pending' });
    return { redriven: Math.min(max, found.length), next: found.length > max ? 'more' : '' };
  }

  async drain(): Promise<void> {}

  #find(scope: RequestScope, id: string): FakeRequest | Refusal {
    if (this.gone.has(id)) return { reason: 'gone' };
    const found = this.all.find(({ view }) => view.id === id);
    if (found === undefined || !this.#inScope(scope, found.view) || !(scope.all || found.submission.caller === scope.caller))
      return { reason: 'unknown_request' };
    return found;
  }

  #mayList(scope: RequestScope, view: RequestView): boolean {
    return scope.all && this.#inScope(scope, view);
  }

  #inScope(scope: RequestScope, { group, key }: RequestView): boolean {
    return (scope.groups === undefined || scope.groups.has(group)) && (scope.key === undefined || scope.key === key);
  }
}

function sameKey(one: Submission, other: Submission): boolean {
  const named = (one.idempotencyKey !== '' && one.idempotencyKey === other.idempotencyKey) || (one.dedupeId !== '' && one.dedupeId === other.dedupeId);
  return named && one.caller === other.caller && one.group === other.group;
}

/** As the service does: without a state, those that have not ended. */
function fits({ state, group, key, error, since, until }: RequestFilter, view: RequestView): boolean {
  if (state !== 'any' && (state === undefined ? view.state !== 'pending' && view.state !== 'sending' : view.state !== state)) return false;
  if ((group !== undefined && group !== view.group) || (key !== undefined && key !== view.key)) return false;
  if (error !== undefined && error !== view.error) return false;
  return (since === undefined || view.acceptedAt >= since) && (until === undefined || view.acceptedAt < until);
}

/** A deferred route as front ends see it: of group `slots`, `/erp/*` to any host, unless told otherwise. */
export function submitRoute(
  name: string,
  path: string | undefined,
  admission: Partial<RouteAdmission> = {},
  host?: string,
  bodyBytesMax = 4 << 20,
): SubmitRoute {
  return {
    ...{ name, signed: false, dedupe: undefined },
    match: { host, path, methods: undefined, headers: new Map(), exactCase: false, exactSlash: false },
    route: {
      backend: 'erp',
      admission: {
        ...{
          group: 'slots',
          key: undefined,
          priorityClass: undefined,
          classes: new Set(['urgent']),
          costs: [],
          wait: 0,
          lease: undefined,
          charge: 'body',
          pushbackMax: 0,
        },
        ...admission,
      },
      hold: { bodyBytesMax, memoryBytesMax: 65_536, groupBytesMax: 1 << 30, receiveMax: 0, bytesPerSecondMin: 0 },
    },
  };
}

/** Deferred mode over the fake. */
export function fakeAccess(requests: DeferredRequests, routes: readonly SubmitRoute[]): DeferredAccess {
  return { requests, routes: () => routes, submitBytesMax: 16 << 20 };
}
