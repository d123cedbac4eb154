import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { toJson } from '@bufbuild/protobuf';
import type { GroupView } from '../admission/admission.ts';
import type { GroupHistory } from '../admission/group-activity.ts';
import type { Refusal } from '../core/refusal.ts';
import { MILLISECOND } from '../core/time.ts';
import { type Group, GroupSchema } from '../gen/sluice/v1/group_pb.ts';
import type { EngineReply, EngineRequest } from '../http/engine.ts';
import type { HttpHandler } from '../http/listener.ts';
import type { ServerInfo, ServiceDeps } from './admission-service.ts';
import { countGroups, firstGroups, toGroupQuery } from './group-list.ts';
import { group, type Reader } from './group-messages.ts';
import { readerOf } from './operator-changes.ts';
import { NO_STORE, type ResponseDeps, sendRefusal } from './rest/response.ts';
import { isRefusal, malformed } from './validation.ts';

/** What the lists of the dashboard need. */
export interface DashboardListsDeps extends ServiceDeps {
  readonly answers: ResponseDeps;
  readonly server: () => ServerInfo;
  /** Milliseconds of a clock that only goes forward. */
  readonly nowMs: () => number;
}

/** Groups are looked through again at most this often, for all viewers together. */
const FRESH_MS = 500;
/** Nor more often than takes a fiftieth of one core. */
const COST_SHARE = 50;
const OLD_MS_MAX = 5000;
const ROWS_MAX = 60;
const ROWS_DEFAULT = 60;
/** Steps of a trend, each of this many steps of a history. */
const TREND_MERGED = 3;
const EVERYTHING = { alwaysEmitImplicit: true };
const FIELDS: ReadonlySet<string> = new Set(['sort', 'state', 'q', 'after', 'limit']);

/**
 * What the dashboard asks for once a second: `/v1/ui/groups`, a window of all groups in order, and `/v1/ui/summary`, figures of the whole server.
 * All viewers share one look through the groups. Answers have an ETag: one that did not change is 304.
 */
export class DashboardLists implements HttpHandler {
  readonly #deps: DashboardListsDeps;
  #looked: { readonly views: Promise<readonly GroupView[]>; untilMs: number } | undefined;

  readonly #made = new WeakMap<readonly GroupView[], Promise<Figures>>();

  constructor(deps: DashboardListsDeps) {
    this.#deps = deps;
  }

  takes(path: string): boolean {
    return path === '/v1/ui/groups' || path === '/v1/ui/summary';
  }

  handle(request: EngineRequest, reply: EngineReply): void {
    const { auth, answers, onError } = this.#deps;
    const refuse = (refusal: Refusal, status?: number): void => void sendRefusal(reply, answers, refusal, undefined, status);
    if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(malformed('Use GET, HEAD at this path.'), 405);
    const caller = auth.identify(request.header('authorization'));
    if (typeof caller !== 'string') return refuse(caller);
    const refusal = auth.check(caller, { ability: 'read' });
    if (refusal !== undefined) return refuse(refusal);
    let gone = false;
    reply.onGone(() => {
      gone = true;
    });
    const answer = request.path === '/v1/ui/groups' ? this.#groups(caller, request.query) : this.#summary(caller);
    answer.then(
      (found) => {
        if (gone) return;
        if (isRefusal(found)) refuse(found);
        else sendTagged(request, reply, found);
      },
      (error: unknown) => {
        onError(error);
        if (!gone) refuse({ reason: 'fault' });
      },
    );
  }

  async #groups(caller: string, text: string): Promise<object | Refusal> {
    const query = new URLSearchParams(text);
    const unknown = [...query.keys()].find((name) => !FIELDS.has(name));
    if (unknown !== undefined) return malformed(`There is no such field here; name ${[...FIELDS].join(', ')}.`);
    const wanted = toGroupQuery({ sort: query.get('sort') || 'oldest', state: query.get('state') ?? '', q: query.get('q') ?? '' });
    if (isRefusal(wanted)) return wanted;
    const [after, limit] = [wholeIn(query, 'after', 0), wholeIn(query, 'limit', ROWS_DEFAULT)];
    if (after === undefined || limit === undefined || limit > ROWS_MAX) return malformed(`\`after\` is a number of rows, \`limit\` at most ${ROWS_MAX}.`);
    const visible = await this.#visible(caller);
    const { first, total } = firstGroups(visible, wanted, Math.min(visible.length, after + limit));
    const counts = countGroups(visible);
    await nextTurn();
    return {
      groups: await rowsOf(first.slice(after), readerOf(this.#deps, caller)),
      total,
      counts,
    };
  }

  async #summary(caller: string): Promise<object> {
    const { admission, auth, server } = this.#deps;
    const visible = await this.#visible(caller);
    const reader = readerOf(this.#deps, caller);
    const [oldest] = firstGroups(visible, { sort: 'oldest', state: '', q: '' }, 1).first;
    const waits = oldest?.oldestWaiterSince !== undefined;
    const replicas = admission.replicas();
    const { counts, history, arrivedPerSecond, admittedPerSecond, refused, isUnused } = await this.#figures(visible);
    return {
      counts,
      oldest: oldest !== undefined && waits ? row(oldest, reader) : undefined,
      history: trendJson(history, reader),
      arrivedPerSecond,
      admittedPerSecond,
      recent: { refused },
      deferred: this.#deferred(caller),
      firstRun: isUnused,
      me: { name: caller, can: auth.rightsOf(caller).can },
      server: { ...server(), auth: auth.demanded },
      cluster:
        replicas.length === 0
          ? undefined
          : { replicas: replicas.length, live: replicas.length, revision: server().revision, shards: 64, decided: sum(replicas, ({ shards }) => shards) },
    };
  }

  /** Requests that are stored. null: none are, no route is deferred; undefined: not known, or not for a caller who may not see them all. */
  #deferred(caller: string): { readonly pending: number; readonly dead: number } | null | undefined {
    const { auth, deferred } = this.#deps;
    if (deferred === undefined) return null;
    return auth.groupsOf(caller) === undefined && auth.keyOf(caller) === undefined ? deferred.counts?.() : undefined;
  }

  /** Made once for each look, for all who may see all groups. */
  #figures(visible: readonly GroupView[]): Promise<Figures> {
    const known = this.#made.get(visible);
    if (known !== undefined) return known;
    const made = figuresOf(visible);
    this.#made.set(visible, made);
    return made;
  }

  /** Groups that a caller may see. */
  async #visible(caller: string): Promise<readonly GroupView[]> {
    const { auth } = this.#deps;
    const views = await this.#views();
    if (auth.groupsOf(caller) === undefined && auth.check(caller, { ability: 'read' }) === undefined) return views;
    return views.filter(({ name }) => auth.check(caller, { ability: 'read', group: name }) === undefined);
  }

  #views(): Promise<readonly GroupView[]> {
    const { admission, nowMs } = this.#deps;
    const began = nowMs();
    if (this.#looked !== undefined && began < this.#looked.untilMs) return this.#looked.views;
    // Until it is done all wait for the same look.
    const looked = { views: Promise.resolve(admission.groups()), untilMs: Number.POSITIVE_INFINITY };
    this.#looked = looked;
    looked.views.then(
      () => {
        looked.untilMs = nowMs() + Math.min(OLD_MS_MAX, Math.max(FRESH_MS, (nowMs() - began) * COST_SHARE));
      },
      // One that failed is tried again by the next.
      () => {
        this.#looked = undefined;
      },
    );
    return looked.views;
  }
}

/** Rows that are made in one turn of the event loop: one costs some 60 microseconds. */
const ROWS_PER_TURN = 15;

async function rowsOf(views: readonly GroupView[], reader: Reader): Promise<readonly object[]> {
  const rows: object[] = [];
  for (const view of views) {
    if (rows.length > 0 && rows.length % ROWS_PER_TURN === 0) await nextTurn();
    rows.push(row(view, reader));
  }
  return rows;
}

/** A group in a list: its history is a trend of fewer points. */
function row(view: GroupView, reader: Reader): object {
  const { standing } = view;
  const message: Group = group(standing === undefined ? view : { ...view, standing: { ...standing, history: undefined } }, reader);
  const json = toJson(GroupSchema, message, EVERYTHING) as Record<string, unknown>;
  return { ...json, history: standing?.history && trendJson(standing.history, reader) };
}

type Counts = Pick<GroupHistory, 'from' | 'step' | 'arrived' | 'admitted'>;

function trendJson(history: Counts | undefined, { epoch }: Reader): object | undefined {
  if (history === undefined) return undefined;
  // The last step is not over: a trend that ended with it would always fall.
  const over = <T>(counts: ArrayLike<T>): readonly T[] => Array.from(counts).slice(0, -1);
  return {
    from: new Date(epoch(history.from)).toISOString(),
    step: `${(history.step * TREND_MERGED) / MILLISECOND / 1000}s`,
    arrived: merged(over(history.arrived)),
    admitted: merged(over(history.admitted)),
  };
}

/** Sums of neighbours, from the newest backwards. */
function merged(counts: ArrayLike<number>): readonly number[] {
  const sums: number[] = [];
  for (let end = counts.length; end > 0; end -= TREND_MERGED) {
    let total = 0;
    for (let at = Math.max(0, end - TREND_MERGED); at < end; at += 1) total += counts[at] ?? 0;
    sums.unshift(total);
  }
  return sums;
}

/** Figures of many groups together. */
interface Figures {
  readonly counts: Readonly<Record<string, number>>;
  readonly history: Counts | undefined;
  readonly arrivedPerSecond: number;
  readonly admittedPerSecond: number;
  readonly refused: Readonly<Record<string, number>>;
  /** Nothing was ever admitted or refused, and no caller waits. */
  readonly isUnused: boolean;
}

/** Groups that are added up in one turn of the event loop. */
const GROUPS_PER_TURN = 500;

/** Adds groups up; the steps of their histories end at the same time. */
async function figuresOf(views: readonly GroupView[]): Promise<Figures> {
  const counts = countGroups(views);
  const total = emptyHistory(views);
  const refused: Record<string, number> = {};
  let [arrivedPerSecond, admittedPerSecond, isUnused] = [0, 0, true];
  for (const [index, { standing, waiting, counters }] of views.entries()) {
    if (index % GROUPS_PER_TURN === 0) await nextTurn();
    if (isUnused) isUnused = waiting === 0 && counters.admitted === 0 && Object.keys(counters.refused).length === 0;
    if (standing === undefined) continue;
    arrivedPerSecond += standing.activity.arrivedPerSecond;
    admittedPerSecond += standing.activity.admittedPerSecond;
    for (const reason in standing.activity.refused) refused[reason] = (refused[reason] ?? 0) + (standing.activity.refused[reason] ?? 0);
    if (total !== undefined && standing.history !== undefined) addHistory(total, standing.history);
  }
  return { counts, history: total, arrivedPerSecond, admittedPerSecond, refused, isUnused };
}

type Totals = Pick<GroupHistory, 'from' | 'step'> & { readonly arrived: number[]; readonly admitted: number[] };

/** As long as the longest of them. */
function emptyHistory(views: readonly GroupView[]): Totals | undefined {
  let longest: GroupHistory | undefined;
  for (const { standing } of views) if ((standing?.history?.admitted.length ?? 0) > (longest?.admitted.length ?? 0)) longest = standing?.history;
  if (longest === undefined) return undefined;
  return { from: longest.from, step: longest.step, arrived: Array.from(longest.arrived, () => 0), admitted: Array.from(longest.admitted, () => 0) };
}

function addHistory(total: Totals, { arrived, admitted }: GroupHistory): void {
  const shift = total.admitted.length - admitted.length;
  for (let at = 0; at < admitted.length; at += 1) {
    total.arrived[at + shift] = (total.arrived[at + shift] ?? 0) + (arrived[at] ?? 0);
    total.admitted[at + shift] = (total.admitted[at + shift] ?? 0) + (admitted[at] ?? 0);
  }
}

function sum<T>(items: readonly T[], of: (item: T) => number | undefined): number {
  return items.reduce((total, item) => total + (of(item) ?? 0), 0);
}

function wholeIn(query: URLSearchParams, name: string, fallback: number): number | undefined {
  const text = query.get(name);
  return text === null ? fallback : /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

/** Answers with JSON and its ETag, or 304. The time is not part of the tag: the same state is the same answer. */
function sendTagged(request: EngineRequest, reply: EngineReply, answer: object): void {
  const body = JSON.stringify(answer);
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
  if (request.header('if-none-match') === etag) return void reply.send(304, [NO_STORE, ['ETag', etag]], '');
  reply.send(200, [['Content-Type', 'application/json'], NO_STORE, ['ETag', etag]], `${body}\n`);
}
