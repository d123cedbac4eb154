import type { AdmissionService, GroupSettings, Outcome } from '../../admission/admission.ts';
import type { Refusal } from '../../core/refusal.ts';
import type { QueuePosition } from '../../core/request.ts';
import { type Instant, NEVER } from '../../core/time.ts';
import type { EngineReply } from '../../http/engine.ts';
import { toText } from '../duration.ts';
import { PROBLEM_TYPE, type Problem, problemOf, retrySeconds } from '../problem.ts';
import { policyName, rateLimitFields, resetSeconds } from '../rate-limit-fields.ts';
import { REFUSAL_STATUS } from '../refusal-status.ts';

/** A header of an answer. */
export type Header = readonly [name: string, value: string];

/** What answers are made of. */
export interface ResponseDeps {
  readonly admission: Pick<AdmissionService, 'now' | 'limitsFor'>;
  /** What a group answers in place of a problem when it refuses for lack of capacity; undefined: the problem. */
  readonly refusalOf: (group: string) => GroupSettings['refusal'];
  /** 0..1, for the jitter of Retry-After. */
  readonly random: () => number;
}

/** Whom a refusal is for: their limits are shown beside it. */
export interface Refused {
  readonly group: string;
  readonly key: string;
  /** The Accept field: a caller that accepts problems gets one whatever the group sets. */
  readonly accept: string;
}

/** Of everything that may be another a moment later. */
export const NO_STORE: Header = ['Cache-Control', 'no-store'];
const JSON_TYPE: Header = ['Content-Type', 'application/json'];

/** Answers with one line of JSON; false: the caller was gone. */
export function sendJson(reply: EngineReply, status: number, body: string, headers: readonly Header[] = []): boolean {
  return reply.send(status, [JSON_TYPE, NO_STORE, ...headers], `${body}\n`);
}

/** A permit as JSON: what proto3 JSON makes of AcquireResponse, with the shortest durations. By hand: it is written for every admission. */
export function permitJson({ permit, id, degraded }: Outcome & { kind: 'admitted' }): string {
  const { lease, shadow, waited } = permit;
  let json = `{"permit":${JSON.stringify(id)}`;
  if (lease !== undefined) json += `,"fence":"${lease.fence}","fenceFloor":"${lease.fenceFloor}","lease":"${toText(lease.duration)}"`;
  json += `,"waited":"${toText(waited)}"`;
  if (shadow !== undefined) {
    const held = shadow.readyAt === NEVER ? '' : `,"held":"${toText(Math.max(0, shadow.readyAt - permit.grantedAt))}"`;
    json += `,"shadow":{"limit":${JSON.stringify(shadow.limit)}${held}}`;
  }
  if (degraded !== undefined) json += `,"degraded":"DEGRADED_${degraded.toUpperCase()}"`;
  return `${json}}`;
}

/** A queue position as JSON. `expectedIn` and `range` are absent where they are not known. */
export function placeJson(at: QueuePosition, now: Instant): string {
  const expected = at.expectedAt === NEVER ? '' : `"expectedIn":"${toText(Math.max(0, at.expectedAt - now))}",`;
  const within = (end: Instant): string => toText(Math.max(0, end - now));
  const range = at.range === undefined ? '' : `"range":{"earliest":"${within(at.range.earliest)}","latest":"${within(at.range.latest)}"},`;
  return `{"place":${at.place},${expected}${range}"limit":${JSON.stringify(at.limit)}}`;
}

/** Answers an admission. */
export function sendPermit(reply: EngineReply, deps: ResponseDeps, outcome: Outcome & { kind: 'admitted' }): boolean {
  const { group, key } = outcome.permit;
  const { admission } = deps;
  const limits = rateLimitFields(admission.limitsFor(group, key), group, admission.now());
  const degraded: readonly Header[] = outcome.degraded === undefined ? [] : [['Sluice-Degraded', outcome.degraded]];
  const headers = [JSON_TYPE, ['Sluice-Permit', outcome.id] as const, ...degraded, ...limits];
  return reply.send(200, headers, `${permitJson(outcome)}\n`);
}

/** Answers a refusal; `whom` where a group was named. `status` in place of the table's where the protocol has a better one. */
export function sendRefusal(reply: EngineReply, deps: ResponseDeps, refusal: Refusal, whom?: Refused, status?: number): boolean {
  const made = problemFor(deps, refusal, whom, status);
  const { instead, headers, problem } = made;
  if (instead !== undefined) return reply.send(problem.status, [['Content-Type', instead.contentType], NO_STORE, ...headers], instead.body);
  return reply.send(problem.status, [['Content-Type', PROBLEM_TYPE], NO_STORE, ...headers], `${JSON.stringify(problem)}\n`);
}

/** A refusal as it goes out: the problem, its headers, and what the group sets in its place. */
export interface RefusalMade {
  readonly problem: Problem;
  readonly headers: readonly Header[];
  readonly instead: GroupSettings['refusal'];
}

/** Makes a refusal ready to be written, as an answer or as an event. */
export function problemFor(deps: ResponseDeps, refusal: Refusal, whom: Refused | undefined, status?: number): RefusalMade {
  const { admission, refusalOf, random } = deps;
  const now = admission.now();
  const { http, ofGroup } = REFUSAL_STATUS[refusal.reason];
  const own = ofGroup && whom !== undefined ? refusalOf(whom.group) : undefined;
  const headers: Header[] = [];
  let least = 0;
  if (whom !== undefined && (ofGroup || refusal.reason === 'oversized')) {
    const views = admission.limitsFor(whom.group, whom.key);
    headers.push(...rateLimitFields(views, whom.group, now));
    const binding = views.find((view) => policyName(view, whom.group) === refusal.limit);
    least = binding === undefined ? 0 : (resetSeconds(binding, now) ?? 0);
  }
  const seconds = retrySeconds(refusal, now, least, random());
  if (seconds !== undefined) headers.push(['Retry-After', String(seconds)]);
  if (refusal.reason === 'unauthenticated') headers.push(['WWW-Authenticate', 'Bearer']);
  const instead = whom !== undefined && /application\/(problem\+)?json/i.test(whom.accept) ? undefined : own;
  return { problem: problemOf(refusal, status ?? own?.status ?? http, now), headers, instead };
}
