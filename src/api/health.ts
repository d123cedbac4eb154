import type { EngineReply, EngineRequest } from '../http/engine.ts';
import type { HttpHandler } from '../http/listener.ts';
import { refusesMethod } from './problem.ts';

/** What probes and scrapers are answered. */
export interface HealthOptions {
  /** Why callers should go elsewhere (starting, draining); undefined: ready. */
  readonly notReady: () => string | undefined;
  /** What is to be known of it though it is ready; one line each. */
  readonly remarks: () => readonly string[];
  /** The metrics in Prometheus' text form. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
  /** Receives a throw while metrics were gathered. */
  readonly onError: (error: unknown) => void;
}

const PATHS: ReadonlySet<string> = new Set(['/livez', '/readyz', '/healthz', '/metrics']);
const TEXT = [
  ['Content-Type', 'text/plain; charset=utf-8'],
  ['Cache-Control', 'no-store'],
] as const;

/**
 * /livez: the process answers. /readyz, also as /healthz: send callers here, with what else is to be known; 503 and why not. /metrics. For a listener of their own: they
 * never meet a limit, and no probe spends a permit.
 */
export class Health implements HttpHandler {
  readonly #options: HealthOptions;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  takes(path: string): boolean {
    return PATHS.has(path);
  }

  handle(request: EngineRequest, reply: EngineReply): void {
    if (refusesMethod(request, reply)) return;
    if (request.path === '/metrics') return this.#metrics(reply);
    const { notReady, remarks } = this.#options;
    const isReadiness = request.path !== '/livez';
    const why = isReadiness ? notReady() : undefined;
    const lines = isReadiness ? [why ?? 'ok', ...remarks()] : ['ok'];
    reply.send(why === undefined ? 200 : 503, TEXT, lines.map((line) => `${line}\n`).join(''));
  }

  #metrics(reply: EngineReply): void {
    let gone = false;
    reply.onGone(() => {
      gone = true;
    });
    this.#options.metrics().then(
      ({ contentType, body }) => {
        if (!gone) reply.send(200, [['Content-Type', contentType], TEXT[1]], body);
      },
      (error: unknown) => {
        this.#options.onError(error);
        if (!gone) reply.send(500, TEXT, 'The metrics could not be gathered; the log says why.\n');
      },
    );
  }
}
