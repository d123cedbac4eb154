import type { Millis } from '../core/time.ts';
import type { EngineReply, EngineRequest } from './engine.ts';

/** One or more protocols on one address. */
export interface Listener {
  readonly name: string;
  /** Resolves once callers are taken; rejects with what to do when the address is not to be had. */
  listen(): Promise<{ readonly address: string }>;
  /** Takes no new callers; resolves when the last is gone, or after `graceMs`, when the rest were cut off. Call after `AdmissionService.drain` began, which answers those held. */
  drain(graceMs: Millis): Promise<void>;
}

/** A protocol that shares an HTTP address with others: each takes the paths that are its own. */
export interface HttpHandler {
  takes(path: string): boolean;
  /** Called only for paths it takes. */
  handle(request: EngineRequest, reply: EngineReply): void;
}
