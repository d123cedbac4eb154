/**
 * The part of uWebSockets.js that is used: it is an optional peer, so its own types cannot be relied on.
 * Source: its index.d.ts, v20.57.
 */

/** The module itself. */
export interface UwsModule {
  App(): UwsApp;
  SSLApp(options: { key_file_name: string; cert_file_name: string }): UwsApp;
  us_listen_socket_close(token: object): void;
  us_socket_local_port(token: object): number;
}

/** A listener with its routes. */
export interface UwsApp {
  any(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): UwsApp;
  /** `options` 1: the port is not shared with another process. */
  listen(host: string, port: number, options: number, done: (token: object | false) => void): UwsApp;
  /** Counts connections: +n opened, -n closed. */
  filter(changed: (response: UwsResponse, count: number) => void): UwsApp;
  close(): UwsApp;
}

/** Valid until the handler returns. */
export interface UwsRequest {
  getCaseSensitiveMethod(): string;
  getUrl(): string;
  getQuery(): string | undefined;
  forEach(each: (name: string, value: string) => void): void;
}

/** Valid until answered or aborted; a touch after that ends the process. */
export interface UwsResponse {
  writeStatus(status: string): UwsResponse;
  writeHeader(name: string, value: string): UwsResponse;
  write(chunk: string | Uint8Array): boolean;
  end(body?: string | Uint8Array, closeConnection?: boolean): UwsResponse;
  endWithoutBody(reportedLength?: number, closeConnection?: boolean): UwsResponse;
  close(): UwsResponse;
  cork(writes: () => void): UwsResponse;
  onAborted(aborted: () => void): UwsResponse;
  onData(chunk: (bytes: ArrayBuffer, last: boolean) => void): UwsResponse;
  onWritable(writable: (offset: number) => boolean): UwsResponse;
  getRemoteAddressAsText(): ArrayBuffer;
}

/** The name under which the peer is installed. */
export const UWS_PACKAGE = 'uWebSockets.js';

/** Loads the peer; rejects where it is not installed or does not run here (its binaries need glibc 2.38). */
export async function loadUws(): Promise<UwsModule> {
  const loaded: { readonly default: UwsModule } = await import(UWS_PACKAGE);
  return loaded.default;
}
