import type { DeferredRequest, RequestTry } from '../client/client.ts';
import { plain, span, tableLines } from './text-table.ts';

const COLUMNS = ['ID', 'STATE', 'GROUP', 'KEY', 'TRIES', 'AGE', 'NEXT', 'ERROR'] as const;

/** What a request waits for, in words. */
const WAITS: Readonly<Record<NonNullable<DeferredRequest['waitsFor']>, string>> = {
  due: 'its time',
  key: 'an earlier request of its key',
  backend: 'its backend, which is down: one request at a time probes it, and none spends an attempt',
  route: 'its group or route, which is not in the configuration',
  turn: 'its turn in the group',
};

/** Lines of a table of requests, its head first; columns as wide as what they hold. `nowMs`: milliseconds since 1970. */
export function requestTable(requests: readonly DeferredRequest[], nowMs: number): readonly string[] {
  const rows = requests.map(({ id, state, group, key, attempts, acceptedAt, nextAttemptAt, waitsFor, error = '' }) => [
    ...[id, state, plain(group), plain(key), String(attempts), span(nowMs - Date.parse(acceptedAt))],
    ...[`${waitsFor === 'backend' ? 'probe ' : ''}${nextAttemptAt === undefined ? '' : span(Date.parse(nextAttemptAt) - nowMs)}`, plain(error)],
  ]);
  return tableLines(COLUMNS, rows);
}

/** A request and its attempts, a line for each thing that is known. */
export function requestLines(request: DeferredRequest, nowMs: number): readonly string[] {
  const { id, state, group, key, route, method, path, bodyBytes, attempts, error, nextAttemptAt, waitsFor, callback, response, tries = [] } = request;
  const facts: readonly (readonly [string, string | undefined])[] = [
    ['id', id],
    ['state', error === undefined ? state : `${state} (${error})`],
    ['request', method === undefined ? undefined : `${method} ${path ?? ''}, ${bodyBytes ?? 0} bytes`],
    ['route', route],
    ['group', key === '' ? group : `${group}, key ${key}`],
    ['accepted', timed(request.acceptedAt, nowMs)],
    ['not before', timed(request.notBefore, nowMs)],
    ['deadline', timed(request.deadlineAt, nowMs)],
    ['attempts', String(attempts)],
    ['waits for', waitsFor === undefined ? undefined : WAITS[waitsFor]],
    [waitsFor === 'backend' ? 'next probe' : 'next attempt', timed(nextAttemptAt, nowMs)],
    ['response', response && `${response.status}, ${response.bytes} bytes${response.truncated === true ? ' (cut)' : ''}`],
    ['callback', callback],
    ['kept until', timed(request.goneAt, nowMs)],
  ];
  const lines = facts.filter(([, value]) => value !== undefined && value !== '').map(([name, value = '']) => `${name.padEnd(13)} ${plain(value)}`);
  return tries.length === 0 ? lines : [...lines, '', ...tries.map(tryLine)];
}

function tryLine({ number, at, status, error = '', firstBytes, nextAt }: RequestTry): string {
  const answered = status === undefined ? 'no answer' : String(status);
  const next = nextAt === undefined ? '' : `, next ${nextAt}`;
  const body = firstBytes === undefined ? '' : `: ${plain(firstBytes)}`;
  return `  ${String(number).padStart(2)}  ${at}  ${answered}${error === '' ? '' : ` (${plain(error)})`}${next}${body}`;
}

function timed(time: string | undefined, nowMs: number): string | undefined {
  if (time === undefined) return undefined;
  const away = Date.parse(time) - nowMs;
  return `${time} (${away < 0 ? `${span(-away)} ago` : `in ${span(away)}`})`;
}
