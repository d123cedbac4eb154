import type { EngineHandler, EngineOptions, EngineReply, EngineRequest } from './engine.ts';

/** One request and its answer, as an engine holds them. */
export interface Exchange extends EngineRequest, EngineReply {
  /** The answer's head is written. */
  readonly begun: boolean;
  /** Cuts an answer that cannot be completed. */
  abandon(): void;
}

/** Hands a whole request to its handler; one that throws is answered 500, or cut where its answer had begun. */
export function runHandler(handler: EngineHandler, exchange: Exchange, problem: EngineOptions['problem']): void {
  try {
    handler(exchange, exchange);
  } catch {
    if (exchange.begun) return exchange.abandon();
    const made = problem(500, 'The server failed at this request; the operator finds the reason in the log.');
    exchange.send(500, [['Content-Type', made.contentType]], made.body);
  }
}
