'use strict';
/* Bottleneck, one job a millisecond, behind node:http: what a service would write that holds its callers with it. */
const { createServer } = require('node:http');
const Bottleneck = require('bottleneck');

const limiter = new Bottleneck({ minTime: 1, maxConcurrent: null });
const server = createServer((_request, response) => {
  limiter.schedule(async () => {
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': 2 });
    response.end('{}');
  });
});
server.requestTimeout = 0;
server.listen(Number(process.argv[2]), '127.0.0.1');
