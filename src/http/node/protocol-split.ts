import type { Server as NetServer, Socket } from 'node:net';
import { createServer } from 'node:net';
import { type TLSSocket, Server as TlsServer } from 'node:tls';
import type { Millis } from '../../core/time.ts';

/** How an HTTP/2 connection begins (RFC 9113 section 3.4); no method of HTTP/1.1 that is taken begins so. */
const PREFACE = Buffer.from('PRI ');

/** After these there is nothing to look at. */
const ENDS = ['end', 'error', 'timeout'] as const;

/** Takes over a connection that speaks HTTP/2; what it has sent can still be read from it. */
export type Http2Taker = (socket: Socket) => void;

/** Protocol that a client offers by ALPN and is given: HTTP/1.1 where it speaks both, since browsers do and gRPC clients offer `h2` alone. */
export function chooseProtocol({ protocols }: { readonly protocols: readonly string[] }): string | undefined {
  return protocols.find((each) => each === 'http/1.1') ?? protocols.find((each) => each === 'h2');
}

/** Two protocols at one address. */
export interface SplitServer {
  /** What is to listen. */
  readonly front: NetServer;
  /** Takes no new connections, and closes those that have not shown their protocol; the others are their servers' to close. */
  close(): void;
}

/**
 * Returns the server that is to listen in place of one of HTTP/1.1, so that both protocols share its address: over TLS by what the client offers
 * (`ALPNCallback: chooseProtocol`), else by how a connection begins. One that sends nothing for `silenceMs` is closed.
 */
export function splitProtocols(http1: NetServer, http2: Http2Taker, silenceMs: Millis): SplitServer {
  if (http1 instanceof TlsServer) {
    const takers = http1.listeners('secureConnection') as ((socket: TLSSocket) => void)[];
    http1.removeAllListeners('secureConnection');
    http1.on('secureConnection', (socket: TLSSocket) => {
      if (socket.alpnProtocol === 'h2') return http2(socket);
      for (const take of takers) take.call(http1, socket);
    });
    return { front: http1, close: () => {} };
  }
  const undecided = new Set<Socket>();
  const front = createServer({ allowHalfOpen: true, keepAlive: true, keepAliveInitialDelay: 30_000, noDelay: true }, (socket) => {
    const ended = (): void => void socket.destroy();
    const forget = (): void => void undecided.delete(socket);
    undecided.add(socket);
    socket.once('close', forget);
    for (const event of ENDS) socket.on(event, ended);
    socket.setTimeout(silenceMs);
    const look = (): void => {
      // Fewer bytes than that are read at the end only.
      const first = socket.read(PREFACE.length) as Buffer | null;
      if (first === null) return void socket.once('readable', look);
      forget();
      socket.removeListener('close', forget);
      socket.setTimeout(0);
      for (const event of ENDS) socket.removeListener(event, ended);
      socket.unshift(first);
      if (first.equals(PREFACE)) http2(socket);
      else http1.emit('connection', socket);
    };
    look();
  });
  return {
    front,
    close: () => {
      front.close();
      for (const socket of undecided) socket.destroy();
    },
  };
}
