import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request as the backend saw it, whole. */
export interface Sent {
  readonly path: string;
  readonly key: string;
  readonly attempt: number;
  readonly body: string;
  readonly headers: IncomingMessage['headers'];
  /** On the clock of `performance.now`. */
  readonly at: number;
}

/** A backend of stored requests: notes each that came whole, and answers it by its script (200 at once). */
export class RequestsBackend {
  readonly sent: Sent[] = [];
  answer: (sent: Sent, response: ServerResponse) => void = (_sent, response) => void response.end('ok');
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('error', () => undefined);
      request.on('end', () => {
        const { headers, url = '' } = request;
        const key = String(headers['idempotency-key'] ?? '').replaceAll('"', '');
        const seen = { path: url, key, attempt: Number(headers['sluice-attempt']), body: Buffer.concat(pieces).toString(), headers, at: performance.now() };
        this.sent.push(seen);
        this.answer(seen, response);
      });
    });
  }

  /** Listens on loopback. */
  static async open(): Promise<RequestsBackend> {
    const backend = new RequestsBackend();
    await new Promise<void>((resolve) => void backend.#server.listen(0, '127.0.0.1', resolve));
    return backend;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** All that came for a path. */
  of(path: string): readonly Sent[] {
    return this.sent.filter((each) => each.path === path);
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
