import { SECOND } from '../core/time.ts';
import { type LimitsSource, LimitsUnavailable, type SessionStartLimit } from './session-limits.ts';

/** What asking Discord needs. */
export interface DiscordLimitsParts {
  readonly url: string;
  /** With or without `Bot ` before it. */
  readonly token: string;
  /** Of this package, for `User-Agent`. */
  readonly version: string;
  /** An answer takes so long at most, in milliseconds. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 10_000;

/** An answer is some 300 bytes. */
const BYTES_MAX = 65_536;

const LIMIT_MAX = 2 ** 24 - 1;

/** Asks `GET /gateway/bot` of Discord's API, or whatever stands at `url` and answers so. */
export function discordLimits({ url, token, version, timeoutMs = TIMEOUT_MS }: DiscordLimitsParts): LimitsSource {
  const headers = {
    Authorization: token.startsWith('Bot ') ? token : `Bot ${token}`,
    'User-Agent': `DiscordBot (https://www.npmjs.com/package/sluice, ${version}) sluice`,
    Accept: 'application/json',
  };
  return async () => {
    const signal = AbortSignal.timeout(timeoutMs);
    const { origin, pathname } = new URL(url);
    const where = `${origin}${pathname}`;
    let response: Response;
    let text: string;
    try {
      response = await fetch(url, { headers, redirect: 'manual', signal });
      text = await bodyOf(response);
    } catch (cause) {
      throw new LimitsUnavailable(signal.aborted ? `${where} did not answer within ${timeoutMs} ms` : `${where} cannot be reached`, { cause });
    }
    if (response.status === 401 || response.status === 403)
      throw new LimitsUnavailable(`${where} answered ${response.status}: the token is not accepted. Check DISCORD_TOKEN (gatewayQueue.token).`);
    if (response.status !== 200) throw new LimitsUnavailable(`${where} answered ${response.status}`, { retryAfter: retryAfterOf(response) });
    const limits = limitsIn(text);
    if (limits === undefined) throw new LimitsUnavailable(`${where} answered without a session_start_limit`);
    return limits;
  };
}

async function bodyOf(response: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    bytes += piece.byteLength;
    if (bytes > BYTES_MAX) throw new Error(`an answer of more than ${BYTES_MAX} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function retryAfterOf(response: Response): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  return Number.isFinite(seconds) && seconds > 0 ? Math.ceil(seconds * SECOND) : undefined;
}

/** The limits in an answer's body; undefined: it has none that make sense. */
export function limitsIn(text: string): SessionStartLimit | undefined {
  let said: unknown;
  try {
    said = JSON.parse(text);
  } catch {
    return undefined;
  }
  const limit = field(said, 'session_start_limit');
  const total = whole(field(limit, 'total'), 1);
  const remaining = whole(field(limit, 'remaining'), 0);
  const resetAfter = field(limit, 'reset_after');
  const maxConcurrency = whole(field(limit, 'max_concurrency'), 1);
  if (total === undefined || remaining === undefined || maxConcurrency === undefined) return undefined;
  if (typeof resetAfter !== 'number' || !(resetAfter >= 0) || resetAfter > Number.MAX_SAFE_INTEGER / 1_000) return undefined;
  return { total, remaining: Math.min(total, remaining), resetAfter: Math.ceil(resetAfter * 1_000), maxConcurrency };
}

function field(of: unknown, name: string): unknown {
  return typeof of === 'object' && of !== null ? (of as Readonly<Record<string, unknown>>)[name] : undefined;
}

function whole(value: unknown, min: number): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= LIMIT_MAX ? value : undefined;
}
