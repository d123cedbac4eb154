import { useEffect, useReducer } from 'preact/hooks';
import { type Millis, readInstant } from './text.ts';

/* Calls of the server's API, all relative to the page, and their repetition. */

/** A refusal of the API (RFC 9457), or what stands for it when no answer came. */
export interface Problem {
  readonly title: string;
  readonly detail: string;
  /** 0: no answer came. */
  readonly status: number;
}

/** An object of the API. */
export type Json = Readonly<Record<string, unknown>>;

/** What a repeated call shows now. */
export interface Polled<T> {
  /** The last good answer; undefined: none came yet. */
  readonly data: T | undefined;
  /** When it came, by the clock of the browser. */
  readonly at: Millis;
  /** Why the newest call failed; undefined: it did not. */
  readonly problem: Problem | undefined;
  /** Calls again at once. */
  readonly refresh: () => void;
}

const ANSWER_MS_MAX = 10_000;
/** Answers kept for screens that are opened again. */
const KEPT_MAX = 24;
const VISIBLE_MS = 5000;
/** What is not there is seldom asked for. */
const ABSENT_MS = 30_000;
const RETRY_MS_MAX = 8000;

const kept = new Map<string, { readonly data: unknown; readonly at: Millis; readonly etag: string | null }>();

/** When the server last answered, and how far its clock is ahead of the browser's; shared by the whole page. */
export const link = { heardAt: 0, offset: 0, failing: false, needsKey: false };

/** Calls the API once. Resolves with the body of a good answer; rejects with a {@link Problem}. */
export async function call<T = Json>(method: string, path: string, body?: object): Promise<T> {
  return (await exchange(method, path, body)).data as T;
}

async function exchange(method: string, path: string, body?: object, etag?: string | null): Promise<{ data: unknown; etag: string | null }> {
  const key = sessionStorage.getItem('sluice.key');
  const headers: Record<string, string> = { accept: 'application/json', 'sluice-request': '1' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (key !== null) headers['authorization'] = `Bearer ${key}`;
  if (typeof etag === 'string') headers['if-none-match'] = etag;
  let response: Response;
  try {
    response = await fetch(path, {
      ...{ method, headers, cache: 'no-store', credentials: 'same-origin', signal: AbortSignal.timeout(ANSWER_MS_MAX) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  } catch {
    throw problem('No answer', 'No answer came.', 0);
  }
  link.heardAt = Date.now();
  link.failing = false;
  if (response.status === 304) return { data: undefined, etag: etag ?? null };
  const answer = (await response.json().catch(() => ({}))) as Json;
  if (response.ok) {
    const now = readInstant(answer['now']);
    if (now !== undefined) link.offset = now - Date.now();
    return { data: answer, etag: response.headers.get('etag') };
  }
  if (response.status === 401) link.needsKey = true;
  throw problem(String(answer['title'] ?? 'Refused'), String(answer['detail'] ?? `The server answered ${response.status}.`), response.status);
}

function problem(title: string, detail: string, status: number): Problem {
  return { title, detail, status };
}

/** The server's clock, as far as its answers tell. */
export function serverNow(): Millis {
  return Date.now() + link.offset;
}

/**
 * Repeats a GET: each `everyMs` while the page has the focus, every 5 s while it is only visible, never while it is hidden. Failures are
 * tried again after 1, 2, 4 and 8 s, with jitter. Shows the last known answer at once. `path` undefined: calls nothing.
 */
export function usePoll<T = Json>(path: string | undefined, everyMs = 1000): Polled<T> {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const [state] = useReducer(
    (same: State) => same,
    undefined,
    (): State => ({ problem: undefined, refresh: () => {} }),
  );
  useEffect(() => {
    if (path === undefined) return undefined;
    let [timer, failures, over, busy] = [0, 0, false, false];
    const wait = (): number => {
      if (state.problem?.status === 404) return ABSENT_MS;
      if (failures > 0) return Math.min(RETRY_MS_MAX, 500 * 2 ** failures) * (1 + Math.random() / 4);
      return document.hasFocus() ? everyMs : Math.max(everyMs, VISIBLE_MS);
    };
    const plan = (ms: number): void => {
      clearTimeout(timer);
      if (!over && document.visibilityState === 'visible') timer = setTimeout(look, ms);
    };
    const look = async (): Promise<void> => {
      if (busy) return;
      busy = true;
      const old = kept.get(path);
      try {
        const { data, etag } = await exchange('GET', path, undefined, old?.etag);
        keep(path, { data: data ?? old?.data, at: Date.now(), etag });
        [failures, state.problem] = [0, undefined];
      } catch (failure) {
        failures += 1;
        state.problem = failure as Problem;
        link.failing ||= state.problem.status === 0;
      }
      busy = false;
      if (!over) redraw(undefined as never);
      plan(wait());
    };
    const now = (): void => plan(0);
    state.problem = undefined;
    state.refresh = now;
    now();
    document.addEventListener('visibilitychange', now);
    addEventListener('focus', now);
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', now);
      removeEventListener('focus', now);
    };
  }, [path, everyMs]);
  const last = path === undefined ? undefined : kept.get(path);
  return { data: last?.data as T | undefined, at: last?.at ?? 0, problem: state.problem, refresh: state.refresh };
}

interface State {
  problem: Problem | undefined;
  refresh: () => void;
}

function keep(path: string, answer: { data: unknown; at: Millis; etag: string | null }): void {
  kept.delete(path);
  kept.set(path, answer);
  const [oldest] = kept.keys();
  if (kept.size > KEPT_MAX && oldest !== undefined) kept.delete(oldest);
}
