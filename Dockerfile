# syntax=docker/dockerfile:1
# The server on Debian 13: its glibc (2.41) is new enough for the vendor's binaries of uWebSockets.js.
#
#   docker build -t sluice .
#   docker build -t sluice --build-arg UWS_VERSION= .          without uWebSockets.js: node:http everywhere
#   docker run --read-only --tmpfs /tmp -p 8080:8080 -p 9090:9090 -v ./sluice.yaml:/etc/sluice/sluice.yaml:ro -v sluice-data:/var/lib/sluice sluice

ARG NODE_IMAGE=node:24-trixie-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
COPY tools/node tools/node
RUN npm ci
COPY tsconfig.base.json tsconfig.build.json ./
COPY tools tools
COPY src src
RUN npm run build

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY tools/node tools/node
# tools/node is the Node of development only: a link that is left out here.
RUN npm ci --omit=dev && rm -rf tools

# The vendor's own release; the binaries of other systems and other Nodes are dropped. Give UWS_SHA256 to pin the archive.
FROM ${NODE_IMAGE} AS uws
ARG UWS_VERSION=v20.57.0
ARG UWS_SHA256=
WORKDIR /uws
RUN mkdir node_modules && if [ -n "$UWS_VERSION" ]; then set -eu; \
      apt-get update && apt-get install -y --no-install-recommends ca-certificates curl; \
      curl -fsSL -o uws.tar.gz "https://codeload.github.com/uNetworking/uWebSockets.js/tar.gz/refs/tags/${UWS_VERSION}"; \
      if [ -n "$UWS_SHA256" ]; then echo "$UWS_SHA256  uws.tar.gz" | sha256sum -c -; fi; \
      mkdir node_modules/uWebSockets.js; \
      tar -xzf uws.tar.gz -C node_modules/uWebSockets.js --strip-components=1; \
      find node_modules/uWebSockets.js -name '*.node' ! -name "uws_linux_$(node -p process.arch)_$(node -p process.versions.modules).node" -delete; \
      node -e "require('/uws/node_modules/uWebSockets.js').App()"; \
    fi

FROM ${NODE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sluice" \
      org.opencontainers.image.description="An admission server: callers name a group and are held until its limits let them pass." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV NODE_ENV=production
# By number, so that `runAsNonRoot` can see it; it owns nothing but its data.
RUN install -d -o 65532 -g 65532 -m 0750 /var/lib/sluice && install -d /etc/sluice
COPY --from=packages /app /app
COPY --from=uws /uws/node_modules /app/node_modules
COPY --from=build /build/dist /app/dist
COPY LICENSE README.md /app/
COPY sluice.yaml /etc/sluice/sluice.yaml
USER 65532:65532
# `store.path: ./data` of the file lies under here: the only place that is written to.
WORKDIR /var/lib/sluice
VOLUME ["/etc/sluice", "/var/lib/sluice"]
# api, grpc, health, proxy (where routes are configured), `gateway-queue`; admin (9091) listens on 127.0.0.1 unless told otherwise.
EXPOSE 8080 9090 9092 8000 80
ENV SLUICE_HEALTH_URL=http://127.0.0.1:9092/readyz
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["node", "-e", "fetch(process.env.SLUICE_HEALTH_URL).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# exec form: Node is PID 1 and gets SIGTERM itself; give `docker stop` longer than drain.delay + drain.grace (25 s).
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "--max-semi-space-size=16", "--v8-pool-size=1", "/app/dist/main.js"]
CMD ["serve", "--config", "/etc/sluice/sluice.yaml"]
