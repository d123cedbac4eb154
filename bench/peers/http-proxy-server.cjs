'use strict';
/* http-proxy as its README sets it up, with connections that are kept; PORT BACKEND_PORT. */
const { Agent, createServer } = require('node:http');
const { createProxyServer } = require('http-proxy');

const [port, backend] = process.argv.slice(2);
const proxy = createProxyServer({ target: `http://127.0.0.1:${backend}`, agent: new Agent({ keepAlive: true }) });
proxy.on('error', (_error, _request, response) => {
  if ('headersSent' in response && !response.headersSent) response.writeHead(502);
  response.end();
});
const server = createServer((request, response) => proxy.web(request, response));
server.keepAliveTimeout = 65_000;
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
