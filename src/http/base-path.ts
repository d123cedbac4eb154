import type { EngineHandler, EngineRequest } from './engine.ts';

/**
 * Answers requests below a path as if it were the root, and all others as they came.
 *
 * @param base `/`, or a path that begins with a slash and ends without one.
 */
export function underBasePath(base: string, next: EngineHandler): EngineHandler {
  if (base === '/') return next;
  return (request, reply) => next(request.path.startsWith(`${base}/`) ? withPath(request, request.path.slice(base.length)) : request, reply);
}

function withPath(request: EngineRequest, path: string): EngineRequest {
  return {
    path,
    method: request.method,
    query: request.query,
    header: (name) => request.header(name),
    get body() {
      return request.body;
    },
    get remoteAddress() {
      return request.remoteAddress;
    },
  };
}
