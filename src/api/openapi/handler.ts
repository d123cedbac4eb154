import type { EngineReply, EngineRequest } from '../../http/engine.ts';
import type { HttpHandler } from '../../http/listener.ts';
import { refusesMethod } from '../problem.ts';
import { openApiDocument } from './document.ts';

const PATH = '/openapi.json';

/** Serves the description of the plain HTTP API at /openapi.json; made at the first request for it. */
export class OpenApi implements HttpHandler {
  readonly #version: string;
  #body: string | undefined;

  constructor(version: string) {
    this.#version = version;
  }

  takes(path: string): boolean {
    return path === PATH;
  }

  handle(request: EngineRequest, reply: EngineReply): void {
    if (refusesMethod(request, reply)) return;
    this.#body ??= `${JSON.stringify(openApiDocument(this.#version))}\n`;
    reply.send(
      200,
      [
        ['Content-Type', 'application/json'],
        ['Cache-Control', 'no-cache'],
      ],
      this.#body,
    );
  }
}
